// @ts-check
/** A worker's own page: its card, what it does now, and its log. */

import { Card } from "./cards.js";
import { ask } from "./decisions.js";
import { LiveSocket } from "./socket.js";
import { page, setClock, since, words, write } from "./words.js";

/** @import { Log, Told, UnderWay, Worker } from "../../../../chat/frontend/types/fleet" */

const place = /** @type {HTMLElement} */ (document.getElementById("fleet-worker"));
const link = /** @type {HTMLElement} */ (document.getElementById("fleet-link"));
const rows = /** @type {HTMLElement} */ (document.getElementById("fleet-requests"));
const log = /** @type {HTMLElement} */ (document.getElementById("fleet-log"));
const logNote = /** @type {HTMLElement} */ (document.getElementById("fleet-log-note"));
const logButton = /** @type {HTMLButtonElement | null} */ (document.getElementById("fleet-log-button"));
/** @type {Card | null} */
let card = null;
let isLogWanted = false;

/** @param {Worker} worker */
function show(worker) {
  if (card) return card.show(worker);
  card = new Card(worker);
  place.replaceChildren(card.element);
  return undefined;
}

/** @param {UnderWay[]} requests */
function showRequests(requests) {
  const shown = requests.map((request) => {
    const row = document.createElement("tr");
    const cells = [request.id, request.model, request.face, request.endpoint, write.whole(request.tokens)];
    for (const text of cells) row.append(Object.assign(document.createElement("td"), { textContent: text }));
    const age = Object.assign(document.createElement("td"), { textContent: since(request.began_at) });
    age.dataset.since = String(request.began_at);
    row.append(age);
    return row;
  });
  if (!shown.length) {
    const row = document.createElement("tr");
    const cell = Object.assign(document.createElement("td"), { textContent: words.noRequests, colSpan: 6 });
    row.append(cell);
    shown.push(row);
  }
  rows.replaceChildren(...shown);
}

/** @param {Log} message */
function showLog(message) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.textContent = message.lines.join("\n") || words.logEmpty;
  log.hidden = false;
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  const time = new Date(message.at * 1000).toLocaleTimeString(document.documentElement.lang || "en");
  logNote.textContent = words.logAt.replace("%s", time);
}

/** @param {Told} message */
function take(message) {
  if (message.type === "workers") {
    setClock(message.now);
    message.workers.forEach(show);
  } else if (message.type === "requests") {
    showRequests(message.requests);
  } else if (message.type === "log") {
    showLog(message);
  }
}

page.workers.forEach(show);
const socket = new LiveSocket(page.socket, take, (state) => {
  link.textContent = words[state];
  link.dataset.state = state;
  if (state === "connected" && isLogWanted) socket.send({ type: "log" });
});
logButton?.addEventListener("click", () => {
  isLogWanted = true;
  logButton.hidden = true;
  logNote.textContent = words.logAsked;
  socket.send({ type: "log" });
});
place.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[data-decision]"));
  if (button && card) ask(button.dataset.decision ?? "", card.worker);
});
setInterval(() => {
  card?.tick();
  for (const cell of /** @type {NodeListOf<HTMLElement>} */ (rows.querySelectorAll("[data-since]"))) {
    cell.textContent = since(Number(cell.dataset.since));
  }
}, 1000);
