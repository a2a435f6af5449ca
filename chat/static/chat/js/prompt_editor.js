// @ts-check
/** Where a prompt is written anew, in place of its bubble. */

import { make } from "./dom.js";
import { say } from "./words.js";

export class PromptEditor {
  /**
   * @param {string} text
   * @param {object} on
   * @param {(text: string) => void} on.send
   * @param {() => void} on.cancel
   */
  constructor(text, on) {
    this.on = on;
    this.input = make("textarea", { value: text, rows: 1 });
    this.input.setAttribute("aria-label", say("editPrompt"));
    this.input.oninput = () => this.fit();
    const className = "button button-primary";
    this.button = make("button", { type: "submit", className }, say("send"));
    const cancel = make("button", { type: "button", className: "button" }, say("cancel"));
    cancel.onclick = () => on.cancel();
    const buttons = make("div", { className: "editor-buttons" }, cancel, this.button);
    this.element = make("form", { className: "editor" }, this.input, buttons);
    this.element.onsubmit = (event) => this.submit(event);
    this.element.onkeydown = (event) => this.key(event);
  }

  begin() {
    this.fit();
    this.input.focus();
    this.input.setSelectionRange(this.input.value.length, this.input.value.length);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    event.stopPropagation(); // letters here are no commands
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") this.on.cancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submit(event);
  }

  /** @param {Event} event */
  submit(event) {
    event.preventDefault();
    const text = this.input.value.trim();
    if (text && !this.button.disabled) this.on.send(text);
  }

  /** While the server has not answered, nothing is sent twice. @param {boolean} isHeld */
  hold(isHeld) {
    this.button.disabled = this.input.readOnly = isHeld;
  }

  fit() {
    if (CSS.supports("field-sizing", "content")) return;
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}
