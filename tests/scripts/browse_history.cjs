// SPDX-License-Identifier: Apache-2.0
// Opens a page of scripts/history in headless Chromium, clicks through it and prints what it saw as JSON on stdout.
// node browse_history.cjs MODULES CHROMIUM PAGE.html DIR   (screenshots go to DIR)
"use strict";
const { browse, overflow, painted, shot } = require("./browse.cjs");

browse(async (tab, saw) => {
  saw.metrics = await tab.metrics(); // ScriptDuration, LayoutDuration, TaskDuration: CPU time, not the clock
  saw.title = await tab.title();
  saw.first = await tab.$eval("main section h2", (e) => e.textContent);
  saw.facts = await tab.$$eval("#facts li", (all) => all.map((e) => e.textContent));
  saw.worse = await tab.$$eval("#worse-table tbody tr", (all) => all.map((e) => e.textContent));
  saw.cards = await tab.$$eval(".one-series", (all) => all.length);
  saw.marks = await tab.$$eval(".spark .at", (all) => all.length);
  saw.overflow = await overflow(tab);
  await tab.click("#worse-table button");
  saw.picked = await tab.$eval("#h-detail", (e) => e.textContent);
  saw.canvases = await painted(tab, "#plot canvas");
  saw.points = await tab.$$eval("#points tbody tr", (all) => all.length);
  const box = await (await tab.$("#plot")).boundingBox();
  await tab.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  saw.readout = await tab.$eval("#readout", (e) => e.textContent);
  await tab.evaluate(() => scrollTo(0, 0));
  await shot(tab, "history-desktop.png");
  saw.options = await tab.$$eval("#metric option", (all) => all.map((e) => e.value));
  await tab.select("#metric", "rss_peak");
  saw.filtered = await tab.$$eval(".one-series b", (all) => all.map((e) => e.textContent));
  saw.filteredWorse = await tab.$$eval("#worse-table tbody tr", (all) => all.map((e) => e.textContent));
  await tab.select("#metric", "");
  saw.keyboard = await tab.evaluate(() => [...document.querySelectorAll("select, button, summary, .scroll")].every((e) => e.tabIndex >= 0));
  saw.unlabelled = await tab.evaluate(() => [...document.querySelectorAll("select, button")].filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length);
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await shot(tab, "history-dark.png");
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await tab.setViewport({ width: 390, height: 844, isMobile: true, hasTouch: true });
  await tab.reload({ waitUntil: "load" });
  saw.phoneOverflow = await overflow(tab);
  saw.smallTargets = await tab.$$eval("select, button", (all) => all.filter((e) => e.getBoundingClientRect().height > 0 && e.getBoundingClientRect().height < 40).map((e) => e.outerHTML.slice(0, 80)));
  saw.cut = await tab.$$eval(".changes td", (all) => all.filter((e) => e.scrollWidth > e.clientWidth + 1).length);
  await shot(tab, "history-phone.png");
});
