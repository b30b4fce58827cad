// Puts in what comes after the page was loaded. Pieces arrive as markup that the server wrote and escaped; the page's
// policy lets nothing inside them run.
"use strict";

const MOST = 40;
const SAY_EVERY = 15_000;

const feed = document.getElementById("feed");
const live = document.getElementById("live");
const said = document.getElementById("said");
const pause = document.getElementById("pause");
const missed = document.getElementById("missed");

let paused = false;
let waiting = new Map();
let figures = null;
let lastSaid = 0;

const piece = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
};

const say = (state, text) => {
  live.className = `live ${state}`;
  if (live.textContent !== text) live.textContent = text;
};

// The list is in the order of the numbers, the newest first; an entry that changed keeps its place.
const put = (number, html) => {
  const known = feed.querySelector(`[data-number="${number}"]`);
  const card = piece(html);
  if (known) return known.replaceWith(card);
  card.classList.add("new");
  const next = [...feed.children].find((other) => Number(other.dataset.number) < number);
  feed.insertBefore(card, next ?? null);
  while (feed.children.length > MOST) feed.lastElementChild.remove();
};

const show = () => {
  for (const [number, html] of waiting) put(number, html);
  waiting = new Map();
  if (feed.children.length > 0) document.getElementById("empty").hidden = true;
  if (!figures) return;
  for (const next of figures.pieces.map(piece)) document.getElementById(next.id).replaceWith(next);
  if (performance.now() - lastSaid > SAY_EVERY) {
    said.textContent = figures.said;
    lastSaid = performance.now();
  }
  figures = null;
};

const later = () => {
  if (!paused) show();
  else say("paused", waiting.size > 0 ? `paused, ${waiting.size} waiting` : "paused");
};

const run = document.body.dataset.run;
const events = new EventSource(`/feed?as=html&since=${document.body.dataset.sequence}`);
const on = (name, take) => events.addEventListener(name, (event) => take(JSON.parse(event.data)));

events.addEventListener("open", () => (paused ? later() : say("on", "live")));
events.addEventListener("error", () => say("off", "gateway not reachable, trying again"));
// Another run counts from the beginning: what is here is of the one before.
on("gateway", (gateway) => gateway.started !== run && location.reload());
on("end", () => say("off", "gateway is stopping"));
on("missed", ({ entries }) => {
  missed.hidden = false;
  missed.textContent = `${entries} requests went by faster than this page could show them; the sums have them.`;
});
on("entry", ({ number, html }) => {
  waiting.set(number, html);
  if (waiting.size > 2 * MOST) waiting.delete(waiting.keys().next().value);
});
on("figures", (next) => {
  figures = next;
  later();
});

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  if (!paused) say("on", "live");
  later();
});
