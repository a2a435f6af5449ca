// @ts-check
/** A modal dialog with a heading and a button that closes it. */

import { iconButton, make } from "../dom.js";
import { say } from "../words.js";

let numDialogs = 0;

/**
 * Open one; it is gone when it closes.
 * @param {string} title
 * @param {...(Node | string)} children
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, ...children) {
  const id = `dialog-${(numDialogs += 1)}`;
  const heading = make("h2", { textContent: title, id, dir: "auto" });
  const dialog = make("dialog", { className: "dialog" });
  const close = iconButton("close", say("close"), () => dialog.close());
  close.className = "icon-button";
  dialog.append(make("div", { className: "dialog-head" }, heading, close), ...children);
  dialog.setAttribute("aria-labelledby", id);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A field below its label. @param {string} label @param {HTMLElement} field */
export function labelled(label, field) {
  return make("label", { className: "dialog-field" }, make("span", { textContent: label }), field);
}

/** @param {[string, string][]} options [value, label] @param {string} chosen */
export function select(options, chosen) {
  const made = options.map(([value, textContent]) => make("option", { value, textContent }));
  const field = make("select", {}, ...made);
  field.value = chosen;
  return field;
}
