// SPDX-License-Identifier: Apache-2.0
// The page: what is chosen, what follows from it, and how it is shown. Names from files go in as text, never as markup.
"use strict";
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const three = Charts.three;
  const MIB = 1048576;
  const state = { baseline: D.baseline, workload: "", quiet: false, hidden: new Set(), sort: null, call: "" };
  D.allocators.forEach((a, i) => { a.index = i; });

  const el = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
    element.append(...children.filter((c) => c != null));
    return element;
  };
  const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const percent = (share) => (share == null || !Number.isFinite(share) ? "any size" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);

  // ---- samples by cell and allocator -------------------------------------------------------------------------------
  const groups = new Map();
  for (const s of D.samples) {
    const key = `${s.cell}/${s.name}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(s);
  }
  const group = (cell, name) => groups.get(`${cell}/${name}`) || [];
  const failure = (rows) => {
    const bad = rows.filter((s) => s.status !== "ok");
    if (rows.length === 0) return "no sample";
    return bad.length === 0 ? "" : `${[...new Set(bad.map((s) => s.status))].join(", ")} (${bad.length} of ${rows.length})`;
  };
  const kept = (rows) => (state.quiet ? rows.filter((s) => !s.marked) : rows);
  // A throughput in a unit, as scripts/hzbench/text.py shows it; of runs of a program the time of one.
  const shownIn = (rate, speed) => (rate.is_time ? 1 / speed : speed / rate.size);
  const median = (cell, name, what, unit) => {
    const rows = group(cell, name);
    const values = failure(rows) ? [] : kept(rows).map((s) => s[what]).filter((v) => v != null);
    return values.length ? Stats.median(values) / unit : null;
  };
  const speed = (cell, name, rate) => {
    const middle = median(cell, name, "speed", 1);
    return middle == null ? null : shownIn(rate, middle);
  };

  const samples = (cell, name, what, unit) => {
    const rows = group(cell, name);
    return failure(rows) ? [] : kept(rows).map((s) => s[what]).filter((v) => v != null).map((v) => v / unit);
  };
  const speeds = (cell, name, rate) => samples(cell, name, "speed", 1).map((v) => shownIn(rate, v));

  // ---- comparisons -------------------------------------------------------------------------------------------------
  const pairs = (cell, name, base, what) => {
    const old = new Map(group(cell, base).map((s) => [s.block, s]));
    return group(cell, name)
      .map((s) => [s, old.get(s.block)])
      .filter(([a, b]) => b && a[what] > 0 && b[what] > 0 && !(state.quiet && what === "speed" && (a.marked || b.marked)));
  };
  const stored = (cell, name, base, index) => {
    const [low, high] = name < base ? [name, base] : [base, name];
    const found = ((D.intervals[cell] || {})[`${low}/${high}`] || [])[index];
    if (!found) return [0, Infinity];
    const ends = [found[0] ?? 0, found[1] ?? Infinity]; // JSON has no infinity
    return name < base ? ends : [1 / ends[1], 1 / ends[0]];
  };
  const compare = (cell, name, base, what, index) => {
    const both = pairs(cell, name, base, what);
    if (!both.length) return null;
    const d = both.map(([a, b]) => Math.log(a[what]) - Math.log(b[what]));
    const [low, high] = stored(cell, name, base, index);
    return { pairs: d.length, ratio: Math.exp(Stats.hodgesLehmann(d)), p: Stats.signedRankP(d), low, high,
             visible: Stats.smallestVisible(low, high), marked: both.filter(([a, b]) => a.marked || b.marked).length };
  };

  const build = () => {
    const rows = [];
    D.cells.forEach((cell, c) => {
      if (state.workload && cell.workload !== state.workload) return;
      D.allocators.forEach((allocator, a) => {
        const samples = group(c, a);
        const row = { cell, c, allocator, a, samples: samples.length, failure: failure(samples), isBase: a === state.baseline,
                      speed: median(c, a, "speed", 1), peak: median(c, a, "peak", MIB), after: median(c, a, "after", MIB),
                      marked: samples.filter((s) => s.marked).length };
        if (!row.failure && !row.isBase && !failure(group(c, state.baseline))) {
          row.comparison = compare(c, a, state.baseline, "speed", state.quiet ? 1 : 0);
          row.memory = compare(c, a, state.baseline, "peak", 2);
        }
        rows.push(row);
      });
    });
    const compared = rows.filter((r) => r.comparison);
    const q = Stats.benjaminiHochberg(compared.map((r) => r.comparison.p));
    compared.forEach((r, i) => { r.q = q[i]; r.verdict = Stats.verdict(r.comparison, q[i], D); if (r.cell.harness_bound && r.verdict === "same") r.verdict = "undecided"; });
    rows.forEach((r) => { if (!r.verdict) r.verdict = r.failure ? "failed" : r.isBase ? "baseline" : "no baseline"; });
    return rows;
  };

  // ---- the table ---------------------------------------------------------------------------------------------------
  const swatch = (a) => {
    const drawn = Charts.svg("svg", { viewBox: "-9 -6 18 12", width: 18, height: 12 }, Charts.mark(a, 0, 0, 4.6));
    return el("span", { class: "swatch", style: `--c: var(--c-${a.index})`, "aria-hidden": "true" }, drawn);
  };
  const who = (r) => el("th", { scope: "row", class: "who" + (r.allocator.ours ? " ours" : ""), title: r.allocator.name }, swatch(r.allocator), r.allocator.short);
  const bound = (r) => (!r.cell.harness_bound ? "" : r.comparison.low > 1 ? "at least " : r.comparison.high < 1 ? "at most " : "");
  const COLUMNS = [
    { key: "allocator", title: "allocator", value: (r) => r.allocator.name, order: (r) => r.a, cell: who },
    { key: "cell", title: "cell", value: (r) => r.cell.label, order: (r) => r.c, cell: (r, again) =>
        el("td", { class: again ? "again" : "", title: r.cell.details }, r.cell.label,
           r.cell.crowded && !again ? el("span", { class: "crowd" }, "threads > CPUs") : null,
           r.cell.harness_bound && !again ? el("span", { class: "crowd" }, "harness-bound") : null) },
    { key: "ratio", title: "ratio", number: true, strong: "ratio", value: (r) => (r.isBase && !r.failure ? 1 : r.comparison && r.comparison.ratio), text: (r) => (r.isBase && !r.failure ? three(1) : r.comparison ? bound(r) + three(r.comparison.ratio) : "–") },
    { key: "interval", title: "95 % interval", number: true, value: (r) => r.comparison && r.comparison.low,
      text: (r) => (r.comparison ? `${three(r.comparison.low)} … ${Number.isFinite(r.comparison.high) ? three(r.comparison.high) : "∞"}` : "–") },
    { key: "plot", title: "", plot: true },
    { key: "verdict", title: "verdict", value: (r) => r.verdict, cell: (r) =>
        el("td", {}, el("span", { class: `verdict ${r.verdict.split(" ")[0]}` }, r.failure || r.verdict),
           r.verdict === "undecided" ? el("span", { class: "undecided" }, r.comparison.pairs < D.min_pairs ? ` · needs ${D.min_pairs} rounds` : ` · would see ${percent(r.comparison.visible)}`) : null) },
    { key: "speed", title: D.rate ? D.rate.unit : "speed", number: true, value: (r) => r.speed, text: (r) => {
        const own = D.rate || r.cell.rate;
        return r.speed == null ? "–" : three(shownIn(own, r.speed)) + (D.rate ? "" : ` ${own.unit}`);
      } },
    { key: "peak", title: "peak MiB", number: true, value: (r) => r.peak },
    { key: "memory", title: "peak ratio", number: true, value: (r) => (r.isBase && !r.failure ? 1 : r.memory && r.memory.ratio) },
    { key: "after", title: D.after ? `MiB after ${D.after}` : "MiB after", number: true, value: (r) => r.after },
    { key: "n", title: "n", number: true, value: (r) => (r.comparison ? r.comparison.pairs : r.samples), text: (r) => String(r.comparison ? r.comparison.pairs : r.samples) },
    { key: "marked", title: "marked", number: true, value: (r) => r.marked, cell: (r) =>
        el("td", { class: "n" }, r.marked ? el("span", { class: "marked" }, `${r.marked} of ${r.samples}`) : "–") },
  ];
  let rows = [];

  const sorted = () => {
    if (!state.sort) return rows;
    const column = COLUMNS.find((c) => c.key === state.sort.key);
    const value = column.order || column.value;
    const sign = state.sort.down ? -1 : 1;
    return [...rows].sort((x, y) => {
      const a = value(x), b = value(y);
      if (a == null || b == null) return (a == null) - (b == null); // what is missing goes last, whichever way
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b) || x.c - y.c || x.a - y.a;
    });
  };

  const drawHead = () => {
    const line = el("tr");
    for (const column of COLUMNS) {
      const active = state.sort && state.sort.key === column.key;
      const head = el("th", { scope: "col", class: column.number ? "n" : "", "data-key": column.key,
                              "aria-sort": column.plot ? null : active ? (state.sort.down ? "descending" : "ascending") : "none" });
      if (column.plot) head.append(el("span", { class: "sr" }, "interval drawn"));
      else {
        const button = el("button", { type: "button" }, column.title);
        button.addEventListener("click", () => {
          const down = active ? !state.sort.down : Boolean(column.number);
          state.sort = { key: column.key, down };
          drawTable();
          byId("table").querySelector(`th[data-key="${column.key}"] button`).focus();
          byId("status").textContent = `Sorted by ${column.title}, ${down ? "descending" : "ascending"}`;
        });
        head.append(button);
      }
      line.append(head);
    }
    byId("table").tHead.replaceChildren(line);
  };

  const drawTable = () => {
    drawHead();
    const logs = rows.flatMap((r) => (r.comparison ? [r.comparison.low, r.comparison.high, r.comparison.ratio] : [])).filter((v) => v > 0 && Number.isFinite(v));
    const reach = Math.min(Math.log(32), Math.max(Math.log(1.05), ...logs.map((v) => Math.abs(Math.log(v)))));
    let last = -1;
    byId("table").tBodies[0].replaceChildren(...sorted().map((r) => {
      const again = r.c === last;
      last = r.c;
      const line = el("tr", { class: again || state.sort ? "" : "first", "data-cell": r.c, "data-name": r.allocator.name });
      for (const column of COLUMNS) {
        if (column.plot) line.append(el("td", { class: "plot" }, r.comparison ? Charts.interval(r.comparison, reach, r.verdict) : null));
        else if (column.cell) line.append(column.cell(r, again));
        else {
          const value = column.value(r);
          line.append(el("td", { class: `${column.number ? "n" : ""} ${column.strong || ""}`, "data-key": column.key, "data-value": value },
                         column.text ? column.text(r) : value == null ? "–" : three(value)));
        }
      }
      return line;
    }));
  };

  // ---- means, marks, provenance ------------------------------------------------------------------------------------
  const drawMeans = () => {
    const platforms = [...new Set(rows.map((r) => r.cell.platform))];
    const body = el("tbody");
    for (const platform of platforms) for (const a of D.allocators) {
      const mine = rows.filter((r) => r.a === a.index && r.cell.platform === platform);
      if (!mine.length || a.index === state.baseline) continue;
      const whole = mine.every((r) => r.comparison);
      const tally = (verdict) => mine.filter((r) => r.verdict === verdict).length;
      const value = (ratios) => (whole && ratios.every((v) => v > 0) ? three(Stats.geometricMean(ratios)) : "–");
      body.append(el("tr", { "data-name": a.name }, who({ allocator: a }),
        platforms.length > 1 ? el("td", {}, platform) : null,
        el("td", { class: "n ratio" }, value(mine.map((r) => r.comparison && r.comparison.ratio))),
        el("td", { class: "n" }, value(mine.map((r) => r.memory && r.memory.ratio))),
        ...["faster", "same", "undecided", "slower"].map((v) => el("td", { class: `n ${tally(v) ? v : ""}` }, String(tally(v)))),
        el("td", { class: `n ${mine.some((r) => r.failure) ? "failed" : ""}` }, String(mine.filter((r) => !r.comparison).length))));
    }
    const head = ["allocator", ...(platforms.length > 1 ? ["platform"] : []), "throughput", "peak RSS", "faster", "same", "undecided", "slower", "failed"];
    byId("means").replaceChildren(el("caption", { class: "sr" }, "Geometric means of ratios and counts of verdicts"),
      el("thead", {}, el("tr", {}, ...head.map((h, i) => el("th", { scope: "col", class: i ? "n" : "" }, h)))), body);
  };

  const drawMarks = () => {
    const shown = D.samples.filter((s) => s.marked || s.status !== "ok");
    const body = shown.slice(0, 200).map((s) => el("tr", {}, el("td", {}, D.allocators[s.name].short), el("td", {}, D.cells[s.cell].label),
      el("td", { class: "n" }, String(s.sample)), el("td", {}, s.file),
      el("td", {}, s.status === "ok" ? el("span", { class: "marked" }, "marked") : el("span", { class: "failed" }, s.status)),
      el("td", {}, s.status === "ok" ? s.why : s.message)));
    if (!shown.length) body.push(el("tr", {}, el("td", { colspan: 6 }, "None: every sample is ok, and in none did other load take the CPU.")));
    if (shown.length > 200) body.push(el("tr", {}, el("td", { colspan: 6 }, `and ${shown.length - 200} more in the CSV`)));
    byId("marks").replaceChildren(
      el("thead", {}, el("tr", {}, ...["allocator", "cell", "sample", "file", "what", "why"].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", {}, ...body));
  };

  const list = (record) => el("dl", {}, ...Object.entries(record).map(([k, v]) => el("div", {}, el("dt", {}, k.replaceAll("_", " ")), el("dd", {}, v == null || v === "" ? "–" : String(v)))));
  const drawFiles = () => {
    byId("files").replaceChildren(...D.files.map((f, i) => el("details", i === 0 ? { open: true } : {},
      el("summary", {}, `${f.name} · run ${f.run_id}`),
      f.command ? el("p", { class: "code" }, f.command) : el("p", { class: "note" }, "No run.json beside this file: command, build and machine are unknown."),
      el("h3", {}, "Machine"), list(f.machine), el("h3", {}, "Build"), list(f.build),
      Object.keys(f.environment).length ? el("h3", {}, "Environment") : null, Object.keys(f.environment).length ? list(f.environment) : null,
      f.allocators.length ? el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Libraries of ${f.name}` }, el("table", {},
        el("thead", {}, el("tr", {}, ...["allocator", "version", "library", "build id", "SHA-256"].map((h) => el("th", { scope: "col" }, h)))),
        el("tbody", {}, ...f.allocators.map((a) => el("tr", {}, el("th", { scope: "row" }, a.allocator ?? ""), el("td", {}, a.version || "–"), el("td", {}, el("code", {}, a.path || a.why || "–")),
          el("td", {}, el("code", {}, (a.build_id || "–").slice(0, 12))), el("td", {}, el("code", {}, (a.sha256 || "–").slice(0, 16)))))))) : null)));
  };

  // ---- figures -----------------------------------------------------------------------------------------------------
  const drawFigures = () => {
    const shown = D.allocators.filter((a) => !state.hidden.has(a.index));
    const panels = D.panels.filter((p) => !state.workload || p.cells.some((c) => D.cells[c].workload === state.workload));
    for (const host of document.querySelectorAll(".panels")) {
      const kind = host.dataset.kind;
      const fitting = panels.filter((p) => (kind === "rss" ? p.rss : kind === "latency" ? p.latency[state.call] : true));
      host.closest("section").hidden = fitting.length === 0 && (kind === "rss" || kind === "latency");
      // All figures take their places first: how wide one is depends on how many there are.
      const places = fitting.map((panel) => {
        const here = (kind !== "throughput" || panel.cells.length === 1) && D.cells[panel.shown];
        const canvas = el("div", { class: "canvas" });
        const platform = new Set(D.panels.map((p) => p.platform)).size > 1 ? panel.platform : "";
        const figure = el("figure", { role: "group" }, el("figcaption", {}, panel.title,
          el("small", {}, [here ? count(here.threads, "thread") : "", platform].filter(Boolean).join(", "))), canvas);
        return { panel, here, canvas, figure };
      });
      host.replaceChildren(...places.map((p) => p.figure));
      for (const { panel, here, canvas, figure } of places) {
        const words = Charts[kind](canvas, panel, shown, { median, samples, speed, speeds, pus: D.pus, segments: D.segments, percentiles: D.percentiles, call: state.call });
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `${panel.title}: ${words}`);
        const failed = (here ? [panel.shown] : panel.cells).flatMap((c) => shown.filter((a) => failure(group(c, a.index))).map((a) => `${a.short}, ${count(D.cells[c].threads, "thread")}: ${failure(group(c, a.index))}`));
        if (failed.length) figure.append(el("p", { class: "failures" }, failed.join("; ")));
      }
    }
  };

  // ---- downloads ---------------------------------------------------------------------------------------------------
  const field = (v) => { const s = v == null ? "" : String(v); return /[",\n\r]/.test(s) ? `"${s.replaceAll('"', '""')}"` : s; };
  const save = (name, content) => {
    const url = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };
  const tableCsv = () => {
    const head = ["cell", "allocator", "baseline", "pairs", "ops_s", "ratio", "low", "high", "p", "q", "verdict", "peak_rss_mib", "peak_ratio", "marked"];
    const lines = sorted().map((r) => [r.cell.label, r.allocator.name, D.allocators[state.baseline].name, r.comparison && r.comparison.pairs, r.speed,
      ...["ratio", "low", "high", "p"].map((k) => r.comparison && r.comparison[k]), r.q, r.failure || r.verdict, r.peak, r.memory && r.memory.ratio, r.marked]);
    return [head, ...lines].map((l) => l.map(field).join(",")).join("\n") + "\n";
  };

  // ---- choices -----------------------------------------------------------------------------------------------------
  const drawNumbers = () => {
    rows = build();
    const base = D.allocators[state.baseline].name;
    document.querySelectorAll(".base").forEach((e) => { e.textContent = base; });
    drawTable();
    drawMeans();
    drawHints();
    byId("legend").textContent = `Ratio to ${base} in the same round: above 1 is faster. faster, slower: the interval excludes 1 and the exact rank test says so at ${100 * D.alpha} % after control of false discoveries over the rows shown; same: the interval lies within ${100 * D.margin} %; undecided: neither, with the effect that would have been seen four times in five.`;
  };

  // A table that is wider than its place says so.
  const drawHints = () => {
    for (const place of document.querySelectorAll(".scroll")) {
      let hint = place.previousElementSibling;
      if (!hint || !hint.classList.contains("hint")) {
        hint = el("p", { class: "hint", "aria-hidden": "true" }, "scrolls sideways →");
        place.before(hint);
      }
      hint.hidden = place.scrollWidth <= place.clientWidth + 1;
    }
  };

  // The palette is Okabe and Ito's; on dark paper a colour that is too dark to see is mixed with white.
  const colours = () => {
    const dark = !matchMedia("print").matches && (state.theme === "dark" || (!state.theme && matchMedia("(prefers-color-scheme: dark)").matches));
    D.allocators.forEach((a) => {
      const [r, g, b] = [1, 3, 5].map((i) => parseInt(a.colour.slice(i, i + 2), 16));
      const mix = dark && 0.2126 * r + 0.7152 * g + 0.0722 * b < 125 ? 0.42 : 0;
      document.documentElement.style.setProperty(`--c-${a.index}`, `rgb(${[r, g, b].map((v) => Math.round(v + (255 - v) * mix)).join(" ")})`);
    });
  };

  const start = () => {
    const option = (value, label) => el("option", { value }, label);
    byId("baseline").append(...D.allocators.map((a, i) => option(i, a.name)));
    byId("baseline").value = String(state.baseline);
    const workloads = [...new Set(D.cells.map((c) => c.workload))];
    byId("workload").append(option("", "all"), ...workloads.map((w) => option(w, w)));
    const calls = D.calls.filter(([key]) => D.panels.some((p) => p.latency[key]));
    byId("call").append(...calls.map(([key, label]) => option(key, label)));
    state.call = calls.length ? calls[0][0] : "";
    for (const a of D.allocators) {
      const box = el("input", { type: "checkbox", checked: true, value: a.index });
      box.addEventListener("change", () => { if (box.checked) state.hidden.delete(a.index); else state.hidden.add(a.index); drawFigures(); });
      byId("chips").append(el("label", { title: a.name }, box, swatch(a), a.short));
    }
    const marked = D.samples.filter((s) => s.marked).length, failed = D.samples.filter((s) => s.status !== "ok").length;
    const machine = D.files[0].machine;
    byId("machine").textContent = [machine.cpu_model, D.pus ? count(D.pus, "CPU") : "", machine.virtualisation, machine.kernel && `kernel ${machine.kernel}`, machine.libc, D.started.slice(0, 10)].filter(Boolean).join(" · ");
    const facts = [[D.allocators.length, "allocators"], [D.cells.length, "cells"], [D.rounds, "rounds"], [D.samples.length, "samples"]];
    byId("facts").append(...facts.map(([n, what]) => el("li", {}, el("b", {}, String(n)), what)),
      el("li", { class: marked ? "alert" : "" }, el("b", {}, String(marked)), "marked"), el("li", { class: failed ? "alert" : "" }, el("b", {}, String(failed)), "failed"));
    byId("csv-files").append(...D.files.map((f) => {
      const button = el("button", { type: "button" }, `Samples: ${f.name}`);
      button.addEventListener("click", () => save(f.name, f.csv));
      return button;
    }));
    byId("csv-table").addEventListener("click", () => save("ratios.csv", tableCsv()));
    byId("baseline").addEventListener("change", (e) => {
      state.baseline = Number(e.target.value);
      drawNumbers();
      byId("status").textContent = `Baseline is now ${D.allocators[state.baseline].name}`;
    });
    byId("workload").addEventListener("change", (e) => { state.workload = e.target.value; drawNumbers(); drawFigures(); });
    byId("quiet").addEventListener("change", (e) => { state.quiet = e.target.checked; drawNumbers(); drawFigures(); });
    byId("call").addEventListener("change", (e) => { state.call = e.target.value; drawFigures(); });
    byId("theme").addEventListener("click", () => {
      state.theme = { "": "light", light: "dark", dark: "" }[state.theme || ""];
      document.documentElement.dataset.theme = state.theme;
      byId("theme").textContent = `Colours: ${state.theme || "auto"}`;
      byId("theme").setAttribute("aria-label", `Colours: ${state.theme || "as the system"}`);
      redraw();
    });
    const redraw = () => { colours(); drawFigures(); };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    // Canvases do not follow style sheets: paper gets its own drawing, then the screen's comes back.
    matchMedia("print").addEventListener("change", redraw);
    addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawFigures(); drawHints(); } });
    colours();
    drawNumbers();
    drawMarks();
    drawFiles();
    drawFigures();
    drawHints();
  };

  start();
})();
