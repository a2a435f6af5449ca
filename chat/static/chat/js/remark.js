// @ts-check
/** A small form under an answer, for the reader's words about it. */

import { make } from "./dom.js";
import { say } from "./words.js";

const LONGEST = 2_000;

/**
 * @param {string} label
 * @param {string} text
 * @param {(text: string) => void} onSend
 * @param {() => void} onClose
 */
export function remarkForm(label, text, onSend, onClose) {
  const input = make("textarea", { value: text, rows: 2, maxLength: LONGEST });
  const send = make("button", { type: "submit", className: "button" }, say("send"));
  const cancel = make("button", { type: "button", className: "button" }, say("cancel"));
  cancel.onclick = onClose;
  const buttons = make("div", { className: "editor-buttons" }, cancel, send);
  const field = make("label", {}, label, input);
  const form = make("form", { className: "remark" }, field, buttons);
  form.onsubmit = (event) => {
    event.preventDefault();
    onSend(input.value.trim());
    onClose();
  };
  form.onkeydown = (event) => {
    event.stopPropagation(); // letters here are no commands
    if (event.key === "Escape") onClose();
  };
  return form;
}
