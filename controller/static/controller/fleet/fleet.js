// @ts-check
/** The page of the fleet: workers in groups, as they are at this moment. */

import { Card } from "./cards.js";
import { ask } from "./decisions.js";
import { LiveSocket } from "./socket.js";
import { page, setClock, words, write } from "./words.js";

/** @import { Told, Worker } from "../../../../chat/frontend/types/fleet" */

const groups = /** @type {HTMLElement} */ (document.getElementById("fleet-groups"));
const search = /** @type {HTMLInputElement} */ (document.getElementById("fleet-search"));
const by = /** @type {HTMLSelectElement} */ (document.getElementById("fleet-by"));
const link = /** @type {HTMLElement} */ (document.getElementById("fleet-link"));
/** @type {Map<string, Card>} */
const cards = new Map();

/** @param {Worker} worker */
function show(worker) {
  const card = cards.get(worker.id);
  if (card) card.show(worker);
  else cards.set(worker.id, new Card(worker, page.sparks?.[worker.id]));
}

/** The names of the groups that a worker stands in. @param {Worker} worker */
function groupOf(worker) {
  return by.value === "host" ? worker.host : worker.models.join(", ") || "–";
}

/** @param {Worker} worker */
function isFound(worker) {
  const wanted = search.value.trim().toLowerCase();
  return [worker.address, worker.engine, worker.state, words.states[worker.state], ...worker.models]
    .some((text) => text.toLowerCase().includes(wanted));
}

/** Put each card into its group; those that stand right are not touched. */
function arrange() {
  /** @type {Map<string, Card[]>} */
  const wanted = new Map();
  for (const card of cards.values()) {
    if (!isFound(card.worker)) continue;
    const name = groupOf(card.worker);
    wanted.set(name, [...(wanted.get(name) ?? []), card]);
  }
  const names = [...wanted.keys()].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }));
  const sections = names.map((name) => section(name, wanted.get(name) ?? []));
  if (sections.some((each, at) => groups.children[at] !== each) || groups.children.length !== sections.length) {
    groups.replaceChildren(...sections);
  }
  summarize();
}

/** @type {Map<string, HTMLElement>} */
const sections = new Map();

/** @param {string} name @param {Card[]} members */
function section(name, members) {
  const key = `${by.value} ${name}`;
  const known = sections.get(key);
  const element = known ?? document.createElement("section");
  if (!known) {
    const heading = document.createElement("h2");
    heading.className = "fleet-heading";
    heading.append(Object.assign(document.createElement("span"), { textContent: name }), document.createElement("small"));
    const list = Object.assign(document.createElement("div"), { className: "fleet-cards" });
    element.append(heading, list);
    sections.set(key, element);
  }
  const count = members.length === 1 ? words.worker : words.workers.replace("%s", write.whole(members.length));
  const small = element.querySelector("small");
  if (small && small.textContent !== count) small.textContent = count;
  const list = /** @type {HTMLElement} */ (element.lastElementChild);
  const elements = members.map((card) => card.element);
  if (elements.some((each, at) => list.children[at] !== each) || list.children.length !== elements.length) {
    list.replaceChildren(...elements);
  }
  return element;
}

function summarize() {
  const workers = [...cards.values()].map((card) => card.worker);
  const sum = (/** @type {(worker: Worker) => number} */ of) => write.whole(workers.reduce((total, each) => total + of(each), 0));
  const figures = {
    live: sum((each) => Number(each.state === "live")),
    registered: write.whole(workers.length),
    running: sum((each) => each.running),
    waiting: sum((each) => each.waiting),
    speed: sum((each) => each.tokens_per_second ?? 0),
    errors: sum((each) => each.num_errors),
    requests: sum((each) => each.num_requests),
  };
  for (const [name, text] of Object.entries(figures)) {
    const field = document.querySelector(`[data-figure="${name}"]`);
    if (field && field.textContent !== text) field.textContent = text;
  }
  const none = document.getElementById("fleet-none");
  if (none) none.hidden = workers.length > 0;
}

/** @param {Told} message */
function take(message) {
  if (message.type !== "workers") return;
  setClock(message.now);
  if (message.is_all) {
    const told = new Set(message.workers.map((each) => each.id));
    for (const id of cards.keys()) if (!told.has(id)) cards.delete(id);
  }
  for (const id of message.gone) cards.delete(id);
  message.workers.forEach(show);
  arrange();
}

groups.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("[data-decision]");
  const id = /** @type {HTMLElement | null} */ (button?.closest("[data-worker]") ?? null)?.dataset.worker;
  const card = id ? cards.get(id) : undefined;
  if (button && card) ask(/** @type {HTMLElement} */ (button).dataset.decision ?? "", card.worker);
});
search.addEventListener("input", arrange);
by.addEventListener("change", arrange);
setInterval(() => cards.forEach((card) => card.tick()), 1000);

page.workers.forEach(show);
arrange();
new LiveSocket(page.socket, take, (state) => {
  link.textContent = words[state];
  link.dataset.state = state;
});
