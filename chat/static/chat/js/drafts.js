// @ts-check
/** What was begun and not sent, for each conversation, in this browser. */

import { recall, remember } from "./memory.js";

/** Longer ones would crowd out the others. */
const LONGEST = 50_000;
const PATIENCE = 300;

/** @typedef {import("./queue.js").Prompt} Draft */

export class Drafts {
  /** @param {number} user @param {() => string | null} conversation */
  constructor(user, conversation) {
    this.user = user;
    this.conversation = conversation;
    this.timer = 0;
    /** As it was last known here: another tab's draft is not overwritten by no news. */
    this.written = "";
    /** @type {() => Draft} */
    this.current = () => ({ text: "", files: [] });
    // A page that is left writes what it has.
    addEventListener("pagehide", () => this.timer && this.write());
  }

  get name() {
    return `draft.${this.user}.${this.conversation() ?? "new"}`;
  }

  /** @returns {Draft} what was left here, and that this page goes on with */
  bring() {
    this.written = recall(this.name) ?? "";
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
    if (draft === this.written || text.length > LONGEST) return;
    this.written = draft;
    remember(this.name, draft);
  }
}
