// sayci: everything here only adds comfort; every page works without it. No inline code, no dependencies.
(() => {
  "use strict";
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Copy buttons: shown only where they can work.
  if (navigator.clipboard) {
    for (const button of all("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        await navigator.clipboard.writeText(source.value ?? source.textContent);
        button.append(" ✓");
        setTimeout(() => button.lastChild.remove(), 1500);
      });
    }
  }

  // A page of a build that has not ended watches one feed: the log that grows, or the build itself.
  const watched = one("[data-feed]");
  if (!watched || !window.EventSource) return;
  const feed = new EventSource(watched.dataset.feed);
  const reload = () => { feed.close(); location.reload(); };

  const step = watched.dataset.step;
  if (!step) {
    feed.addEventListener("build", (event) => {
      const build = JSON.parse(event.data);
      const states = [build.state, ...build.steps.map((each) => each.state)].join(" ");
      if (states !== watched.dataset.states) reload();
    });
    return;
  }

  const details = document.getElementById(step);
  const log = one(".log", details);
  const list = one("ol", log);
  const bar = one(".live", details);
  const ROWS = 3000;
  const ESCAPES = /\x1b\[[0-?]*[ -\/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -\/]*[0-~]?/g;
  const TRICKS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  let number = Number((one("li:last-child > a", list) || {}).textContent) || 0;
  let unfinished = "open" in log.dataset ? list.lastElementChild : null;
  let raw = unfinished ? unfinished.textContent.slice((one("a", unfinished) || { textContent: "" }).textContent.length) : "";
  let following = !location.hash;

  const row = () => {
    const line = document.createElement("li");
    if (number || !list.children.length) {
      number += 1;
      const link = document.createElement("a");
      line.id = `${step}-${number}`;
      link.href = `#${line.id}`;
      link.textContent = `${String(number).padStart(4)} `;
      line.append(link);
    }
    line.append(document.createTextNode(""));
    return line;
  };
  const show = (line, text) => {
    const shown = text.replace(/\r+$/, "");
    line.lastChild.textContent = shown.slice(shown.lastIndexOf("\r") + 1).replace(ESCAPES, "")
      .replace(TRICKS, "\ufffd").slice(0, 4096);
  };
  const append = (text) => {
    const pieces = text.split("\n");
    pieces.forEach((piece, index) => {
      const last = index === pieces.length - 1;
      if (last && !piece) { return; }
      if (!unfinished) { unfinished = list.appendChild(row()); raw = ""; }
      raw = (raw + piece).slice(-65536);
      show(unfinished, raw);
      if (!last) unfinished = null;
    });
    while (list.children.length > ROWS) list.firstElementChild.remove();
  };

  // Follows the end of the log until the reader looks elsewhere, and again once the end is in sight.
  const state = one("span", bar);
  const say = () => {
    state.textContent = following ? "It is running; new lines appear below." : "It is running; scroll to its end to follow.";
  };
  const below = () => log.getBoundingClientRect().bottom + bar.offsetHeight + 24 - innerHeight;
  addEventListener("scroll", () => {
    const sees = below() <= 40;
    if (sees !== following) { following = sees; say(); }
  }, { passive: true });
  const follow = () => { if (following && details.open && below() > 0) scrollBy({ top: below(), behavior: "instant" }); };
  follow();
  say();

  feed.addEventListener("message", (event) => {
    append(JSON.parse(event.data).text);
    follow();
  });
  feed.addEventListener("restart", reload);
  feed.addEventListener("end", reload);
})();
