// @ts-check
/** The line that says what was done, and offers to undo it for a while. */

import { byId, make } from "./dom.js";
import { say } from "./words.js";

const SHOWN = 12_000;

let timer = 0;

function hide() {
  const line = byId("undo");
  // Not under the pointer or the focus of who is about to press it.
  if (line.matches(":hover, :focus-within")) return wait();
  line.hidden = true;
  return undefined;
}

function wait() {
  clearTimeout(timer);
  timer = window.setTimeout(hide, SHOWN);
}

/** @param {string} done @param {() => void} onUndo */
export function offerUndo(done, onUndo) {
  const line = byId("undo");
  const button = make("button", { type: "button", textContent: say("undo") });
  button.onclick = () => {
    line.hidden = true;
    byId("scroller").focus({ preventScroll: true }); // the button is gone
    onUndo();
  };
  line.replaceChildren(make("span", { textContent: done }), button);
  line.hidden = false;
  wait();
}
