// @ts-check
/** The pages of API keys: copying, and one example shown at a time. */

import { copyText } from "./clipboard.js";
import { byId } from "./dom.js";

/** @param {HTMLButtonElement} button */
function enableCopy(button) {
  const label = /** @type {HTMLElement} */ (button.querySelector("span"));
  const before = label.textContent;
  button.onclick = async () => {
    if (!(await copyText(byId(button.dataset.copy ?? "").textContent))) return;
    label.textContent = button.dataset.copied ?? "";
    setTimeout(() => (label.textContent = before), 1600);
  };
}

/** Tabs by pointer and arrow keys; without this script all panels stand below each other. */
class Tabs {
  /** @param {HTMLElement} element */
  constructor(element) {
    const list = /** @type {HTMLElement} */ (element.querySelector("[role=tablist]"));
    this.tabs = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=tab]")]);
    for (const [index, tab] of this.tabs.entries()) tab.onclick = () => this.show(index);
    list.onkeydown = (event) => this.onKey(event);
    list.hidden = this.tabs.length < 2;
    this.show(0);
  }

  /** @param {number} shown */
  show(shown) {
    for (const [index, tab] of this.tabs.entries()) {
      tab.setAttribute("aria-selected", String(index === shown));
      tab.tabIndex = index === shown ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "").hidden = index !== shown;
    }
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = this.tabs.findIndex((tab) => tab === document.activeElement);
    const to = (from + step + this.tabs.length) % this.tabs.length;
    this.show(to);
    this.tabs[to].focus();
  }
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  enableCopy(/** @type {HTMLButtonElement} */ (button));
}
for (const element of document.querySelectorAll("[data-tabs]")) {
  new Tabs(/** @type {HTMLElement} */ (element));
}
// A new secret is what the reader, or a screen reader, came for.
/** @type {HTMLElement | null} */ (document.querySelector("[data-focus]"))?.focus();
