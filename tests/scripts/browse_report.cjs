// SPDX-License-Identifier: Apache-2.0
// Opens a page of scripts/report in headless Chromium, clicks through it and prints what it saw as JSON on stdout.
// node browse_report.cjs MODULES CHROMIUM PAGE.html DIR   (screenshots, the PDF and downloads go to DIR)
"use strict";
const fs = require("fs");
const path = require("path");
const { browse, folder, overflow, painted, shot } = require("./browse.cjs");

// What the ratio table says: one object a row.
const readTable = (tab) => tab.$$eval("#table tbody tr", (lines) => lines.map((line) => {
  const at = (key) => line.querySelector(`[data-key="${key}"]`)?.dataset.value ?? null;
  return { cell: Number(line.dataset.cell), name: line.dataset.name, ratio: at("ratio") && Number(at("ratio")),
           memory: at("memory") && Number(at("memory")), speed: at("speed") && Number(at("speed")),
           verdict: line.querySelector(".verdict").textContent };
}));

// Text of an element against its background, both as the browser computed them: WCAG contrast ratios.
const contrasts = (tab) => tab.evaluate(() => {
  const rgba = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((a, v, i) => a + v * [0.2126, 0.7152, 0.0722][i], 0);
  const worst = {};
  for (const element of document.querySelectorAll("h1, h2, p, td, th, button, label, li, dd, dt, summary, figcaption, .verdict, .marked, .crowd")) {
    const style = getComputedStyle(element);
    const ink = rgba(style.color);
    if (!element.textContent.trim() || ink[3] === 0 || element.closest("[hidden]") || element.getClientRects().length === 0) continue;
    let behind = element, paper = [0, 0, 0, 0];
    while (behind && (paper.length === 4 ? paper[3] < 0.9 : false)) { const c = rgba(getComputedStyle(behind).backgroundColor); paper = c.length === 3 ? [...c, 1] : c; behind = behind.parentElement; }
    const [a, b] = [luminance(ink), luminance(paper)].sort((x, y) => y - x);
    const name = element.tagName.toLowerCase() + (element.className ? "." + element.className : "");
    worst[name] = Math.min(worst[name] ?? 99, (a + 0.05) / (b + 0.05));
  }
  return worst;
});

browse(async (tab, saw) => {
  const wait = (condition, ...values) => tab.waitForFunction(condition, { polling: 50 }, ...values);

  saw.title = await tab.title();
  saw.options = await tab.$$eval("#baseline option", (all) => all.map((o) => o.textContent));
  saw.tables = {};
  saw.base = await tab.$eval("#h-ratios .base", (e) => e.textContent);
  saw.canvases = await painted(tab);
  saw.tooWide = await tab.$$eval(".canvas", (all) => all.filter((e) => e.scrollWidth > e.clientWidth + 1).length);
  saw.planes = await tab.$$eval(".plane .point", (all) => all.length);
  saw.marks_of = await tab.$$eval("#chips label", (all) => all.map((e) => [e.title, e.querySelector(".mark").getAttribute("d")]));
  saw.dots = await tab.$$eval(".plane .sample", (all) => all.length);
  saw.labels = await tab.$$eval("[role=img]", (all) => all.map((e) => e.getAttribute("aria-label")));
  saw.sections = await tab.$$eval("main section:not([hidden])", (all) => all.map((e) => e.id));
  saw.marks = await tab.$$eval("#marks tbody tr", (all) => all.map((e) => e.textContent));
  saw.desktopOverflow = await overflow(tab);
  saw.lightContrast = await contrasts(tab);
  await shot(tab, "desktop.png");

  for (let i = 0; i < saw.options.length; i++) {
    await tab.select("#baseline", String(i));
    await wait((name) => document.querySelector("#h-ratios .base").textContent === name, saw.options[i]);
    saw.tables[saw.options[i]] = await readTable(tab);
  }
  await tab.click("#quiet");
  saw.quiet = await readTable(tab);
  await tab.click("#quiet");

  await tab.click('th[data-key="speed"] button');
  saw.sortedDown = (await readTable(tab)).map((r) => r.speed);
  saw.ariaSort = await tab.$eval('th[data-key="speed"]', (e) => e.getAttribute("aria-sort"));
  saw.focusKept = await tab.evaluate(() => document.activeElement.closest("th")?.dataset.key ?? null);
  await tab.keyboard.press("Enter"); // the keyboard alone turns the order round
  saw.sortedUp = (await readTable(tab)).map((r) => r.speed);
  saw.status = await tab.$eval("#status", (e) => e.textContent);

  const workload = await tab.$eval("#workload option:last-child", (e) => e.value);
  await tab.select("#workload", workload);
  saw.filtered = { workload, cells: await tab.$$eval("#table tbody td:nth-child(2)", (all) => all.map((e) => e.textContent)) };
  await tab.select("#workload", "");
  const before = await tab.$$eval(".plane .point", (all) => all.length);
  await tab.click("#chips input");
  saw.hiding = [before, await tab.$$eval(".plane .point", (all) => all.length)];
  await tab.click("#chips input");

  saw.keyboard = await tab.evaluate(() => [...document.querySelectorAll("select, button, input, summary, .scroll")].every((e) => e.tabIndex >= 0));
  saw.unlabelled = await tab.evaluate(() => [...document.querySelectorAll("select, input, button")].filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length);

  const client = await tab.createCDPSession();
  await client.send("Page.setDownloadBehavior", { behavior: "allow", downloadPath: path.resolve(folder) });
  for (const selector of ["#csv-table", "#csv-files button"]) await tab.click(selector);
  const first = await tab.$eval("#csv-files button", (e) => e.textContent.replace("Samples: ", ""));
  for (let n = 0; n < 600 && !["ratios.csv", first].every((f) => fs.existsSync(path.join(folder, f))); n++) await new Promise((done) => setTimeout(done, 100));
  saw.downloaded = first;

  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await tab.evaluate(() => new Promise(requestAnimationFrame));
  saw.darkPaper = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  saw.darkContrast = await contrasts(tab);
  saw.darkCanvases = await painted(tab);
  await shot(tab, "dark.png");
  await tab.pdf({ path: path.join(folder, "print.pdf"), preferCSSPageSize: true, printBackground: true });

  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await tab.setViewport({ width: 390, height: 844, isMobile: true, hasTouch: true });
  await tab.reload({ waitUntil: "load" });
  saw.phoneOverflow = await overflow(tab);
  saw.smallTargets = await tab.$$eval("select, .bar button, .downloads button", (all) => all.filter((e) => e.getBoundingClientRect().height > 0 && e.getBoundingClientRect().height < 40).length);
  saw.phoneCanvases = await painted(tab);
  saw.hints = await tab.$$eval(".scroll", (all) => all.map((e) => [e.scrollWidth > e.clientWidth + 1, !e.previousElementSibling.hidden]));
  saw.cut = await tab.$$eval(".plane text", (all) => all.filter((e) => { const own = e.getBoundingClientRect(), room = e.closest("svg").getBoundingClientRect(); return own.left < room.left - 1 || own.right > room.right + 1; }).map((e) => e.textContent));
  await shot(tab, "phone.png");
});
