// @ts-check
/** Where prompts are written; the same button sends and stops. */

import { byId } from "./dom.js";
import { count, say } from "./words.js";

const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)");

export class Composer {
  /**
   * @param {object} options
   * @param {number} options.maxChars
   * @param {(text: string) => void} options.onSend
   * @param {() => void} options.onStop
   */
  constructor({ maxChars, onSend, onStop }) {
    this.form = byId("composer");
    this.input = byId("prompt");
    this.button = byId("send");
    this.refusal = byId("refusal");
    this.maxChars = maxChars;
    this.onSend = onSend;
    this.onStop = onStop;
    this.isBusy = false;
    this.canSend = false;
    /** Asked to send before the page could: it is done as soon as it can. */
    this.isEager = false;
    this.form.onsubmit = (event) => this.submit(event);
    this.input.addEventListener("input", () => {
      this.isEager = false;
      this.change();
    });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.change();
    // On a phone this would open the keyboard over the page.
    if (hasKeyboard.matches) this.input.focus();
  }

  /** What the page allows now. @param {{isBusy: boolean, canSend: boolean}} state */
  allow({ isBusy, canSend }) {
    this.isBusy = isBusy;
    this.canSend = canSend;
    this.form.classList.toggle("is-busy", isBusy);
    this.button.title = say(isBusy ? "stop" : "send");
    this.button.setAttribute("aria-label", this.button.title);
    this.change();
    if (canSend && !isBusy && this.isEager) this.send();
  }

  /** Enter sends, but not while an input method composes, nor on a phone. */
  key(event) {
    if (event.key !== "Enter" || event.shiftKey || !hasKeyboard.matches) return;
    if (event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!this.isBusy) this.submit(event);
  }

  submit(event) {
    event.preventDefault();
    if (this.isBusy) {
      this.onStop();
      return;
    }
    this.send();
  }

  send() {
    const text = this.input.value.trim();
    this.isEager = Boolean(text) && !this.canSend;
    if (!text || !this.canSend) return;
    if ([...text].length > this.maxChars) {
      this.refuse(say("promptTooLong", { count: count(this.maxChars) }));
      return;
    }
    this.onSend(text);
  }

  clear() {
    this.input.value = "";
    this.refuse("");
    this.change();
  }

  /** The text comes back, unless something new was begun. @param {string} text */
  giveBack(text) {
    this.input.value ||= text;
    this.change();
    this.input.focus();
  }

  /** Say why nothing was sent; "" says nothing. @param {string} why */
  refuse(why) {
    this.refusal.textContent = why;
    this.refusal.hidden = !why;
  }

  change() {
    this.button.disabled = !this.isBusy && !(this.canSend && this.input.value.trim());
    if (CSS.supports("field-sizing", "content")) return;
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}
