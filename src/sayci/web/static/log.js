// sayci: the page of a build and its logs. Everything here adds comfort; links and forms do without it.
// The server draws every row; rows have the same id whenever they come, so that what comes twice replaces itself.
(() => {
  "use strict";
  const logs = document.getElementById("logs");
  if (!logs) return;
  const address = logs.dataset.address;
  const ROWS = 3000; // rows that one log has in the page at most
  const MORE = 600; // pixels before its edge at which more of a log is asked for
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const number = (value) => value.toLocaleString("en");
  const steps = new Map();
  const early = new Map(); // what was told of steps that the page does not have yet

  // -- rows

  // The exact colours of a terminal: the sheet gives them the lightness that the theme needs.
  const paint = (within) => {
    for (const run of all("[data-c], [data-b]", within)) {
      if (run.dataset.c) { run.style.setProperty("--c", run.dataset.c); run.classList.add("ec"); }
      if (run.dataset.b) { run.style.setProperty("--k", run.dataset.b); run.classList.add("eb"); }
    }
  };
  const drawn = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    paint(template.content);
    return template.content;
  };
  // Change something above or below without moving what is being read.
  const keeping = (row, change) => {
    const before = row && row.isConnected ? row.getBoundingClientRect().top : null;
    change();
    if (before !== null && row.isConnected) scrollBy({ top: row.getBoundingClientRect().top - before, behavior: "instant" });
  };

  class Log {
    constructor(details) {
      this.details = details;
      this.step = details.id;
      this.log = one(":scope > .log", details);
      this.rows = this.log.getElementsByTagName("li");
      this.earlier = one(":scope > .earlier", details);
      this.later = one(":scope > .later", details);
      this.total = Number(this.log.dataset.total);
      this.busy = false;
      this.earlier.addEventListener("click", (event) => { event.preventDefault(); this.more("until"); });
      this.later.addEventListener("click", (event) => { event.preventDefault(); this.more("from"); });
      this.log.addEventListener("click", (event) => this.choose(event));
      paint(this.log);
    }

    numberOf(row) { return Number(row.id.slice(this.step.length + 1)); }
    get first() { return this.rows.length ? this.numberOf(this.rows[0]) : 1; }
    get last() { return this.rows.length ? this.numberOf(this.rows[this.rows.length - 1]) : 0; }
    get isEnd() { return this.last >= this.total; }
    row(line) { return document.getElementById(`${this.step}-${line}`); }

    async ask(kind, line) {
      const asked = kind ? `?${kind}=${line}` : "";
      const answer = await fetch(`${address}/${this.step}/lines${asked}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const lines = await answer.json();
      this.total = Math.max(this.total, lines.total);
      return lines;
    }

    // The lines before or after those that are here.
    async more(kind) {
      if (this.busy || (kind === "until" ? this.first <= 1 : this.isEnd)) return;
      this.busy = true;
      try {
        const isBefore = kind === "until";
        const lines = await this.ask(kind, isBefore ? this.first - 1 : this.last + 1);
        const kept = isBefore ? this.rows[0] : this.rows[this.rows.length - 1];
        keeping(kept, () => {
          if (isBefore) this.log.prepend(drawn(lines.html)); else this.log.append(drawn(lines.html));
          this.trim(!isBefore);
          this.gaps();
        });
      } catch { /* the link is still there, and may be tried again */ } finally { this.busy = false; }
    }

    // Other lines in the place of those that are here: around a line, or the end.
    async go(line) {
      const lines = await this.ask(line ? "around" : "", line);
      this.log.replaceChildren(drawn(lines.html));
      this.gaps();
    }

    trim(fromStart) {
      while (this.rows.length > ROWS) {
        const part = fromStart ? this.log.firstElementChild : this.log.lastElementChild;
        const row = part.tagName === "OL" ? (fromStart ? part.firstElementChild : part.lastElementChild) : null;
        (row || part).remove();
      }
    }

    gaps() {
      const first = this.first, last = this.last;
      this.earlier.hidden = first <= 1;
      one("span", this.earlier).textContent = `Lines 1 to ${number(first - 1)}: show earlier ones`;
      one("a", this.earlier).href = `${address}?until=${this.step}:${first - 1}#${this.step}-${first - 1}`;
      this.later.hidden = this.isEnd;
      one("span", this.later).textContent = `Lines ${number(last + 1)} to ${number(this.total)}: show later ones`;
      one("a", this.later).href = `${address}?from=${this.step}:${last + 1}#${this.step}-${last + 1}`;
      foldAll(this.log);
      highlightSoon();
    }

    // What the feed tells: rows that are new, or that have changed.
    take(told) {
      const wasEnd = this.isEnd;
      const content = drawn(told.html);
      const news = all("li", content);
      if (!news.length) return;
      this.total = Math.max(this.total, this.numberOf(news[news.length - 1]));
      if (told.leap && (wasEnd || following)) this.log.replaceChildren(content);
      else if (!told.leap && told.first <= this.last + 1) {
        let list = this.log.lastElementChild;
        for (const row of news) {
          const old = document.getElementById(row.id);
          if (old) { old.replaceWith(row); continue; }
          if (!list || list.tagName !== "OL") list = this.log.appendChild(document.createElement("ol"));
          list.append(row);
        }
        if (following) this.trim(true);
        else if (this.rows.length > ROWS) this.trim(false);
      } else if (following) this.catchUp();
      this.gaps();
    }

    async catchUp() {
      if (this.busy) return;
      this.busy = true;
      try { await this.go(0); follow(); } catch { /* the next lines try again */ } finally { this.busy = false; }
    }

    choose(event) {
      const link = event.target.closest("li > a");
      const chosen = placeOf(location.hash);
      if (!link || !event.shiftKey || !chosen || chosen.step !== this.step) return;
      event.preventDefault();
      const [from, to] = [chosen.from, placeOf(link.hash).from].sort((a, b) => a - b);
      location.hash = `${this.step}-${from}-${to}`;
    }
  }

  const adopt = (element) => {
    if (element.tagName !== "DETAILS" || !one(":scope > .log", element)) return;
    const log = new Log(element);
    steps.set(element.id, log);
    for (const told of early.get(element.id) || []) {
      const newest = all("li", drawn(told.html)).pop();
      if (newest && log.numberOf(newest) >= log.last) log.take(told);
    }
    early.delete(element.id);
    for (const button of all("[data-do]", element)) button.hidden = false;
  };

  // -- a line, or a range of them: #test-148, #test-148-154, and #L148, #L148-L154 for the log that is open

  const placeOf = (hash) => {
    const short = hash.match(/^#L(\d+)(?:-L?(\d+))?$/);
    const open = short && all("details.step[open]", logs)[0];
    const long = hash.match(/^#([\w-]+?)-(\d+)(?:-(\d+))?$/);
    if (open) return { step: open.id, from: Number(short[1]), to: Number(short[2] || short[1]) };
    return long && { step: long[1], from: Number(long[2]), to: Number(long[3] || long[2]) };
  };
  const unfold = (row) => {
    for (let part = row.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  };
  const mark = async () => {
    for (const row of all(".log .sel", logs)) row.classList.remove("sel");
    const place = placeOf(location.hash);
    const log = place && steps.get(place.step);
    if (!log) return;
    setFollowing(false);
    if (!log.row(place.from)) { try { await log.go(place.from); } catch { return; } }
    for (let line = place.from; line <= Math.min(place.to, place.from + ROWS); line += 1) {
      const row = log.row(line);
      if (row) { unfold(row); row.classList.add("sel"); }
    }
    const row = log.row(place.from);
    if (row) row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", mark);

  // -- folding of what says nothing; the choice is remembered

  const folder = one("[data-do=fold]");
  let folds = true;
  try { folds = localStorage.getItem("sayci.fold") !== "no"; } catch { /* not kept, then */ }
  const foldAll = (within) => { if (!folds) for (const part of all(".noise", within)) part.open = true; };
  folder.addEventListener("click", () => {
    folds = !folds;
    folder.setAttribute("aria-pressed", folds);
    for (const part of all(".noise", logs)) part.open = !folds;
    try { localStorage.setItem("sayci.fold", folds ? "yes" : "no"); } catch { /* not kept, then */ }
  });

  // -- finding: the server looks through the whole logs, here the words are marked

  const field = one("#q"), said = one("#hits");
  const jumps = [one("[data-do=earlier-hit]"), one("[data-do=later-hit]")];
  let words = "", hits = [], at = -1, isAll = true;
  const rangesIn = (row) => {
    const nodes = [], ranges = [];
    const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT, (node) =>
      node.parentElement.closest("li > a, li > i") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    let text = "";
    while (walker.nextNode()) { nodes.push([text.length, walker.currentNode]); text += walker.currentNode.data; }
    const find = words.toLowerCase(), low = text.toLowerCase();
    if (low.length !== text.length) return ranges;
    const point = (offset, isEnd) => {
      const found = nodes.findLast(([start]) => (isEnd ? start < offset : start <= offset));
      return [found[1], offset - found[0]];
    };
    for (let begin = low.indexOf(find); begin >= 0; begin = low.indexOf(find, begin + find.length)) {
      const range = new Range();
      range.setStart(...point(begin, false));
      range.setEnd(...point(begin + find.length, true));
      ranges.push(range);
    }
    return ranges;
  };
  const highlight = () => {
    if (!window.Highlight || !CSS.highlights) return;
    const here = hits[at] && document.getElementById(`${hits[at].step}-${hits[at].line}`);
    const rows = words ? all(".step > .log li", logs).filter((row) => row.textContent.toLowerCase().includes(words.toLowerCase())) : [];
    CSS.highlights.set("found", new Highlight(...rows.filter((row) => row !== here).flatMap(rangesIn)));
    CSS.highlights.set("here", new Highlight(...(here && words ? rangesIn(here) : [])));
  };
  let waiting = false;
  const highlightSoon = () => {
    if (waiting || !words) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; highlight(); });
  };
  const sayHits = () => {
    const many = `${number(hits.length)}${isAll ? "" : " or more"}`;
    said.textContent = !words ? "" : !hits.length ? "In no line" : `${at + 1} of ${many} lines`;
    for (const button of jumps) button.hidden = !hits.length;
  };
  const jump = async (by) => {
    if (!hits.length) return;
    at = (at + by + hits.length) % hits.length;
    sayHits();
    const hit = hits[at], log = steps.get(hit.step);
    if (!log) return;
    setFollowing(false);
    if (!log.row(hit.line)) { try { await log.go(hit.line); } catch { return; } }
    const row = log.row(hit.line);
    if (row) { unfold(row); row.scrollIntoView({ block: "center" }); }
    highlight();
  };
  const search = async (given) => {
    words = given;
    at = -1;
    said.textContent = words ? "Looking …" : "";
    const answer = words ? await fetch(`${address}/find?words=${encodeURIComponent(words)}`) : null;
    if (answer && !answer.ok) { said.textContent = "The server cannot look just now."; return; }
    const found = answer ? await answer.json() : { hits: [], is_all: true };
    if (given !== words) return; // other words were asked for meanwhile
    hits = found.hits;
    isAll = found.is_all;
    sayHits();
    highlight();
    await jump(1);
  };
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = field.value.slice(0, 200);
    if (given === words && hits.length) jump(1); else search(given);
  });
  field.addEventListener("input", () => { if (!field.value && words) search(""); });
  jumps[0].addEventListener("click", () => jump(-1));
  jumps[1].addEventListener("click", () => jump(1));

  // -- following the log that grows, until the reader looks elsewhere, and again at its end

  let following = false, direction = 0, scrolled = scrollY;
  const current = () => all("details.step", logs).filter((each) => one(":scope > .live", each)).at(-1);
  const setFollowing = (is) => { following = is && Boolean(current()); sayFollowing(); };
  const sayFollowing = (trouble = "") => {
    const details = current();
    if (!details) return;
    const log = steps.get(details.id), bar = one(":scope > .live", details);
    one("[data-do=follow]", bar).setAttribute("aria-pressed", following);
    const missing = log ? log.total - log.last : 0;
    one("span", bar).textContent = trouble || (following ? `Following, line ${number(log ? log.last : 0)}.`
      : missing > 0 ? `It is running: ${number(missing)} newer lines.` : "It is running; scroll to its end to follow.");
  };
  const below = () => {
    const details = current(), bar = details && one(":scope > .live", details);
    return details ? one(":scope > .log", details).getBoundingClientRect().bottom + bar.offsetHeight + 24 - innerHeight : 0;
  };
  const follow = () => {
    const details = current();
    if (following && details && details.open && below() > 0) scrollBy({ top: below(), behavior: "instant" });
  };
  const startFollowing = async () => {
    const details = current(), log = details && steps.get(details.id);
    if (!log) return;
    if (!log.isEnd) await log.catchUp();
    details.open = true;
    setFollowing(true);
    follow();
  };
  addEventListener("scroll", () => {
    direction = Math.sign(scrollY - scrolled) || direction;
    scrolled = scrollY;
    const details = current();
    if (details && details.open) {
      const log = steps.get(details.id), sees = below() <= 40 && (!log || log.isEnd);
      if (sees !== following && (sees ? direction > 0 : direction < 0)) setFollowing(sees);
    }
    for (const log of steps.values()) {
      if (!log.details.open) continue;
      const top = log.earlier.hidden ? null : log.earlier.getBoundingClientRect().bottom;
      const bottom = log.later.hidden ? null : log.later.getBoundingClientRect().top;
      if (direction < 0 && top !== null && top > -MORE && top < 140) log.more("until");
      if (direction > 0 && bottom !== null && bottom < innerHeight + MORE && bottom > 0) log.more("from");
    }
  }, { passive: true });
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    if (following && !selection.isCollapsed && logs.contains(selection.anchorNode)) setFollowing(false);
  });
  logs.addEventListener("click", (event) => {
    if (event.target.closest("[data-do=follow]")) { if (following) setFollowing(false); else startFollowing(); }
  });

  // -- what becomes of the build: the page is asked for again, and what has changed in it is put in place

  let shape = logs.dataset.shape, refreshing = null;
  const swap = (old, fresh) => {
    if (!old || !fresh || old.isEqualNode(fresh)) return;
    const hadFocus = old.contains(document.activeElement);
    old.replaceWith(fresh);
    if (hadFocus) document.getElementById("main").focus({ preventScroll: true });
  };
  const refresh = async () => {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 404) { location.reload(); return; } // not for this reader
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const icons = one("svg[hidden]");
    for (const symbol of all("svg[hidden] > symbol", fresh)) if (!document.getElementById(symbol.id)) icons.append(symbol);
    const reading = all(".step > .log li", logs).find((row) => row.getBoundingClientRect().bottom > 0);
    keeping(following ? null : reading, () => {
      for (const part of all("[data-part]", fresh)) swap(one(`[data-part=${part.dataset.part}]`), part);
      for (const part of all("[data-step]", fresh)) {
        const old = document.getElementById(part.id), log = steps.get(part.id);
        if (!log) {
          if (!old.isEqualNode(part)) { old.replaceWith(part); adopt(part); }
          continue;
        }
        swap(one(":scope > summary", old), one(":scope > summary", part));
        if (!one(":scope > .live", part)) one(":scope > .live", old)?.remove();
      }
    });
    document.title = fresh.title;
    swap(one("link[rel=icon]"), one("link[rel=icon]", fresh));
    swap(one(".pulse"), one(".pulse", fresh));
    one("#news").textContent = one("h1").textContent;
    if (following && !current()) following = false;
    follow();
    sayFollowing();
  };
  // One at a time; what is told while it is asked is asked for once more.
  const refreshSoon = () => {
    refreshing = (refreshing || Promise.resolve()).then(refresh, refresh).catch(() => {})
      .then(() => { document.dispatchEvent(new Event("sayci:news")); });
    return refreshing;
  };
  const listen = () => {
    const feed = new EventSource(logs.dataset.rowsFeed);
    let left = 0;
    addEventListener("beforeunload", () => { left = Date.now(); });
    const reload = () => {
      feed.close();
      // It would call off the way to the page that a button or a link leads to.
      if (Date.now() - left < 10000) setTimeout(reload, 1000); else location.reload();
    };
    feed.addEventListener("lines", (event) => {
      const told = JSON.parse(event.data), log = steps.get(told.step);
      if (!log) { early.set(told.step, [...(early.get(told.step) || []), told].slice(-100)); return; }
      log.take(told);
      follow();
      sayFollowing();
    });
    feed.addEventListener("build", (event) => {
      const build = JSON.parse(event.data);
      const told = [build.attempt, build.state, ...build.steps.map((each) => each.state)].join(" ");
      if (told !== shape) { shape = told; refreshSoon(); }
    });
    feed.addEventListener("restart", reload);
    // The reader may not read on: the page shows who may, or asks for signing in.  Not all come back at the same moment.
    feed.addEventListener("closed", () => {
      feed.close();
      setTimeout(reload, 300 + Math.random() * 1200);
    });
    feed.addEventListener("end", () => { feed.close(); logs.dataset.state = "ended"; refreshSoon(); });
    feed.addEventListener("open", () => { logs.dataset.state = "live"; sayFollowing(); });
    feed.addEventListener("error", () => {
      if (feed.readyState === EventSource.CLOSED) {
        refreshSoon().then(() => sayFollowing("Not live any more; reload for newer lines."));
        return;
      }
      logs.dataset.state = "lost";
      sayFollowing("The connection is lost; trying again.");
    });
  };

  // -- keys: none of them changes anything on the server

  addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") { event.preventDefault(); field.focus(); field.select(); }
    else if (event.key === "n") jump(1);
    else if (event.key === "N") jump(-1);
    else if (event.key === "f" && current()) { if (following) setFollowing(false); else startFollowing(); }
    else if (event.key === "e") {
      const rows = all(".step > .log li.x", logs);
      const next = rows[(rows.findIndex((row) => `#${row.id}` === location.hash) + 1) % rows.length];
      if (next) location.hash = next.id; else one("section.first .t > a:last-child")?.click();
    }
  });

  for (const part of all("[data-step]", logs)) adopt(part);
  folder.hidden = false;
  folder.setAttribute("aria-pressed", folds);
  foldAll(logs);
  const isEnd = () => { const details = current(); return details && steps.get(details.id)?.isEnd; };
  if (location.hash) mark(); else if (isEnd() && !location.search) { setFollowing(true); follow(); }
  sayFollowing();
  if (field.value) search(field.value);
  if (logs.dataset.rowsFeed && window.EventSource) listen();
})();
