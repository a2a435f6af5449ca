// @ts-check
/** Copying text, with and without https. */

import { make } from "./dom.js";

/**
 * Pages without https have no clipboard of their own, and browsers may forbid it.
 * @param {string} text
 * @returns {Promise<boolean>} whether it is copied
 */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not now: the old way may still be allowed
    }
  }
  return copySelected(text);
}

/** As what is selected. @param {string} text */
function copySelected(text) {
  const focused = document.activeElement;
  const area = make("textarea", { value: text, className: "visually-hidden", readOnly: true });
  // Beside an open dialog nothing can be selected.
  (focused?.closest("dialog") ?? document.body).append(area);
  area.focus({ preventScroll: true });
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  return isCopied;
}
