// @ts-check
/** What was written and not sent, for each conversation, in this browser. */

import { recall, remember } from "./memory.js";

/** Longer ones would crowd out the others. */
const LONGEST = 50_000;
const PATIENCE = 300;

/** @typedef {import("./queue.js").Prompt} Draft */

export class Drafts {
  /**
   * @param {number} user
   * @param {() => string | null} conversation
   * @param {boolean} isKept a temporary chat leaves nothing, no draft either
   */
  constructor(user, conversation, isKept) {
    this.user = user;
    this.conversation = conversation;
    this.isKept = isKept;
    this.timer = 0;
    /** As it was last known here: another tab's draft is not overwritten by no news. */
    this.written = "";
    /** @type {() => Draft} */
    this.current = () => ({ text: "", files: [] });
    // A page that is left writes what it has.
    addEventListener("pagehide", () => this.timer && this.write());
  }

  get name() {
    return `draft.${this.place}`;
  }

  get place() {
    return `${this.user}.${this.conversation() ?? "new"}`;
  }

  /** @returns {Draft[]} what waited to be sent when this tab was left here: each tab has its
   * own, or two would send the same */
  bringWaiting() {
    const waiting = this.isKept && recall(`waiting.${this.place}`, "tab");
    return waiting ? JSON.parse(waiting) : [];
  }

  /** @param {Draft[]} prompts */
  keepWaiting(prompts) {
    const waiting = prompts.length ? JSON.stringify(prompts) : "";
    if (this.isKept) remember(`waiting.${this.place}`, waiting, "tab");
  }

  /** @returns {Draft} what was left here, and that this page goes on with */
  bring() {
    this.written = (this.isKept && recall(this.name)) || "";
    return this.written ? JSON.parse(this.written) : { text: "", files: [] };
  }

  /** Write what there is, when a moment has passed without a change. */
  note() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.write(), PATIENCE);
  }

  write() {
    clearTimeout(this.timer);
    this.timer = 0;
    const { text, files } = this.current();
    const isEmpty = !text.trim() && !files.length;
    const draft = isEmpty ? "" : JSON.stringify({ text, files });
    if (!this.isKept || draft === this.written || text.length > LONGEST) return;
    this.written = draft;
    remember(this.name, draft);
  }
}
