// SPDX-License-Identifier: Apache-2.0
// The figures of the page: uPlot for curves, SVG for the throughput-memory plane and the intervals in the table.
"use strict";
const Charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = [[], [7, 4], [7, 3, 2, 3], [2, 3], [9, 3, 2, 3, 2, 3]];
  const MIB = 1048576;
  const HEIGHT = 230;

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Three significant digits as scripts/hzbench/text.py writes them; ticks drop zeros at the end.
  const three = (v) => {
    if (v === 0) return "0";
    const digits = 2 - Math.floor(Math.log10(Math.abs(Number(v.toPrecision(3)))));
    return digits > 0 ? v.toFixed(Math.min(digits, 20)) : String(Math.round(v * 10 ** digits) / 10 ** digits);
  };
  const tick = (v) => String(Number(v.toPrecision(3)));

  const svg = (tag, attributes, ...children) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  const wide = (values, factor) => {
    const v = values.filter((x) => x > 0);
    return v.length > 1 && Math.max(...v) / Math.min(...v) > factor;
  };

  const axis = (more) => ({
    stroke: ink("--ink-2"), grid: { stroke: ink("--grid"), width: 1 }, ticks: { stroke: ink("--grid"), width: 1, size: 4 },
    font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", ...more,
  });

  const series = (allocator, more) => ({
    label: allocator.short, stroke: ink(`--c-${allocator.index}`), width: allocator.ours ? 2.5 : 1.75,
    dash: DASHES[allocator.variant % DASHES.length], points: { show: true, size: 6, fill: ink(`--c-${allocator.index}`) },
    spanGaps: false, ...more,
  });

  const plot = (host, options, data) => {
    const width = Math.max(220, Math.floor(host.clientWidth));
    return new uPlot({ width, height: HEIGHT, legend: { show: false }, cursor: { y: false, points: { size: 8 } }, padding: [10, 12, 0, 0],
                       ...options }, data, host);
  };

  // A line under the figure that names what is below the pointer; the table holds the same numbers for everybody else.
  const readout = (host, describe) => {
    const line = document.createElement("p");
    line.className = "readout";
    line.setAttribute("aria-hidden", "true");
    host.after(line);
    return { setCursor: [(u) => { line.textContent = u.cursor.idx == null ? "" : describe(u.cursor.idx); }] };
  };

  const scaleY = (values, factor) =>
    wide(values, factor) ? { distr: 3 } : { range: (u, low, high) => [0, (high || 1) * 1.08] };

  const logTicks = (u, splits) => splits.map((v) => (v == null ? "" : tick(v)));

  const throughput = (host, panel, allocators, context) => {
    const xs = panel.threads.map((_, i) => i);
    const values = allocators.map((a) => panel.cells.map((cell) => context.median(cell, a.index, "speed", context.rate.size)));
    const logarithmic = wide(values.flat(), 25);
    const crowded = (u) => {
      const first = panel.threads.findIndex((t) => context.pus && t > context.pus);
      if (first < 0) return;
      const left = u.valToPos(first - 0.5, "x", true), right = u.bbox.left + u.bbox.width;
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(left, u.bbox.top, right - left, u.bbox.height);
      u.ctx.clip();
      u.ctx.strokeStyle = ink("--grid");
      u.ctx.lineWidth = 2;
      for (let x = left - u.bbox.height; x < right; x += 14) {
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top + u.bbox.height);
        u.ctx.lineTo(x + u.bbox.height, u.bbox.top);
        u.ctx.stroke();
      }
      u.ctx.restore();
    };
    const hooks = readout(host, (i) =>
      `${panel.threads[i]} thread${panel.threads[i] === 1 ? "" : "s"}: ` +
      allocators.map((a, k) => `${a.short} ${values[k][i] == null ? "-" : three(values[k][i])}`).join(" · "));
    plot(host, {
      hooks: { ...hooks, drawClear: [crowded] },
      scales: { x: { time: false, range: [-0.4, xs.length - 0.6] }, y: scaleY(values.flat().filter(Number.isFinite), 25) },
      axes: [axis({ label: "threads", labelSize: 18, size: 26, splits: () => xs, values: () => panel.threads.map(String), grid: { show: false } }),
             axis({ size: 52, ...(logarithmic ? { values: logTicks } : { values: (u, s) => s.map(tick) }) })],
      series: [{}, ...allocators.map((a) => series(a))],
    }, [xs, ...values]);
    return allocators.map((a, k) => `${a.name}: ${values[k].map((v, i) => `${v == null ? "failed" : three(v)} with ${panel.threads[i]}`).join(", ")}`).join("; ");
  };

  const rss = (host, panel, allocators, context) => {
    const shown = allocators.filter((a) => panel.rss.curves[a.name]);
    const tables = shown.map((a) => { const [x, y] = panel.rss.curves[a.name]; return [x, y.map((v) => v / MIB)]; });
    if (panel.rss.live) tables.push([panel.rss.live[0], panel.rss.live[1].map((v) => v / MIB)]);
    const data = uPlot.join(tables, tables.map((t) => t.slice(1).map(() => 2)));
    const edges = context.segments.reduce((e, [, width]) => [...e, e[e.length - 1] + width], [0]);
    const centres = context.segments.map((_, i) => (edges[i] + edges[i + 1]) / 2);
    const nearest = (k, i) => { for (let j = i; j >= 0; j--) if (data[k + 1][j] != null) return data[k + 1][j]; return null; };
    const hooks = readout(host, (i) => shown.map((a, k) => { const v = nearest(k, i); return `${a.short} ${v == null ? "-" : three(v)}`; }).join(" · ") + " MiB");
    const line = { points: { show: false }, spanGaps: true };
    plot(host, {
      hooks,
      scales: { x: { time: false, range: [0, edges[edges.length - 1]] }, y: { range: (u, low, high) => [0, (high || 1) * 1.08] } },
      axes: [axis({ size: 26, splits: () => [...edges.slice(1, -1), ...centres].sort((a, b) => a - b), ticks: { show: false },
                    values: (u, s) => s.map((v) => { const i = centres.indexOf(v); return i < 0 ? "" : context.segments[i][0]; }),
                    filter: (u, s) => s, grid: { stroke: ink("--grid"), width: 1, filter: (u, s) => s.map((v) => (edges.includes(v) ? v : null)) } }),
             axis({ size: 52, label: "MiB", labelSize: 16, values: (u, s) => s.map(tick) })],
      series: [{}, ...shown.map((a) => series(a, line)),
               ...(panel.rss.live ? [{ label: "live", stroke: "transparent", fill: ink("--live"), ...line }] : [])],
    }, data);
    return shown.map((a) => `${a.name} peaks at ${three(Math.max(...panel.rss.curves[a.name][1]) / MIB)} MiB`).join("; ");
  };

  const latency = (host, panel, allocators, context) => {
    const values = panel.latency[context.call] || {};
    const shown = allocators.filter((a) => values[a.name]);
    const xs = context.percentiles.map((_, i) => i);
    const names = context.percentiles.map((p) => ({ p999: "p99.9" })[p] || p);
    const hooks = readout(host, (i) => `${names[i]}: ` + shown.map((a) => `${a.short} ${three(values[a.name][i])}`).join(" · ") + " ns");
    plot(host, {
      hooks,
      scales: { x: { time: false, range: [-0.3, xs.length - 0.7] }, y: { distr: 3 } },
      axes: [axis({ size: 26, splits: () => xs, values: () => names }), axis({ size: 56, label: "ns", labelSize: 16, values: logTicks })],
      series: [{}, ...shown.map((a) => series(a))],
    }, [xs, ...shown.map((a) => values[a.name])]);
    return shown.map((a) => `${a.name}: ${names.map((n, i) => `${n} ${three(values[a.name][i])} ns`).join(", ")}`).join("; ");
  };

  const MARKS = [
    (x, y) => svg("circle", { cx: x, cy: y, r: 6 }),
    (x, y) => svg("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }),
    (x, y) => svg("path", { d: `M${x} ${y - 7}L${x + 6.5} ${y + 5}H${x - 6.5}Z` }),
    (x, y) => svg("path", { d: `M${x} ${y - 7}L${x + 7} ${y}L${x} ${y + 7}L${x - 7} ${y}Z` }),
    (x, y) => svg("path", { d: `M${x} ${y + 7}L${x + 6.5} ${y - 5}H${x - 6.5}Z` }),
  ];

  const niceTicks = (low, high, logarithmic, count = 4) => {
    if (logarithmic) {
      const out = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
        for (const m of [1, 2, 5]) { const v = m * 10 ** e; if (v >= low && v <= high) out.push(v); }
      return out.length > 6 ? out.filter((_, i) => i % 2 === 0) : out;
    }
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const out = [];
    for (let v = Math.ceil(low / step) * step; v <= high * 1.0000001; v += step) out.push(v);
    return out;
  };

  const pareto = (host, panel, allocators, context) => {
    const points = allocators
      .map((a) => ({ a, x: context.median(panel.shown, a.index, "peak", MIB), y: context.median(panel.shown, a.index, "speed", context.rate.size) }))
      .filter((p) => p.x > 0 && p.y > 0);
    if (!points.length) { host.append(Object.assign(document.createElement("p"), { className: "note", textContent: "No allocator finished here." })); return ""; }
    const width = Math.max(240, Math.floor(host.clientWidth)), height = HEIGHT + 20;
    const box = { left: 48, right: width - 14, top: 12, bottom: height - 38 };
    const scale = (values, from, to, factor, zero) => {
      const logarithmic = wide(values, factor);
      let low = Math.min(...values), high = Math.max(...values);
      if (logarithmic) { low /= 1.35; high *= 1.35; } else { const room = (high - low || high) * 0.18; low = zero ? 0 : Math.max(0, low - room); high += room; }
      const f = logarithmic ? Math.log : (v) => v;
      const at = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
      return { at, ticks: niceTicks(low, high, logarithmic) };
    };
    const x = scale(points.map((p) => p.x), box.left, box.right, 8, false), y = scale(points.map((p) => p.y), box.bottom, box.top, 12, true);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plane", "aria-hidden": "true" });
    for (const v of x.ticks) {
      root.append(svg("line", { x1: x.at(v), x2: x.at(v), y1: box.top, y2: box.bottom, class: "grid" }),
                  svg("text", { x: x.at(v), y: box.bottom + 15, class: "tick", "text-anchor": "middle" }, tick(v)));
    }
    for (const v of y.ticks) {
      root.append(svg("line", { x1: box.left, x2: box.right, y1: y.at(v), y2: y.at(v), class: "grid" }),
                  svg("text", { x: box.left - 6, y: y.at(v) + 4, class: "tick", "text-anchor": "end" }, tick(v)));
    }
    root.append(svg("text", { x: box.right, y: height - 6, class: "tick", "text-anchor": "end" }, "peak RSS, MiB →"));
    const front = points.filter((p) => !points.some((o) => o !== p && o.x <= p.x && o.y >= p.y && (o.x < p.x || o.y > p.y))).sort((a, b) => a.x - b.x);
    let path = "";
    front.forEach((p, i) => { path += i ? `V${y.at(p.y)}` : `M${x.at(p.x)} ${box.bottom}V${y.at(p.y)}`; path += `H${i + 1 < front.length ? x.at(front[i + 1].x) : box.right}`; });
    root.append(svg("path", { d: path, class: "front" }));
    // Labels go right of their mark, left of it near the edge, and are pushed apart where they would touch.
    const placed = [];
    for (const p of [...points].sort((a, b) => y.at(a.y) - y.at(b.y))) {
      const px = x.at(p.x), py = y.at(p.y), length = p.a.short.length * 7.2;
      const left = px + 12 + length > box.right;
      const span = left ? [px - 10 - length, px - 10] : [px + 10, px + 10 + length];
      let at = py + 4;
      for (let again = true; again; ) {
        again = false;
        for (const o of placed) if (span[0] < o.span[1] && o.span[0] < span[1] && Math.abs(o.at - at) < 13) { at = o.at + 13; again = true; }
      }
      placed.push({ span, at });
      const group = svg("g", { class: "point", style: `--c: var(--c-${p.a.index})` });
      group.append(svg("title", {}, `${p.a.name}: ${three(p.y)} ${context.rate.unit}, ${three(p.x)} MiB`), MARKS[p.a.index % MARKS.length](px, py),
                   svg("text", { x: left ? px - 10 : px + 10, y: at, "text-anchor": left ? "end" : "start", class: front.includes(p) ? "best" : "" }, p.a.short));
      root.append(group);
    }
    host.append(root);
    return points.map((p) => `${p.a.name}: ${three(p.y)} million operations a second with ${three(p.x)} MiB`).join("; ");
  };

  // The interval of one row on a logarithmic axis that all rows of the table share.
  const interval = (row, reach, kind) => {
    const width = 130, middle = width / 2;
    const at = (ratio) => middle + Math.max(-1, Math.min(1, Math.log(ratio) / reach)) * (middle - 6);
    const root = svg("svg", { viewBox: `0 0 ${width} 16`, width, height: 16, class: `interval ${kind}`, "aria-hidden": "true" });
    root.append(svg("line", { x1: middle, x2: middle, y1: 0, y2: 16, class: "one" }),
                svg("line", { x1: at(row.low), x2: at(row.high), y1: 8, y2: 8, class: "range" }),
                svg("circle", { cx: at(row.ratio), cy: 8, r: 4 }));
    return root;
  };

  return { throughput, rss, latency, pareto, interval, three };
})();
