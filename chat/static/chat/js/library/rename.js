// @ts-check
/** A name that is changed where it stands. */

import { make } from "../dom.js";

/**
 * Put a field in the place of `element` until the new text is given or not.
 * @param {HTMLElement} element
 * @param {string} text
 * @param {string} label
 * @param {(text: string) => Promise<void>} onGiven for a text that is not the old one
 */
export function renameInPlace(element, text, label, onGiven) {
  const field = make("input", { className: "rename", value: text, maxLength: 200 });
  field.setAttribute("aria-label", label);
  let isOver = false;
  /** @param {boolean} isGiven */
  const end = async (isGiven) => {
    if (isOver) return;
    isOver = true;
    const given = field.value.trim();
    const hadFocus = document.activeElement === field;
    field.replaceWith(element);
    if (hadFocus) element.focus();
    if (isGiven && given && given !== text) await onGiven(given);
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !event.isComposing) end(true);
    else if (event.key === "Escape") end(false);
  });
  field.addEventListener("blur", () => end(true));
  element.replaceWith(field);
  field.focus();
  field.select();
}
