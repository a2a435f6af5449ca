// @ts-check
/**
 * Messages by keyboard: Alt with an arrow goes from one to the next, and letters act on
 * the one that has the focus.
 */

import { byId, seek } from "./dom.js";

/**
 * What a key does, by the `data-action` of the button that does it too.
 * @type {Record<string, string>}
 */
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

function messages() {
  /** @type {NodeListOf<HTMLElement>} */
  const found = byId("transcript").querySelectorAll(".message");
  return [...found];
}

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
  const message = event.target;
  const action = MESSAGE_KEYS[event.key];
  if (event.altKey || !action) return;
  if (!(message instanceof HTMLElement) || !message.matches(".message")) return;
  event.preventDefault();
  seek(message, `[data-action="${action}"]`)?.click();
}

export function enableMessageKeys() {
  document.addEventListener("keydown", onKey);
}
