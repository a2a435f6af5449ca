// @ts-check
/** Blocks of code: coloured, copied by a button, and diagrams drawn where they are whole. */

import { copyText } from "./clipboard.js";
import { Diagram, canDraw } from "./diagrams.js";
import { icon, make } from "./dom.js";
import { Colours } from "./highlighting.js";
import { say } from "./words.js";

// They reorder what follows: code would read other than it runs.
const REORDERING = /[\u202a-\u202e\u2066-\u2069]/g;

/** @param {string} text */
const visible = (text) =>
  text.replace(REORDERING, (mark) => `[U+${mark.charCodeAt(0).toString(16).toUpperCase()}]`);

export class CodeBlock {
  constructor() {
    this.text = "";
    this.name = make("span");
    this.body = make("code");
    this.colours = new Colours(this.body);
    this.pre = make("pre", { tabIndex: 0, dir: "ltr" }, this.body);
    this.buttons = make("div", { className: "code-buttons" }, this.copyButton());
    const head = make("div", { className: "code-head" }, this.name, this.buttons);
    this.element = make("div", { className: "code-block" }, head, this.pre);
    /** @type {Diagram | null} */
    this.diagram = null;
  }

  /**
   * @param {string} text
   * @param {string} language
   * @param {boolean} isClosed nothing will be added
   */
  show(text, language, isClosed) {
    this.text = text;
    this.name.textContent = language;
    this.colours.show(visible(text), language);
    if (!isClosed || !canDraw(language)) {
      this.diagram?.remove();
      this.diagram = null;
    } else if (this.diagram?.source !== text) {
      this.diagram?.remove();
      this.diagram = new Diagram(text, this);
    }
  }

  copyButton() {
    const label = make("span", { textContent: say("copyCode") });
    const button = make("button", { type: "button" }, icon("copy", "small"), label);
    button.onclick = async () => {
      if (!(await copyText(this.text))) return;
      label.textContent = say("copied");
      setTimeout(() => (label.textContent = say("copyCode")), 1600);
    };
    return button;
  }
}
