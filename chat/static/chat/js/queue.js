// @ts-check
/** Prompts that wait for the answer in progress to end; they live as long as the tab. */

import { byId, iconButton, make } from "./dom.js";
import { count, say } from "./words.js";

/** @typedef {{text: string, files: import("./chips.js").Attached[]}} Prompt */

export class PromptQueue {
  /**
   * @param {import("./drafts.js").Drafts} drafts
   * @param {() => void} onChange something may be sent now
   */
  constructor(drafts, onChange) {
    this.drafts = drafts;
    this.onChange = onChange;
    this.element = byId("queue");
    this.list = byId("queue-list");
    this.note = byId("queue-note");
    this.resume = byId("queue-resume");
    /** @type {Prompt[]} */
    this.prompts = drafts.bringWaiting();
    /** Nothing is sent by itself after a failure. */
    this.isHeld = false;
    this.resume.onclick = () => this.release();
    this.render();
  }

  get isReady() {
    return this.prompts.length > 0 && !this.isHeld;
  }

  /** @param {Prompt} prompt */
  add(prompt) {
    this.prompts.push(prompt);
    this.render();
  }

  /** @returns {Prompt} the first one, which waits no more */
  take() {
    const [first, ...rest] = this.prompts;
    this.prompts = rest;
    this.render();
    return first;
  }

  /** It was refused, and comes first again. @param {Prompt} prompt */
  putBack(prompt) {
    this.prompts.unshift(prompt);
    this.hold();
  }

  hold() {
    this.isHeld = this.prompts.length > 0;
    this.render();
  }

  release() {
    this.isHeld = false;
    this.render();
    this.onChange();
  }

  /** @param {number} index */
  remove(index) {
    this.prompts.splice(index, 1);
    this.render();
    const next = this.list.querySelectorAll("button")[Math.min(index, this.prompts.length - 1)];
    (next ?? byId("prompt")).focus();
  }

  render() {
    this.isHeld &&= this.prompts.length > 0;
    this.drafts.keepWaiting(this.prompts);
    this.element.hidden = !this.prompts.length;
    this.note.textContent = say(this.isHeld ? "queueHeld" : "queueWaits");
    this.resume.hidden = !this.isHeld;
    this.list.replaceChildren(...this.prompts.map((prompt, index) => this.item(prompt, index)));
  }

  /** @param {Prompt} prompt @param {number} index */
  item({ text, files }, index) {
    const what = text || files.map((file) => file.name).join(", ");
    const words = make("span", { className: "queue-text", textContent: what, dir: "auto" });
    const item = make("li", {}, words);
    if (text && files.length) {
      const attached = say("filesAttached", { count: count(files.length) });
      item.append(make("small", { textContent: attached }));
    }
    item.append(iconButton("close", say("removeFromQueue"), () => this.remove(index)));
    return item;
  }
}
