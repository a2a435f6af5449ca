// @ts-check
/** Where prompts are written, with what goes along; the same button sends and stops. */

import { byId } from "./dom.js";
import { count, say } from "./words.js";

const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)");

/** @typedef {import("./queue.js").Prompt} Prompt */

export class Composer {
  /**
   * @param {object} options
   * @param {number} options.maxChars
   * @param {import("./attachments.js").Attachments} options.attachments
   * @param {import("./queue.js").PromptQueue} options.queue
   * @param {import("./drafts.js").Drafts} options.drafts
   * @param {(prompt: Prompt) => void} options.onSend
   * @param {() => void} options.onStop
   */
  constructor({ maxChars, attachments, queue, drafts, onSend, onStop }) {
    this.form = byId("composer", HTMLFormElement);
    this.input = byId("prompt", HTMLTextAreaElement);
    this.button = byId("send", HTMLButtonElement);
    this.later = byId("send-later");
    this.refusal = byId("refusal");
    this.maxChars = maxChars;
    this.attachments = attachments;
    this.queue = queue;
    this.drafts = drafts;
    this.onSend = onSend;
    this.onStop = onStop;
    this.isBusy = false;
    this.canSend = false;
    /** Asked to send before the page could: it is done as soon as it can. */
    this.isEager = false;
    this.form.onsubmit = (event) => this.submit(event);
    this.later.onclick = () => this.send();
    this.input.addEventListener("input", () => {
      this.isEager = false;
      this.change();
    });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.heedEarlyEnter();
    this.bringDraft();
    this.change();
    // On a phone this would open the keyboard over the page.
    if (hasKeyboard.matches) this.input.focus();
  }

  /** Enter before this script ran has begun a new line; it was meant to send. */
  heedEarlyEnter() {
    const { value, selectionEnd } = this.input;
    const isTyping = document.activeElement === this.input && selectionEnd === value.length;
    if (!hasKeyboard.matches || !isTyping || !/\S\s*\n$/.test(value)) return;
    this.input.value = value.trimEnd();
    this.isEager = true;
  }

  bringDraft() {
    const { text, files } = this.drafts.bring();
    this.input.value ||= text;
    if (files.length) this.attachments.giveBack(files);
    this.drafts.current = () => ({ text: this.input.value, files: this.attachments.files });
  }

  get isEmpty() {
    return !this.input.value.trim() && this.attachments.isEmpty;
  }

  /** What the page allows now. @param {{isBusy: boolean, canSend: boolean}} state */
  allow({ isBusy, canSend }) {
    this.isBusy = isBusy;
    this.canSend = canSend;
    this.form.classList.toggle("is-busy", isBusy);
    this.button.title = say(isBusy ? "stop" : "send");
    this.button.setAttribute("aria-label", this.button.title);
    this.change();
    if (!canSend || isBusy) return;
    if (this.queue.isReady) this.onSend(this.queue.take());
    else if (this.isEager) this.send();
  }

  /**
   * Enter sends, but not while an input method composes, nor on a phone.
   * @param {KeyboardEvent} event
   */
  key(event) {
    if (event.defaultPrevented || event.key !== "Enter") return;
    if (event.shiftKey || !hasKeyboard.matches) return;
    if (event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.send();
  }

  /** @param {SubmitEvent} event */
  submit(event) {
    event.preventDefault();
    if (this.isBusy) this.onStop();
    else this.send();
  }

  /** Send what is written, or have it wait for the answer in progress to end. */
  send() {
    const isWaiting = this.attachments.isGoing || (!this.canSend && !this.isBusy);
    this.isEager = !this.isEmpty && isWaiting;
    if (this.isEmpty || isWaiting || this.refuses()) return;
    const text = this.input.value.trim();
    const prompt = { text, files: this.attachments.take() };
    this.clear();
    if (this.isBusy || this.queue.isReady) this.queue.add(prompt);
    else this.onSend(prompt);
  }

  /** Whether it cannot be sent as it is, which is then said. */
  refuses() {
    const isLong = [...this.input.value.trim()].length > this.maxChars;
    const { objection } = this.attachments;
    if (isLong) this.refuse(say("promptTooLong", { count: count(this.maxChars) }));
    else if (objection) this.refuse(objection);
    return isLong || Boolean(objection);
  }

  /** The tray has changed: what waited for the last upload is sent, with all of it. */
  filesChanged() {
    this.change();
    this.isEager &&= !this.attachments.hasRefused;
    if (this.isEager && !this.attachments.isGoing) this.send();
  }

  clear() {
    this.input.value = "";
    this.refuse("");
    this.change();
    this.drafts.write();
  }

  /** The prompt comes back; where something new was begun, to those that wait.
   * @param {Prompt} prompt */
  giveBack(prompt) {
    if (!this.isEmpty) {
      this.queue.putBack(prompt);
      return;
    }
    this.input.value = prompt.text;
    if (prompt.files.length) this.attachments.giveBack(prompt.files);
    this.change();
    this.input.focus();
  }

  /** Put a text where the cursor is, in place of what is selected. @param {string} text */
  insert(text) {
    this.input.focus();
    this.input.setRangeText(text, this.input.selectionStart, this.input.selectionEnd, "end");
    this.change();
  }

  /** Say why nothing was sent; "" says nothing. @param {string} why */
  refuse(why) {
    this.refusal.textContent = why;
    this.refusal.hidden = !why;
  }

  change() {
    this.button.disabled = !this.isBusy && (!this.canSend || this.isEmpty);
    this.later.hidden = !this.isBusy || this.isEmpty;
    this.attachments.weigh();
    this.drafts.note();
    if (CSS.supports("field-sizing", "content")) return;
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}
