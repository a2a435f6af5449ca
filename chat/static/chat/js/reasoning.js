// @ts-check
/** What a model thought before it answered: folded, and shown as it comes when opened. */

import { make } from "./dom.js";
import { Prose } from "./prose.js";
import { count, say } from "./words.js";

export class Reasoning {
  constructor() {
    this.text = "";
    this.numReceived = 0;
    /** @type {number | null} */
    this.seconds = null;
    this.isThinking = false;
    this.summary = make("summary");
    this.body = make("div", { className: "reasoning-text" });
    this.markdown = new Prose(this.body);
    const parts = [this.summary, this.body];
    this.element = make("details", { className: "reasoning", hidden: true }, ...parts);
    this.element.ontoggle = () => this.render();
  }

  /** @param {string} text @param {number | null} seconds @param {boolean} isThinking */
  show(text, seconds, isThinking) {
    this.text = text;
    this.numReceived = [...text].length; // code points, as the server counts
    this.seconds = seconds;
    this.isThinking = isThinking;
    this.render();
  }

  /**
   * @param {number} at
   * @param {string} text
   * @returns {boolean} false where something between is missing
   */
  append(at, text) {
    if (at > this.numReceived) return false;
    const fresh = [...text].slice(this.numReceived - at);
    this.numReceived += fresh.length;
    this.text += fresh.join("");
    this.isThinking = true;
    return true;
  }

  /** It is over, after so many seconds. @param {number} seconds */
  end(seconds) {
    this.seconds = seconds;
    this.isThinking = false;
    this.render();
  }

  render() {
    this.element.hidden = !this.text;
    this.element.classList.toggle("is-thinking", this.isThinking);
    this.summary.textContent = this.title;
    if (this.element.open) this.markdown.show(this.text, !this.isThinking);
  }

  get title() {
    if (this.isThinking) return say("thinkingNow");
    if (this.seconds === null) return say("thought");
    if (this.seconds >= 90) {
      return say("thoughtMinutes", { minutes: count(Math.round(this.seconds / 60)) });
    }
    return say("thoughtSeconds", { seconds: count(Math.max(1, Math.round(this.seconds))) });
  }
}
