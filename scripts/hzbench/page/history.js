// SPDX-License-Identifier: Apache-2.0
// The page of a history: what is chosen, its changes, a small course of each series, a large one of the series that is picked.
// Names from files go in as text, never as markup.
"use strict";
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const { three, svg } = Charts;
  const AT_ONCE = 60; // series that are drawn before somebody asks for more
  const state = { allocator: "", workload: "", metric: "", host: "", shown: AT_ONCE, picked: -1, plot: null };

  const el = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
    element.append(...children.filter((c) => c != null));
    return element;
  };
  const signed = (share) => (share == null ? "any" : `${share > 0 ? "+" : "−"}${(100 * Math.abs(share)).toFixed(1)} %`);
  const short = (commit) => commit.slice(0, 9);
  const told = (line, logarithm) => (line.bytes ? `${three(Math.exp(logarithm) / 1048576)} MiB` : three(Math.exp(logarithm)));
  const named = (line) => `${D.metrics[line.metric]} of ${line.allocator}, ${line.label}`;
  const relative = (line) => (line.reference ? ` relative to ${line.reference} (${line.reference_sha256.slice(0, 8)})` : "");
  const chosen = (line) => ["allocator", "workload", "metric", "host"].every((key) => !state[key] || line[key] === state[key]);

  // ---- changes -----------------------------------------------------------------------------------------------------
  const commits = (change) => {
    const lines = change.commits.slice(0, 4).map(([sha, subject]) => el("div", {}, el("code", {}, short(sha)), ` ${subject}`));
    if (change.count > 4) lines.push(el("div", {}, `and ${change.count - 4} more after ${short(change.before)}`));
    if (change.system) lines.push(el("div", {}, "the system changed as well: ", change.system));
    return lines;
  };
  const changes = (id, worse) => {
    const mine = D.changes.filter((c) => c.worse === worse && chosen(D.lines[c.line]));
    const table = byId(`${id}-table`);
    if (!mine.length) {
      table.replaceChildren(el("tbody", {}, el("tr", {}, el("td", {}, "Nothing."))));
      return;
    }
    const rows = mine.map((c) => el("tr", { "data-line": c.line },
      el("td", { class: "n" }, el("span", { class: `size ${c.worse ? "worse" : "better"}` }, signed(c.share)), c.suspected ? el("span", { class: "suspect" }, "suspected") : null),
      el("td", {}, c.low == null ? "" : `${signed(c.low)} to ${signed(c.high)}`),
      el("td", {}, (() => { const b = el("button", { type: "button" }, named(D.lines[c.line])); b.addEventListener("click", () => pick(c.line, true)); return b; })()),
      el("td", { class: "commits" }, ...commits(c))));
    table.replaceChildren(el("thead", {}, el("tr", {}, ...["Change", "95 % interval", "Of what", "Commits"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, ...rows));
  };

  // ---- small courses -----------------------------------------------------------------------------------------------
  const byLine = D.lines.map(() => []);
  D.changes.forEach((c) => byLine[c.line].push(c));
  const spark = (index) => {
    const line = D.lines[index], v = line.estimates, wide = 300, high = 42;
    const low = Math.min(...v), top = Math.max(...v), half = Math.max(top - low, 0.02) / 2, middle = (low + top) / 2;
    const x = (i) => (v.length > 1 ? 4 + ((wide - 8) * i) / (v.length - 1) : wide / 2);
    const y = (value) => high / 2 - ((value - middle) / half) * (high / 2 - 5);
    const root = svg("svg", { viewBox: `0 0 ${wide} ${high}`, class: "spark", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const c of byLine[index]) {
      const at = (x(c.at - 1) + x(c.at)) / 2;
      root.append(svg("line", { x1: at, x2: at, y1: 0, y2: high, class: `at ${c.worse ? "worse" : "better"}${c.suspected ? " maybe" : ""}` }));
    }
    root.append(svg("path", { class: "course", d: v.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("") }),
                svg("circle", { class: "last", cx: x(v.length - 1), cy: y(v[v.length - 1]), r: 2.5 }));
    return root;
  };
  const card = (index) => {
    const line = D.lines[index], last = line.estimates.length - 1;
    const note = byLine[index].map((c) => `${c.suspected ? "suspected " : ""}${c.worse ? "worse" : "better"} ${signed(c.share)}`).join(", ");
    const button = el("button", { type: "button", class: "one-series", "data-line": index, "aria-pressed": String(index === state.picked) },
      el("b", {}, named(line)), el("small", {}, `${told(line, line.estimates[last])}${relative(line)}, ${line.estimates.length} points${note ? "; " + note : ""}`), spark(index));
    button.addEventListener("click", () => pick(index, true));
    return button;
  };
  const list = () => {
    const mine = D.lines.map((_, i) => i).filter((i) => D.lines[i].estimates.length && chosen(D.lines[i]));
    mine.sort((a, b) => (byLine[b].length > 0) - (byLine[a].length > 0) || a - b); // those that changed first
    byId("list").replaceChildren(...mine.slice(0, state.shown).map(card));
    byId("count").textContent = `${mine.length} series${mine.length > state.shown ? `, ${state.shown} of them shown` : ""}; those with a change first.`;
    byId("more").hidden = mine.length <= state.shown;
    byId("status").textContent = `${mine.length} series`;
  };

  // ---- the series that is picked -----------------------------------------------------------------------------------
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // The day of a run, or its time of day where the label before it has that day.
  const moments = (line) => (u, splits) => {
    let day = "";
    return splits.map((v) => {
      const run = Number.isInteger(v) && line.runs[v] != null ? D.runs[line.runs[v]] : null;
      if (!run) return "";
      const same = run.at.slice(0, 10) === day;
      day = run.at.slice(0, 10);
      return same ? run.at.slice(11, 16) : day.slice(5);
    });
  };
  const draw = () => {
    const index = state.picked;
    if (index < 0) return;
    const line = D.lines[index], value = (logs) => logs.map((v) => (v == null ? null : Math.exp(v) / (line.bytes ? 1048576 : 1)));
    if (state.plot) state.plot.destroy();
    const axis = { stroke: ink("--ink-2"), grid: { stroke: ink("--grid"), width: 1 }, ticks: { stroke: ink("--grid"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
    const marks = (u) => {
      u.ctx.save();
      for (const c of byLine[index]) {
        const at = u.valToPos(c.at - 0.5, "x", true);
        u.ctx.strokeStyle = ink(c.worse ? "--bad" : "--good");
        u.ctx.lineWidth = 2 * devicePixelRatio;
        u.ctx.setLineDash(c.suspected ? [6, 6] : []);
        u.ctx.beginPath();
        u.ctx.moveTo(at, u.bbox.top);
        u.ctx.lineTo(at, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
      }
      u.ctx.restore();
    };
    const moved = (u) => {
      const i = u.cursor.idx;
      if (i == null) return;
      const run = D.runs[line.runs[i]];
      byId("readout").textContent = `${short(run.commit)} ${run.at.slice(0, 10)}: ${told(line, line.estimates[i])}${line.lows[i] == null ? "" : ` [${told(line, line.lows[i])}, ${told(line, line.highs[i])}]`}${line.bad[i] ? `, ${line.bad[i]} disturbed` : ""}  ${run.subject}`;
    };
    const width = Math.max(220, Math.floor(byId("plot").clientWidth));
    state.plot = new uPlot({
      width, height: 260, legend: { show: false }, cursor: { y: false, points: { size: 8 } }, padding: [10, 24, 0, 0],
      scales: { x: { time: false } },
      axes: [{ ...axis, values: moments(line) }, { ...axis, size: 62, label: line.bytes ? "MiB" : line.reference ? `times ${line.reference}` : "", labelSize: 18, labelFont: axis.font }],
      series: [{}, { stroke: ink("--grid"), width: 1 }, { stroke: ink("--accent"), width: 2, points: { show: line.estimates.length < 200, size: 6, fill: ink("--accent") } }, { stroke: ink("--grid"), width: 1 }],
      bands: [{ series: [3, 1], fill: ink("--live") }],
      hooks: { draw: [marks], setCursor: [moved] },
    }, [line.estimates.map((_, i) => i), value(line.lows), value(line.estimates), value(line.highs)], byId("plot"));
  };
  const pick = (index, scroll) => {
    state.picked = index;
    const line = D.lines[index];
    byId("detail").hidden = false;
    byId("h-detail").textContent = `${named(line)}${relative(line)}, host ${line.host}`;
    byId("plot").setAttribute("aria-label", `Course of ${named(line)} over ${line.estimates.length} points`);
    byId("readout").textContent = "";
    const rows = line.estimates.map((v, i) => {
      const run = D.runs[line.runs[i]];
      return el("tr", {}, el("td", {}, el("code", {}, short(run.commit))), el("td", {}, run.at.slice(0, 10)), el("td", { class: "n" }, told(line, v)),
        el("td", {}, line.lows[i] == null ? "" : `${told(line, line.lows[i])} to ${told(line, line.highs[i])}`), el("td", { class: "n" }, String(line.n[i])), el("td", {}, run.subject));
    }).reverse();
    byId("points").replaceChildren(el("thead", {}, el("tr", {}, ...["Commit", "Date", "Estimate", "95 % interval", "Rounds", "Subject"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, ...rows));
    for (const b of document.querySelectorAll(".one-series")) b.setAttribute("aria-pressed", String(Number(b.dataset.line) === index));
    draw();
    if (scroll) byId("detail").scrollIntoView({ block: "start" });
  };

  const all = () => { changes("worse", true); changes("better", false); list(); };
  const facts = [[D.lines.length, "series"], [D.lines.reduce((n, l) => n + l.estimates.length, 0), "points"], [D.runs.length, "runs"],
                 [D.changes.filter((c) => c.worse && !c.suspected).length, "got worse"], [D.changes.filter((c) => c.suspected).length, "suspected"]];
  byId("facts").append(...facts.map(([n, what]) => el("li", { class: /worse/.test(what) && n ? "alert" : null }, el("b", {}, String(n)), what)));
  for (const key of ["allocator", "workload", "metric", "host"]) {
    const values = [...new Set(D.lines.map((l) => l[key]))];
    byId(key).append(el("option", { value: "" }, "all"), ...values.map((v) => el("option", { value: v }, key === "metric" ? D.metrics[v] : v)));
    byId(key).addEventListener("change", (e) => { state[key] = e.target.value; state.shown = AT_ONCE; all(); });
  }
  byId("more").addEventListener("click", () => { state.shown += 4 * AT_ONCE; list(); });
  byId("theme").addEventListener("click", () => {
    state.theme = { "": "light", light: "dark", dark: "" }[state.theme || ""];
    document.documentElement.dataset.theme = state.theme;
    byId("theme").textContent = `Colours: ${state.theme || "auto"}`;
    byId("theme").setAttribute("aria-label", `Colours: ${state.theme || "as the system"}`);
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  all();
})();
