// sayci: says when a watched build has ended: on the page, in its tab, and as a notification where the reader allows it.
// It has no feed of its own: the page's says "sayci:news" when there may be some. Without this, look at the page.
(() => {
  "use strict";
  const button = document.querySelector("[data-tell]");
  if (!button || !window.EventSource) return;
  const address = button.dataset.tell; // of a build, or of a project: then the next of its builds to end is meant
  const project = button.dataset.of;
  const isOfBuild = address !== `/${project}`;
  const said = document.getElementById("tell-said");
  const key = `tell:${address}`;
  const kept = (() => { try { return sessionStorage; } catch { return null; } })();
  let watching = JSON.parse(kept?.getItem(key) || "null"); // the builds that had ended before
  let checking = false;
  let again = false;

  const keep = (ended) => {
    watching = ended;
    try { if (ended) kept?.setItem(key, JSON.stringify(ended)); else kept?.removeItem(key); } catch { /* it is full */ }
    button.setAttribute("aria-pressed", Boolean(ended));
  };
  const get = async (path, accept) => {
    const answer = await fetch(path, { headers: { Accept: accept } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer;
  };
  const ended = async () => {
    const told = await (await get(address, "application/json")).json();
    return (told.builds || [told]).filter((build) => build.state === "finished").map((build) => build.number);
  };

  // The tab has the mark of what has ended, also while the page is drawn again, until the reader is back.
  let own = null;
  let marked = null;
  const icon = () => document.querySelector('link[rel="icon"]');
  const wear = (title, href) => { document.title = title; icon()?.setAttribute("href", href); };
  const mark = (title, href) => {
    if (document.title !== marked?.title) own = { title: document.title, href: icon()?.getAttribute("href") };
    marked = { title, href };
    wear(title, href);
  };
  const unmark = () => {
    if (!marked || document.hidden) return;
    marked = null;
    wear(own.title, own.href);
  };
  document.addEventListener("sayci:drawn", () => { if (marked) mark(marked.title, marked.href); });
  for (const name of ["visibilitychange", "pointerdown", "keydown"]) document.addEventListener(name, unmark);

  const notify = (sentence, body, path) => {
    if (!window.Notification || Notification.permission !== "granted") return;
    try {
      const shown = new Notification(sentence, { body, tag: path });
      shown.addEventListener("click", () => { window.focus(); if (location.pathname !== path) location.assign(path); });
    } catch { /* a phone's browser shows none of a page; the page says it */ }
  };
  const announce = async (number) => {
    const path = isOfBuild ? address : `${address}/${number}`;
    const page = new DOMParser().parseFromString(await (await get(path, "text/html")).text(), "text/html");
    const text = (selector) => (page.querySelector(selector)?.textContent || "").replace(/\s+/g, " ").trim();
    keep(null);
    const link = document.createElement("a");
    link.href = path;
    link.textContent = text("h1");
    said.replaceChildren(...(isOfBuild ? [text("h1")] : [link]));
    button.hidden = isOfBuild;
    if (!isOfBuild) mark(page.title, page.querySelector('link[rel="icon"]')?.getAttribute("href"));
    notify(`${project} ${text("h1")}`, text(".commit b"), path);
  };
  const check = async () => {
    if (checking) { again = true; return; }
    checking = true;
    again = false;
    try {
      const now = await ended();
      const fresh = watching ? now.filter((number) => !watching.includes(number)) : [];
      if (fresh.length) await announce(Math.min(...fresh));
      else if (isOfBuild && now.length) button.hidden = true;
    } catch { // the network is away
      if (watching) setTimeout(check, 5000);
    } finally {
      checking = false;
      if (again) check();
    }
  };

  const say = () => {
    const what = isOfBuild ? "it ends" : "a build ends";
    const how = !window.Notification || Notification.permission === "default" ? ""
      : Notification.permission === "granted" ? ", and in a notification" : "; the browser blocks notifications";
    said.textContent = watching ? `Will be said here when ${what}${how}.` : "";
  };
  button.addEventListener("click", async () => {
    if (watching) { keep(null); say(); return; }
    // Only here, and before anything else: browsers want it to be the reader's own wish.
    const asked = window.Notification?.permission === "default" ? Notification.requestPermission() : null;
    try { keep(await ended()); } catch { said.textContent = "The server does not answer; try again."; return; }
    say();
    await asked;
    if (watching) say();
  });
  document.addEventListener("sayci:news", () => { if (watching || isOfBuild) check(); });

  button.parentElement.hidden = false;
  button.setAttribute("aria-pressed", Boolean(watching));
  say();
  if (watching) check();
})();
