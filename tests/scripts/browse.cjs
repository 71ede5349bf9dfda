// SPDX-License-Identifier: Apache-2.0
// What clicks through a page share: the browser, what it complains of, screenshots. The command line is
// node SCRIPT.cjs MODULES CHROMIUM PAGE.html DIR; what was seen goes to stdout as JSON.
"use strict";
const path = require("path");
const [modules, executablePath, page, folder] = process.argv.slice(2);
const puppeteer = require(path.resolve(modules, "puppeteer-core"));

const overflow = (tab) => tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
const shot = (tab, name) => tab.screenshot({ path: path.join(folder, name), fullPage: true });
// How many colours each canvas has.
const painted = (tab, canvases = "canvas") => tab.$$eval(canvases, (all) => all.map((c) => {
  const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  return colours.size;
}));

// Opens the page in a desktop's window and has `look` put what it sees into `saw`.
const browse = async (look) => {
  // Root has no sandbox; the page is a file of our own and its policy allows no request.
  const browser = await puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"], timeout: 120000, protocolTimeout: 240000 });
  const saw = { errors: [], requests: [] };
  try {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(120000);
    tab.on("pageerror", (e) => saw.errors.push(String(e)));
    tab.on("console", (m) => { if (["error", "warning", "warn"].includes(m.type())) saw.errors.push(m.text()); });
    tab.on("request", (r) => { if (!/^(file|data|blob):/.test(r.url())) saw.requests.push(r.url()); });
    tab.on("dialog", (d) => { saw.errors.push(`dialog: ${d.message()}`); d.dismiss(); });
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
    await tab.setViewport({ width: 1280, height: 900 });
    await tab.goto(`file://${path.resolve(page)}`, { waitUntil: "load" });
    await look(tab, saw);
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify(saw));
};

module.exports = {
  browse: (look) => browse(look).catch((error) => { console.error(error); process.exit(1); }),
  folder, overflow, painted, shot,
};
