// @ts-check
/**
 * Messages by keyboard: Alt with an arrow goes from one to the next, and letters act on
 * the one that has the focus.
 */

import { byId } from "./dom.js";

/** What a key does, by the `data-action` of the button that does it too. */
export const MESSAGE_KEYS = {
  c: "copy",
  e: "edit",
  r: "retry",
  m: "retryWith",
  g: "goOn",
  "+": "rateUp",
  "-": "rateDown",
  i: "measures",
  f: "flag",
  ArrowLeft: "previous",
  ArrowRight: "next",
  Delete: "delete",
};

/** @returns {HTMLElement[]} */
const messages = () => [...byId("transcript").querySelectorAll(".message")];

/** @param {number} step */
function move(step) {
  const all = messages();
  const from = all.findIndex((each) => each.contains(document.activeElement));
  const to = from < 0 ? all.length - 1 : from + step;
  if (to >= all.length) byId("prompt").focus();
  else all[Math.max(0, to)]?.focus();
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.ctrlKey || event.metaKey) return;
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    move(event.key === "ArrowUp" ? -1 : 1);
    return;
  }
  const message = /** @type {HTMLElement} */ (event.target);
  const action = MESSAGE_KEYS[event.key];
  if (event.altKey || !action || !message.matches?.(".message")) return;
  event.preventDefault();
  /** @type {HTMLElement | null} */ (
    message.querySelector(`[data-action="${action}"]`)
  )?.click();
}

export function enableMessageKeys() {
  document.addEventListener("keydown", onKey);
}
