// SPDX-License-Identifier: Apache-2.0
// JSON there and back, buffers, compression, and the same in worker threads.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function work(seed) {
  const records = [];
  for (let i = 0; i < 20000; i++)
    records.push({ id: i, name: `name ${(i * 7919 + seed) % 1000}`, tags: Array.from({ length: i % 7 }, (_, j) => j * i) });
  const text = JSON.stringify(records);
  const packed = zlib.gzipSync(text, { level: 1 });
  const back = JSON.parse(zlib.gunzipSync(packed).toString());
  const buffers = back.filter((r) => r.id % 50 === 0).map((r) => Buffer.alloc(r.id + 1, r.name));
  return crypto.createHash('sha256').update(JSON.stringify(back)).update(Buffer.concat(buffers)).digest('hex');
}

if (isMainThread) {
  console.log(work(0));
  const results = [];
  let left = 4;
  for (let i = 0; i < 4; i++) {
    const worker = new Worker(__filename, { workerData: i });
    worker.on('message', (text) => { results[i] = text; });
    worker.on('error', (error) => { throw error; });
    worker.on('exit', () => { if (--left === 0) console.log(results.join('\n')); });
  }
} else {
  parentPort.postMessage(work(workerData));
}
