// sayci: a page that lists things stays as it is on the server, and times that grow do. Without this, reload.
(() => {
  "use strict";
  const body = document.body;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Times that grow, by the server's clock.
  const ahead = Date.now() / 1000 - Number(body.dataset.now || Date.now() / 1000);
  const now = () => Date.now() / 1000 - ahead;
  const duration = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    const two = (number) => String(number).padStart(2, "0");
    const minutes = Math.floor(whole / 60);
    return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
  };
  const against = (elapsed, usual) => {
    if (!usual) return `${duration(elapsed)} so far`;
    if (elapsed <= usual) return `${duration(elapsed)} of usually ${duration(usual)}`;
    return `${duration(elapsed)}, longer than the usual ${duration(usual)}`;
  };
  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const tick = () => {
    for (const each of all("[data-since]")) say(each, duration(now() - Number(each.dataset.since)));
    for (const each of all("progress[data-begun]")) {
      const elapsed = now() - Number(each.dataset.begun);
      each.value = Math.min(each.max, elapsed);
      each.classList.toggle("late", elapsed > each.max);
    }
    for (const each of all("p[data-begun]")) {
      say(each, against(now() - Number(each.dataset.begun), Number(each.dataset.usual || 0)));
    }
  };
  setInterval(tick, 1000);

  // What the server says has changed: the page is asked for again, and what is different in it takes its place.
  if (!body.dataset.changes || !window.EventSource) return;
  const told = document.getElementById("told");
  const lost = document.getElementById("lost");
  const seen = new Map();
  let asking = false;
  let again = false;
  let last = 0;
  let gone = 0;
  let left = 0;

  const isHeld = (region) => {
    const selection = getSelection();
    const isSelected = selection && !selection.isCollapsed && selection.containsNode(region, true);
    const active = document.activeElement;
    return isSelected || (region.contains(active) && active.matches("input, textarea, select"));
  };
  const keyOf = (element) => element.id || element.getAttribute("href") || element.getAttribute("name");
  const put = (region, fresh) => {
    const active = region.contains(document.activeElement) ? keyOf(document.activeElement) : null;
    const nodes = [...fresh.childNodes].map((node) => document.importNode(node, true));
    region.replaceChildren(...nodes);
    if (active) all("a, button, summary", region).find((each) => keyOf(each) === active)?.focus({ preventScroll: true });
  };
  const icons = (page) => {
    const sprite = document.querySelector("body > svg[hidden]");
    for (const symbol of all("body > svg[hidden] > symbol", page)) {
      if (!document.getElementById(symbol.id)) sprite?.append(document.importNode(symbol, true));
    }
  };
  // Loading the page again would call off the way to the page that a button or a link leads to.
  const isLeaving = () => Date.now() - left < 10000;
  // A page that is the answer to a form is not there a second time: its news is at another address, and it stays.
  const address = body.dataset.look || location.href;
  const reload = () => { if (!body.dataset.look) location.reload(); };
  const patch = (page) => {
    icons(page);
    const before = document.querySelector("h1")?.textContent;
    let isWhole = true;
    const places = new Set(all("[data-live]").map((region) => region.dataset.live));
    if (all("[data-live]", page).some((fresh) => !places.has(fresh.dataset.live))) {
      if (isLeaving() || document.activeElement?.matches("input, textarea, select")) return false;
      reload();
      return true;
    }
    for (const region of all("[data-live]")) {
      const name = region.dataset.live;
      const fresh = page.querySelector(`[data-live="${CSS.escape(name)}"]`);
      if (!fresh && isLeaving()) return false;
      if (!fresh) { reload(); return true; }
      const text = fresh.outerHTML;
      if (seen.get(name) === text) continue;
      if (isHeld(region)) { isWhole = false; continue; }
      seen.set(name, text);
      put(region, fresh);
    }
    if (!body.dataset.look) document.title = page.title;
    const icon = document.querySelector('link[rel="icon"]');
    const other = page.querySelector('link[rel="icon"]');
    if (icon && other && icon.getAttribute("href") !== other.getAttribute("href")) icon.setAttribute("href", other.getAttribute("href"));
    const after = document.querySelector("h1")?.textContent;
    if (told && after !== before) told.textContent = after;
    tick();
    document.dispatchEvent(new Event("sayci:drawn"));
    return isWhole;
  };

  const look = async () => {
    if (asking) { again = true; return; }
    asking = true;
    again = false;
    try {
      const wait = last + (document.hidden ? 5000 : 1000) - Date.now();
      if (wait > 0) await new Promise((done) => { setTimeout(done, wait); });
      last = Date.now();
      const answer = await fetch(address, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 404) { // not for this reader
        feed.close();
        if (!isLeaving()) reload();
        return;
      }
      if (answer.ok && !patch(new DOMParser().parseFromString(await answer.text(), "text/html"))) {
        setTimeout(look, 2000);
      }
    } catch { // the network is away; the feed tells when it is back
    } finally {
      asking = false;
      if (again) look();
    }
  };

  let feed = null;
  let isOver = false;
  // What a page waits for may have come after it was drawn and before its feed began.
  let waits = document.querySelector("[data-live] .spin, [data-live] .ping, [data-live] .ticks .queued") !== null;
  const listen = () => {
    feed = new EventSource(body.dataset.changes);
    feed.addEventListener("change", () => { document.dispatchEvent(new Event("sayci:news")); look(); });
    feed.addEventListener("open", () => {
      if (waits && !gone) look();
      waits = false;
      if (gone) { document.dispatchEvent(new Event("sayci:news")); look(); }
      gone = 0;
      if (lost) lost.hidden = true;
    });
    // The reader may not read on: the page shows who may, or asks for signing in.  Not all come back at the same moment.
    feed.addEventListener("closed", () => {
      feed.close();
      const away = () => {
        if (isLeaving()) setTimeout(away, 1000);
        else if (body.dataset.look) location.assign(address);
        else location.reload();
      };
      setTimeout(away, 300 + Math.random() * 1200);
    });
    feed.addEventListener("error", () => {
      gone = gone || Date.now();
      if (feed.readyState !== EventSource.CLOSED || isOver) return;
      // A browser comes back by itself when the connection breaks, and not when it was answered with an error.
      look(); // refused: perhaps the page is, too
      setTimeout(comeBack, 5000 + Math.random() * 4000);
    });
  };
  const comeBack = () => { if (!isOver) listen(); };
  listen();
  setInterval(() => {
    if (!gone || !lost || Date.now() - gone < 3000) return;
    lost.hidden = false;
    say(lost, `Not live since ${duration((Date.now() - gone) / 1000)}; trying again.`);
  }, 1000);
  addEventListener("beforeunload", () => { left = Date.now(); });
  addEventListener("pagehide", () => { isOver = true; feed.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) reload(); });
})();
