// @ts-check
/** One menu that opens beside whichever button asked for it. */

import { icon, make, seek } from "../dom.js";

/**
 * @typedef {object} Choice
 * @property {string} icon
 * @property {string} label
 * @property {() => void} [onClick]
 * @property {string} [href] a download instead of an action
 * @property {boolean} [isDanger]
 */

export class Menu {
  constructor() {
    this.element = make("div", { className: "menu-items item-menu", hidden: true });
    this.element.setAttribute("role", "menu");
    document.body.append(this.element);
    /** @type {HTMLElement | null} */
    this.button = null;
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focusout", (event) => {
      const next = event.relatedTarget;
      if (next instanceof Node && !this.element.contains(next)) this.close();
    });
    document.addEventListener("pointerdown", (event) => {
      const target = /** @type {Node} */ (event.target);
      if (!this.element.contains(target) && !this.button?.contains(target)) this.close();
    });
    addEventListener("resize", () => this.close());
  }

  /** @param {HTMLElement} button @param {string} label @param {Choice[]} choices */
  open(button, label, choices) {
    const isOpen = this.button === button;
    this.close();
    if (isOpen) return;
    this.button = button;
    button.setAttribute("aria-expanded", "true");
    this.element.setAttribute("aria-label", label);
    this.element.replaceChildren(...choices.map((choice) => this.item(choice)));
    this.element.hidden = false;
    this.place(button.getBoundingClientRect());
    seek(this.element, "[role=menuitem]")?.focus();
  }

  /** @param {Choice} choice */
  item({ icon: name, label, href, onClick, isDanger }) {
    const item = href
      ? make("a", { href, download: "" })
      : make("button", { type: "button" });
    item.className = isDanger ? "menu-item is-danger" : "menu-item";
    item.setAttribute("role", "menuitem");
    item.tabIndex = -1;
    item.append(icon(name, "small"), label);
    item.addEventListener("click", () => {
      this.close();
      onClick?.();
    });
    return item;
  }

  /** Beside the button, and never beyond the window. @param {DOMRect} button */
  place(button) {
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const left = Math.max(8, Math.min(button.left, innerWidth - width - 8));
    const below = button.bottom + 4;
    const top = below + height > innerHeight - 8 ? button.top - height - 4 : below;
    this.element.style.left = `${left}px`;
    this.element.style.top = `${Math.max(8, top)}px`;
  }

  close() {
    if (!this.button) return;
    const hadFocus = this.element.contains(document.activeElement);
    this.button.setAttribute("aria-expanded", "false");
    if (hadFocus) this.button.focus();
    this.button = null;
    this.element.hidden = true;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {NodeListOf<HTMLElement>} */
    const found = this.element.querySelectorAll("[role=menuitem]");
    const items = [...found];
    const at = items.findIndex((item) => item === document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      items.at(next % items.length)?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      if (event.key === "Escape") event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }
}
