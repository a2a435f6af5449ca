// @ts-check
/** Keys that work on the whole page, and the list of them. */

import { byId } from "./dom.js";
import { recall, remember } from "./memory.js";
import { enableSheet } from "./sheets.js";

const isApple = /Mac|iP(hone|ad|od)/.test(navigator.platform);

/** Keys typed there are text. @param {EventTarget | null} target */
const isWriting = (target) =>
  target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]");

export class Shortcuts {
  /** @param {Record<string, () => void>} actions by the key that goes with Ctrl and Shift */
  constructor(actions) {
    this.actions = actions;
    this.dialog = byId("shortcuts", HTMLDialogElement);
    this.single = byId("shortcuts-single", HTMLInputElement);
    // WCAG 2.1.4: a key alone can be turned off, for those who speak to their computer.
    this.single.checked = recall("singleKeys") !== "off";
    this.single.onchange = () => remember("singleKeys", this.single.checked ? "" : "off");
    for (const key of this.dialog.querySelectorAll("[data-ctrl]")) {
      key.textContent = isApple ? "⌘" : "Ctrl";
    }
    byId("open-shortcuts").onclick = () => this.open();
    enableSheet(this.dialog);
    addEventListener("keydown", (event) => this.key(event));
  }

  open() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.defaultPrevented || event.isComposing || event.altKey) return;
    const action = this.meant(event);
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {KeyboardEvent} event @returns {(() => void) | undefined} */
  meant(event) {
    const isModified = isApple ? event.metaKey : event.ctrlKey;
    if (isModified && event.key === "/") return () => this.open();
    if (document.querySelector("dialog[open]")) return undefined;
    if (isModified && event.shiftKey) return this.actions[event.key.toLowerCase()];
    const isAlone = !isModified && this.single.checked && !isWriting(event.target);
    return isAlone && event.key === "?" ? () => this.open() : undefined;
  }
}
