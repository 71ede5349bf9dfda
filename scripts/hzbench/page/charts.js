// SPDX-License-Identifier: Apache-2.0
// The figures of the page: uPlot for curves, SVG for rows of names, the throughput-memory plane and the intervals in the table.
// What they show and how an allocator looks is what scripts/hzbench/figures draws: dots for single samples, marks for medians.
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

  // matplotlib's markers as paths about the origin, of radius 1.
  const polygon = (n, turn = 0, inner = 1) => "M" + Array.from({ length: n }, (_, i) => {
    const angle = (2 * Math.PI * i) / n - Math.PI / 2 + turn, r = i % 2 ? inner : 1;
    return `${(r * Math.cos(angle)).toFixed(3)} ${(r * Math.sin(angle)).toFixed(3)}`;
  }).join("L") + "Z";
  const MARKERS = {
    o: "M1 0A1 1 0 1 1 -1 0A1 1 0 1 1 1 0Z", s: "M-.9 -.9H.9V.9H-.9Z", "^": "M0 -1.1L1.1 .9H-1.1Z", v: "M0 1.1L1.1 -.9H-1.1Z",
    "<": "M-1.1 0L.9 -1.1V1.1Z", ">": "M1.1 0L-.9 -1.1V1.1Z", D: "M0 -1.2L1.2 0L0 1.2L-1.2 0Z", d: "M0 -1.2L.75 0L0 1.2L-.75 0Z",
    X: "M-1 -.5L-.5 -1L0 -.5L.5 -1L1 -.5L.5 0L1 .5L.5 1L0 .5L-.5 1L-1 .5L-.5 0Z", p: polygon(5), h: polygon(6), "*": polygon(10, 0, 0.45),
  };
  const marker = (a) => MARKERS[a.marker] || MARKERS.o;
  // The first of its name is filled, a variant of it hollow.
  const mark = (a, x, y, r) =>
    svg("path", { d: marker(a), transform: `translate(${x} ${y}) scale(${r})`, class: a.variant ? "mark hollow" : "mark" });

  // Marks and single samples on uPlot's canvas: values[k][i] are the medians of allocator k, samples[k][i] what lies behind them.
  const drawMarks = (allocators, values, samples) => (u) => {
    const ratio = devicePixelRatio || 1;
    u.ctx.save();
    allocators.forEach((a, k) => {
      const colour = ink(`--c-${a.index}`), jitter = allocators.length > 1 ? 0.06 * (k / (allocators.length - 1) - 0.5) : 0;
      values[k].forEach((value, i) => {
        if (value == null) return;
        const x = u.valToPos(i + jitter, "x", true);
        u.ctx.fillStyle = colour;
        u.ctx.globalAlpha = 0.4;
        for (const one of (samples && samples[k][i]) || []) {
          u.ctx.beginPath();
          u.ctx.arc(x, u.valToPos(one, "y", true), 1.6 * ratio, 0, 2 * Math.PI);
          u.ctx.fill();
        }
        u.ctx.globalAlpha = 1;
        const path = new Path2D();
        path.addPath(new Path2D(marker(a)), new DOMMatrix([4.2 * ratio, 0, 0, 4.2 * ratio, u.valToPos(i, "x", true), u.valToPos(value, "y", true)]));
        u.ctx.lineWidth = (a.variant ? 1.5 : 1) * ratio;
        u.ctx.fillStyle = a.variant ? ink("--card") : colour;
        u.ctx.strokeStyle = a.variant ? colour : ink("--card");
        u.ctx.fill(path);
        u.ctx.stroke(path);
      });
    });
    u.ctx.restore();
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
    dash: DASHES[allocator.variant % DASHES.length], points: { show: false },
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

  const logTicks = (u, splits) => splits.map((v) => (v == null ? "" : tick(v)));

  const throughput = (host, panel, allocators, context) => {
    const xs = panel.threads.map((_, i) => i);
    const values = allocators.map((a) => panel.cells.map((cell) => context.speed(cell, a.index, panel.rate)));
    if (panel.cells.length === 1) {
      return rows(host, allocators, (a) => context.speeds(panel.cells[0], a.index, panel.rate),
                  { unit: panel.rate.unit, label: panel.rate.label });
    }
    const samples = allocators.map((a) => panel.cells.map((cell) => context.speeds(cell, a.index, panel.rate)));
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
      hooks: { ...hooks, drawClear: [crowded], draw: [drawMarks(allocators, values, samples)] },
      scales: { x: { time: false, range: [-0.4, xs.length - 0.6] },
                y: logarithmic ? { distr: 3 } : { range: () => [0, Math.max(...samples.flat(2), Number.MIN_VALUE) * 1.08] } },
      axes: [axis({ label: "threads", labelSize: 18, size: 26, splits: () => xs, values: () => panel.threads.map(String), grid: { show: false } }),
             axis({ size: 52, label: panel.rate.label, labelSize: 16, ...(logarithmic ? { values: logTicks } : { values: (u, s) => s.map(tick) }) })],
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
      axes: [axis({ label: "phases of the run", labelSize: 18, size: 26, splits: () => [...edges.slice(1, -1), ...centres].sort((a, b) => a - b), ticks: { show: false },
                    values: (u, s) => s.map((v) => { const i = centres.indexOf(v); return i < 0 ? "" : context.segments[i][0]; }),
                    filter: (u, s) => s, grid: { stroke: ink("--grid"), width: 1, filter: (u, s) => s.map((v) => (edges.includes(v) ? v : null)) } }),
             axis({ size: 52, label: "RSS, MiB", labelSize: 16, values: (u, s) => s.map(tick) })],
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
      hooks: { ...hooks, draw: [drawMarks(shown, shown.map((a) => values[a.name]))] },
      scales: { x: { time: false, range: [-0.3, xs.length - 0.7] }, y: { distr: 3 } },
      axes: [axis({ label: "share of the timed calls", labelSize: 18, size: 26, splits: () => xs, values: () => names }), axis({ size: 56, label: "latency, ns", labelSize: 16, values: logTicks })],
      series: [{}, ...shown.map((a) => series(a))],
    }, [xs, ...shown.map((a) => values[a.name])]);
    return shown.map((a) => `${a.name}: ${names.map((n, i) => `${n} ${three(values[a.name][i])} ns`).join(", ")}`).join("; ");
  };

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

  const scale = (values, from, to, logarithmic) => {
    let low = Math.min(...values), high = Math.max(...values);
    if (logarithmic) { low /= 1.35; high *= 1.35; } else { low = 0; high = high * 1.12 || 1; }
    const f = logarithmic ? Math.log : (v) => v;
    const at = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
    return { at, ticks: niceTicks(low, high, logarithmic) };
  };

  const across = (root, x, box, label, width, height) => {
    for (const v of x.ticks) {
      root.append(svg("line", { x1: x.at(v), x2: x.at(v), y1: box.top, y2: box.bottom, class: "grid" }),
                  svg("text", { x: x.at(v), y: box.bottom + 15, class: "tick", "text-anchor": "middle" }, tick(v)));
    }
    root.append(svg("text", { x: (box.left + box.right) / 2, y: height - 5, class: "tick", "text-anchor": "middle" }, label));
  };

  // A row a name. Of speeds: single samples, quartiles and the median's mark; bars of memory: the median, with the range of the
  // samples, and a tick where memory stood after the work. Returns the words for whoever does not see it.
  const rows = (host, allocators, values, { bars = false, after = () => null, unit, label }) => {
    const all = allocators.map((a) => ({ a, v: [...values(a)].sort((x, y) => x - y) }));
    const numbers = all.flatMap((r) => r.v);
    if (!numbers.length) { host.append(Object.assign(document.createElement("p"), { className: "note", textContent: "No allocator finished here." })); return ""; }
    const longest = Math.max(...allocators.map((a) => a.short.length));
    const width = Math.max(240, Math.floor(host.clientWidth)), step = 24, height = step * all.length + 44;
    const box = { left: Math.min(width * 0.42, 14 + 7.4 * longest), right: width - 52, top: 4, bottom: step * all.length + 6 };
    const x = scale(numbers, box.left, box.right, !bars && wide(all.filter((r) => r.v.length).map((r) => Stats.median(r.v)), 25));
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plane", "aria-hidden": "true" });
    across(root, x, box, label, width, height);
    const letters = Math.max(3, Math.floor((box.left - 12) / 7.2));
    all.forEach(({ a, v }, k) => {
      const y = box.top + step * (k + 0.5);
      const group = svg("g", { class: "point", style: `--c: var(--c-${a.index})` });
      group.append(svg("text", { x: box.left - 8, y: y + 4, "text-anchor": "end", class: a.ours ? "best" : "" },
                       a.short.length > letters ? `${a.short.slice(0, letters - 1)}…` : a.short));
      if (!v.length) group.append(svg("text", { x: box.left + 6, y: y + 4, class: "none" }, "no value"));
      else {
        const middle = Stats.median(v), line = (from, to) => svg("line", { x1: x.at(from), x2: x.at(to), y1: y, y2: y, class: bars ? "range" : "spread" });
        group.prepend(svg("title", {}, `${a.name}: ${three(middle)} ${unit}, ${v.length} samples`));
        if (bars) {
          group.append(svg("rect", { x: box.left, y: y - 8, width: Math.max(0, x.at(middle) - box.left), height: 16, class: a.variant ? "bar-of pale" : "bar-of" }), line(v[0], v[v.length - 1]));
          const later = after(a);
          if (later != null) group.append(svg("line", { x1: x.at(later), x2: x.at(later), y1: y - 9, y2: y + 9, class: "after" }));
        } else {
          group.append(...v.map((one) => svg("circle", { cx: x.at(one), cy: y, r: 1.8, class: "sample" })),
                       line(Stats.quantile(v, 0.25), Stats.quantile(v, 0.75)), mark(a, x.at(middle), y, 5));
        }
        group.append(svg("text", { x: x.at(v[v.length - 1]) + 8, y: y + 4 }, three(middle)));
      }
      root.append(group);
    });
    host.append(root);
    return all.map(({ a, v }) => `${a.name}: ${v.length ? `${three(Stats.median(v))} ${unit}` : "no value"}`).join("; ");
  };

  const peak = (host, panel, allocators, context) =>
    rows(host, allocators, (a) => context.samples(panel.shown, a.index, "peak", MIB),
         { bars: true, after: (a) => context.median(panel.shown, a.index, "after", MIB), unit: "MiB", label: "peak RSS, MiB" });

  // Where a label may stand beside its mark: (dx, dy of its base line, anchor), the near ones first.
  const PLACES = [[10, 4, "start"], [-10, 4, "end"], [0, -10, "middle"], [0, 19, "middle"]];
  for (let dx = -130; dx <= 130; dx += 13) for (let dy = -96; dy <= 104; dy += 8) if (Math.hypot(dx, dy) > 19) PLACES.push([dx, dy, dx > 0 ? "start" : dx < 0 ? "end" : "middle"]);

  const pareto = (host, panel, allocators, context) => {
    const points = allocators
      .map((a) => ({ a, x: context.median(panel.shown, a.index, "peak", MIB), y: context.speed(panel.shown, a.index, panel.rate),
                     xs: context.samples(panel.shown, a.index, "peak", MIB).sort((m, n) => m - n), ys: context.speeds(panel.shown, a.index, panel.rate).sort((m, n) => m - n) }))
      .filter((p) => p.x > 0 && p.y > 0);
    if (!points.length) { host.append(Object.assign(document.createElement("p"), { className: "note", textContent: "No allocator finished here." })); return ""; }
    const width = Math.max(240, Math.floor(host.clientWidth)), height = HEIGHT + 20;
    const box = { right: width - 14, top: 12, bottom: height - 38 };
    const quartiles = points.flatMap((p) => [p.y, Stats.quantile(p.ys, 0.25), Stats.quantile(p.ys, 0.75)]);
    const y = scale(quartiles, box.bottom, box.top, wide(points.map((p) => p.y), 12));
    box.left = Math.max(62, 28 + 7.4 * Math.max(...y.ticks.map((v) => tick(v).length)));
    const x = scale(points.map((p) => p.x), box.left, box.right, false);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plane", "aria-hidden": "true" });
    across(root, x, box, "peak RSS, MiB", width, height);
    for (const v of y.ticks) {
      root.append(svg("line", { x1: box.left, x2: box.right, y1: y.at(v), y2: y.at(v), class: "grid" }),
                  svg("text", { x: box.left - 6, y: y.at(v) + 4, class: "tick", "text-anchor": "end" }, tick(v)));
    }
    const middle = (box.top + box.bottom) / 2;
    root.append(svg("text", { x: 12, y: middle, class: "tick", "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, panel.rate.label));
    const up = panel.rate.is_time ? -1 : 1; // where more speed is
    const front = points.filter((p) => !points.some((o) => o !== p && o.x <= p.x && up * o.y >= up * p.y && (o.x < p.x || up * o.y > up * p.y))).sort((a, b) => a.x - b.x);
    let path = "";
    front.forEach((p, i) => { path += i ? `V${y.at(p.y)}` : `M${x.at(p.x)} ${up > 0 ? box.bottom : box.top}V${y.at(p.y)}`; path += `H${i + 1 < front.length ? x.at(front[i + 1].x) : box.right}`; });
    root.append(svg("path", { d: path, class: "front" }));
    // A label stands at the nearest place where it hits no mark, no other label and no edge; far ones have a line to their mark.
    const taken = points.map((p) => [x.at(p.x) - 7, y.at(p.y) - 7, x.at(p.x) + 7, y.at(p.y) + 7]);
    for (const p of [...points].sort((a, b) => y.at(a.y) - y.at(b.y))) {
      const px = x.at(p.x), py = y.at(p.y), length = p.a.short.length * 7.4;
      const place = (dx, dy, anchor) => {
        const from = px + dx - (anchor === "end" ? length : anchor === "middle" ? length / 2 : 0);
        const area = [from, py + dy - 11, from + length, py + dy + 3];
        const out = area[0] < box.left || area[2] > width || area[1] < 0 || area[3] > box.bottom;
        const hits = taken.filter((o) => area[0] < o[2] && o[0] < area[2] && area[1] < o[3] && o[1] < area[3]).length;
        return { dx, dy, anchor, area, bad: 40 * out + 5 * hits + Math.max(0, Math.hypot(dx, dy) - 19) / 25 };
      };
      const best = PLACES.map(([dx, dy, anchor]) => place(dx, dy, anchor)).reduce((m, n) => (n.bad < m.bad ? n : m));
      taken.push(best.area);
      const group = svg("g", { class: "point", style: `--c: var(--c-${p.a.index})` });
      group.append(svg("title", {}, `${p.a.name}: ${three(p.y)} ${panel.rate.unit}, ${three(p.x)} MiB`), 
                   svg("line", { x1: x.at(Stats.quantile(p.xs, 0.25)), x2: x.at(Stats.quantile(p.xs, 0.75)), y1: py, y2: py, class: "spread" }),
                   svg("line", { x1: px, x2: px, y1: y.at(Stats.quantile(p.ys, 0.25)), y2: y.at(Stats.quantile(p.ys, 0.75)), class: "spread" }),
                   mark(p.a, px, py, 5.5),
                   ...(Math.hypot(best.dx, best.dy) > 19 ? [svg("line", { x1: px, x2: px + best.dx, y1: py, y2: py + best.dy - 4, class: "leader" })] : []),
                   svg("text", { x: px + best.dx, y: py + best.dy, "text-anchor": best.anchor, class: front.includes(p) ? "best" : "" }, p.a.short));
      root.append(group);
    }
    host.append(root);
    return points.map((p) => `${p.a.name}: ${three(p.y)} ${panel.rate.unit} with ${three(p.x)} MiB`).join("; ");
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

  return { throughput, peak, rss, latency, pareto, interval, mark, svg, three };
})();
