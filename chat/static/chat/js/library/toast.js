// @ts-check
/** A line at the bottom of the page that says what was done, and may undo it. */

import { make } from "../dom.js";

const SECONDS = 10;

export class Toast {
  constructor() {
    this.words = make("span");
    this.button = make("button", { type: "button", hidden: true });
    this.element = make("div", { className: "toast" }, this.words, this.button);
    this.element.setAttribute("role", "status");
    this.timer = 0;
    document.body.append(this.element);
    for (const event of ["pointerenter", "focusin"]) {
      this.element.addEventListener(event, () => clearTimeout(this.timer));
    }
    for (const event of ["pointerleave", "focusout"]) {
      this.element.addEventListener(event, () => this.wait());
    }
  }

  /** @param {string} words @param {string} [label] @param {() => void} [onClick] */
  show(words, label = "", onClick = () => {}) {
    this.words.textContent = words;
    this.button.textContent = label;
    this.button.hidden = !label;
    const focused = document.activeElement;
    this.button.onclick = () => {
      this.hide();
      // The button is gone: whoever came by keyboard is back where they came from.
      if (focused instanceof HTMLElement) focused.focus();
      onClick();
    };
    this.element.classList.add("is-shown");
    this.wait();
  }

  wait() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.hide(), SECONDS * 1000);
  }

  hide() {
    clearTimeout(this.timer);
    this.element.classList.remove("is-shown");
    this.button.hidden = true;
  }
}
