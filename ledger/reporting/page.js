"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  form.hidden = false;
  const field = (name) => form.elements.namedItem(name).value;
  const items = Array.from(document.querySelectorAll("[data-who], [data-what], [data-at]"));
  const charts = Array.from(document.querySelectorAll("svg.chart"));
  const tall = new Map();
  for (const chart of charts) for (const part of chart.querySelectorAll("rect[data-bin]")) tall.set(part, Number(part.getAttribute("height")));
  const inPeriod = (at, from, to) => (!from || at >= from.slice(0, at.length)) && (!to || at.slice(0, 10) <= to.slice(0, at.length));
  const apply = () => {
    const who = field("who"), what = field("what"), from = field("from"), to = field("to"), text = field("text").toLowerCase();
    let shown = 0, rows = 0;
    for (const item of items) {
      const data = item.dataset;
      const row = item.tagName !== "rect";
      const has = (held, wanted) => !wanted || held === undefined || ` ${held} `.includes(` ${wanted} `);
      const passes = has(data.who, who) && has(data.what, what) &&
        (!data.at || inPeriod(data.at, from, to)) && (!text || !row || item.textContent.toLowerCase().includes(text));
      item.toggleAttribute("hidden", !passes);
      if (row) { rows += 1; shown += passes ? 1 : 0; }
    }
    for (const chart of charts) {
      const tops = new Map();
      for (const part of chart.querySelectorAll("rect[data-bin]")) {
        if (part.hasAttribute("hidden")) continue;
        const top = (tops.has(part.dataset.bin) ? tops.get(part.dataset.bin) : Number(chart.dataset.base)) - tall.get(part);
        tops.set(part.dataset.bin, top);
        part.setAttribute("y", top.toFixed(1));
      }
    }
    document.getElementById("shown").textContent = shown === rows ? "" : `${shown} of ${rows} rows and drawings shown; the figures above are of everything`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply, 0));
  document.getElementById("print").addEventListener("click", () => window.print());
  apply();
})();
