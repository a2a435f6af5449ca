// @ts-check
/** One message of the transcript: a prompt's bubble, or an answer that may still grow. */

import { chipsOf } from "./chips.js";
import { copyText } from "./clipboard.js";
import { icon, make, within } from "./dom.js";
import { measureParts } from "./measures.js";
import { PromptEditor } from "./prompt_editor.js";
import { Prose } from "./prose.js";
import { Reasoning } from "./reasoning.js";
import { remarkForm } from "./remark.js";
import { actionButton, fillToolbar, makeToolbar, menuButton } from "./toolbar.js";
import { versionControl } from "./versions.js";
import { about, count, say, sayError, sayFailure } from "./words.js";

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {"user" | "assistant" | "system"} role
 * @property {string} content
 * @property {string} reasoning
 * @property {number | null} reasoning_seconds
 * @property {string[]} [versions] ids of those beside it and its own, oldest first
 * @property {import("./chips.js").Attached[]} attached
 * @property {string} model
 * @property {"streaming" | "complete" | "stopped" | "interrupted" | "failed"} state
 * @property {string} error
 * @property {string} error_code
 * @property {string} finish_reason
 * @property {number | null} prompt_tokens
 * @property {number | null} completion_tokens
 * @property {number | null} ttft_seconds
 * @property {number | null} duration_seconds
 * @property {number | null} cost
 * @property {-1 | 0 | 1} rating
 * @property {string} rating_reason
 * @property {boolean} is_flagged
 */

/** @typedef {import("./message_actions.js").MessageActions} Actions */
/** @typedef {PromptView | AnswerView} View */
/** @import { Opinion, Place } from "../../../frontend/types/protocol" */

/**
 * A prompt that the server has not taken yet: it has no id.
 * @param {string} content
 * @param {import("./chips.js").Attached[]} attached
 */
export const pendingPrompt = (content, attached) =>
  /** @type {Message} */ ({ id: "", role: "user", content, attached });

/**
 * A message's view, of the kind that its role asks for.
 * @param {Message} message
 * @param {Actions} actions
 * @param {boolean} [isLight] to begin with its words alone
 * @returns {View}
 */
export function viewOf(message, actions, isLight = false) {
  return message.role === "assistant"
    ? new AnswerView(message, actions, isLight)
    : new PromptView(message, actions, isLight);
}

/** @param {() => string} text */
function copyButton(text) {
  const button = actionButton("copy", "copy", say("copy"), async () => {
    if (!(await copyText(text()))) return;
    button.replaceChildren(icon("check", "small"));
    button.title = say("copied");
    setTimeout(() => {
      button.replaceChildren(icon("copy", "small"));
      button.title = say("copy");
    }, 1600);
  });
  return button;
}

export class PromptView {
  /** @param {Message} message @param {Actions} actions @param {boolean} [isLight] */
  constructor(message, actions, isLight = false) {
    this.message = message;
    this.actions = actions;
    this.isLight = isLight;
    const heard = make("h2", { className: "visually-hidden", textContent: say("you") });
    this.bubble = make("div", { className: "bubble", textContent: message.content });
    this.bubble.dir = "auto";
    this.foot = makeToolbar();
    this.bubble.hidden = !message.content;
    const chips = message.attached?.length ? [chipsOf(message.attached)] : [];
    const parts = [heard, ...chips, this.bubble, this.foot];
    const options = { className: "message message-user", tabIndex: -1 };
    this.element = make("article", options, ...parts);
    this.showFoot();
  }

  get isStreaming() {
    return false;
  }

  /** @param {Message} message */
  settle(message) {
    this.message = { ...this.message, ...message };
    this.showFoot();
  }

  /** The reader is at work on it. */
  get isInUse() {
    return Boolean(this.editor);
  }

  /** With its words alone, or with what can be done with them. @param {boolean} isLight */
  setLight(isLight) {
    this.isLight = isLight;
    this.showFoot();
  }

  showFoot() {
    const { id, content } = this.message;
    if (!id) return; // not taken by the server yet
    if (this.isLight) {
      this.foot.replaceChildren();
      return;
    }
    fillToolbar(this.foot, [
      versionControl(this.message, (...chosen) => this.actions.choose(...chosen)),
      copyButton(() => content),
      actionButton("edit", "edit", say("edit"), () => this.edit()),
      actionButton("delete", "delete", say("delete"), () => this.actions.remove(id)),
    ]);
  }

  edit() {
    this.editor?.element.remove();
    this.editor = new PromptEditor(this.message.content, {
      send: (text) => this.actions.edit(this, text),
      cancel: () => this.endEditing(),
    });
    this.bubble.hidden = this.foot.hidden = true;
    this.element.append(this.editor.element);
    this.editor.begin();
  }

  endEditing() {
    this.editor?.element.remove();
    this.editor = null;
    this.bubble.hidden = !this.message.content;
    this.foot.hidden = false;
    this.element.focus();
  }
}

export class AnswerView {
  /** @param {Message} message @param {Actions} actions @param {boolean} [isLight] */
  constructor(message, actions, isLight = false) {
    this.message = message;
    this.actions = actions;
    this.isLight = isLight;
    this.numReceived = 0;
    this.timer = 0;
    this.place = "";
    this.renderMilliseconds = 0;
    this.isPaused = false;
    this.byline = make("h2", { className: "byline" }, icon("mark"), message.model);
    this.reasoning = new Reasoning();
    this.answer = make("div", { className: "answer" });
    this.markdown = new Prose(this.answer);
    this.notice = make("div", { className: "notice" });
    this.pause = make("p", { className: "pause-note", role: "status", hidden: true });
    this.foot = makeToolbar();
    const { byline, reasoning, answer, pause, notice, foot } = this;
    const parts = [byline, reasoning.element, answer, pause, notice, foot];
    const options = { className: "message message-assistant", tabIndex: -1 };
    this.element = make("article", options, ...parts);
    this.settle(message);
  }

  get isStreaming() {
    return this.message.state === "streaming";
  }

  get isWaiting() {
    return this.place !== "";
  }

  /** It is being written, or the reader is at work on it. */
  get isInUse() {
    const { reasoning, remark } = this;
    return this.isStreaming || reasoning.element.open || Boolean(remark?.isConnected);
  }

  /** With its words alone, or as they are meant to look. @param {boolean} isLight */
  setLight(isLight) {
    if (this.isLight === isLight) return;
    this.isLight = isLight;
    this.answer.replaceChildren();
    this.markdown = new Prose(this.answer);
    this.render();
    this.showFoot();
  }

  /** Show the place in line for a worker. @param {Place} place */
  wait(place) {
    this.place = placeOf(place);
    this.render();
  }

  /** Show this as the message's true state: its whole text so far. @param {Message} message */
  settle(message) {
    this.message = { ...this.message, ...message };
    this.numReceived = [...message.content].length; // code points, as the server counts
    const { reasoning, reasoning_seconds: seconds, content } = message;
    const isThinking = this.isStreaming && seconds === null && !content;
    this.reasoning.show(reasoning, seconds, isThinking);
    this.element.classList.toggle("is-streaming", this.isStreaming);
    if (this.isStreaming) this.setLight(false);
    if (this.isPaused && !this.isStreaming) this.pause.hidden = true; // nobody went on
    this.render();
    this.showNotice();
    this.showFoot();
  }

  /**
   * Add a delta; what was here before is left out of it.
   * @param {number} at
   * @param {string} text
   * @returns {boolean} false where something between is missing
   */
  append(at, text) {
    if (at > this.numReceived) return false;
    const fresh = [...text].slice(this.numReceived - at);
    this.numReceived += fresh.length;
    this.message.content += fresh.join("");
    this.schedule();
    return true;
  }

  /** Add to what the model thinks; as `append`. @param {number} at @param {string} text */
  think(at, text) {
    const isWhole = this.reasoning.append(at, text);
    if (isWhole) this.schedule();
    return isWhole;
  }

  /** The reader's opinion is stored. @param {Opinion} opinion */
  judge(opinion) {
    this.message = { ...this.message, ...opinion };
    this.showFoot();
  }

  /** Say that the answer pauses, or that it went on. @param {"moving" | "moved"} word */
  note(word) {
    this.isPaused = word === "moving";
    this.pause.textContent = say(word);
    this.pause.hidden = false;
  }

  /** At most once a frame, and rarer where rendering itself is slow. */
  schedule() {
    if (this.timer) return;
    const rest = this.renderMilliseconds > 12 ? this.renderMilliseconds * 3 : 0;
    this.timer = window.setTimeout(() => {
      requestAnimationFrame(() => this.render());
    }, rest);
  }

  render() {
    clearTimeout(this.timer);
    this.timer = 0;
    const began = performance.now();
    const { content } = this.message;
    if (this.isLight) {
      this.answer.replaceChildren(make("div", { className: "plain" }, content));
      this.answer.hidden = !content;
      return;
    }
    this.showPlace();
    this.reasoning.render();
    if (content) {
      this.thinking?.remove();
      this.thinking = null;
      this.markdown.show(content, !this.isStreaming);
    } else if (this.reasoning.text) {
      this.thinking?.remove(); // its own line says that it thinks
    } else if (this.isStreaming && !this.thinking) {
      this.thinking = make("div", { className: "thinking", role: "img" });
      this.thinking.setAttribute("aria-label", say("thinking"));
      this.thinking.append(make("i"), make("i"), make("i"));
      this.answer.append(this.thinking);
    } else if (!this.isStreaming) {
      this.thinking?.remove();
    }
    this.answer.hidden = !content && !this.isStreaming;
    this.renderMilliseconds = performance.now() - began;
  }

  /** Beside the dots, as long as nothing of the answer is there. */
  showPlace() {
    const isShown = this.isWaiting && this.isStreaming && !this.message.content;
    if (!isShown) {
      this.waiting?.remove();
      this.waiting = null;
      return;
    }
    if (!this.waiting) {
      this.waiting = make("p", { className: "waiting" });
      this.answer.append(this.waiting);
    }
    this.waiting.textContent = this.place;
  }

  showNotice() {
    const { state, error, error_code: code } = this.message;
    this.notice.replaceChildren();
    if (state === "failed") {
      const meaning = sayError(code) || error;
      this.notice.append(this.card("alert", sayFailure(code), meaning, error));
    } else if (state === "interrupted") {
      const [title, text] = [say("interruptedTitle"), say("interruptedText")];
      const card = this.card("pause", title, text);
      card.classList.add("card-interrupted");
      this.notice.append(card);
    }
  }

  /**
   * A card with what happened, what to do, and a button that does it.
   * @param {string} name of the icon
   * @param {string} title
   * @param {string} text
   * @param {string} [detail]
   */
  card(name, title, text, detail = "") {
    const words = make("div", { className: "card-text" });
    words.append(make("strong", { textContent: title }), text);
    // The server's own sentence has the numbers and names that the general one lacks.
    if (detail && detail !== text) {
      words.append(make("small", { textContent: detail, lang: "en" }));
    }
    const retry = make("button", { type: "button", className: "button" });
    retry.append(icon("retry", "small"), say("retry"));
    retry.onclick = () => this.retry();
    const buttons = make("div", { className: "card-buttons" }, retry);
    if (this.message.content) buttons.prepend(this.goOnButton());
    return make("div", { className: "card" }, icon(name), words, buttons);
  }

  /** Shown by the style sheet where this is the last message. */
  goOnButton() {
    const button = make("button", { type: "button", className: "button go-on" });
    button.dataset.action = "goOn";
    button.append(icon("forth", "small"), say("goOn"));
    button.onclick = () => this.actions.goOn(this.message.id);
    return button;
  }

  showFoot() {
    if (this.isLight) this.foot.replaceChildren();
    else fillToolbar(this.foot, this.isStreaming ? this.growingParts : this.settledParts);
  }

  /** What can be done while it is being written. @returns {(Node | null)[]} */
  get growingParts() {
    return [];
  }

  /** What can be done once it is there. @returns {(Node | null | false | "")[]} */
  get settledParts() {
    const { id } = this.message;
    const { actions } = this;
    return [
      ...this.readingParts,
      menuButton("retryWith", "chevron", say("regenerateWith"), () => actions.retryItems(id)),
      ...this.judgingParts,
      actionButton("delete", "delete", say("delete"), () => actions.remove(id)),
      ...this.ending(),
    ];
  }

  /** @returns {(Node | null | false | "")[]} */
  get readingParts() {
    return [
      versionControl(this.message, (...chosen) => this.actions.choose(...chosen)),
      this.message.content && copyButton(() => this.message.content),
      actionButton("retry", "retry", say("regenerate"), () => this.retry()),
    ];
  }

  /** @returns {(Node | null | false | "")[]} */
  get judgingParts() {
    const { id, content, is_flagged: isFlagged } = this.message;
    const flag = () => this.ask("flagReason", "", (text) => this.actions.flag(id, text));
    return [
      content && this.rateButton("rateUp", "thumb-up", 1),
      content && this.rateButton("rateDown", "thumb-down", -1),
      ...measureParts(this.message),
      content && !isFlagged && actionButton("flag", "flag", say("flag"), flag),
    ];
  }

  /** Have the prompt answered again. */
  retry() {
    this.actions.retry(this.message.id);
  }

  /** @param {"rateUp" | "rateDown"} action @param {string} name @param {-1 | 1} rating */
  rateButton(action, name, rating) {
    const { id, rating: present, rating_reason: reason } = this.message;
    const isPressed = present === rating;
    const button = actionButton(action, name, say(action), () => {
      this.actions.rate(id, isPressed ? 0 : rating, "");
      if (isPressed) this.remark?.remove();
      else this.ask("rateReason", reason, (text) => this.actions.rate(id, rating, text));
    });
    button.classList.add("rating");
    button.setAttribute("aria-pressed", String(isPressed));
    return button;
  }

  /**
   * Ask the reader for words under the answer.
   * @param {string} label
   * @param {string} text
   * @param {(text: string) => void} onSend
   */
  ask(label, text, onSend) {
    this.remark?.remove();
    const remark = remarkForm(say(label), text, onSend, () => {
      remark.remove();
      this.element.focus();
    });
    this.remark = remark;
    this.element.append(remark);
    within(remark, "textarea").focus();
  }

  /** How it ended, where that is no matter of course, and the way on. */
  ending() {
    const { content, is_flagged: isFlagged } = this.message;
    const words = [endingOf(this.message), isFlagged && say("flagged")];
    const said = words.filter(Boolean).join(" · ");
    const parts = said ? [make("span", { className: "ending" }, said)] : [];
    if (isCut(this.message) && content) parts.push(this.goOnButton());
    return parts;
  }
}

/** @param {Message} message */
function isCut({ state, finish_reason: reason }) {
  return state === "stopped" || (state === "complete" && reason === "length");
}

/** "All workers are busy. Place 3 of 7 in line · about 40 s"; "" for no place. @param {Place} place */
function placeOf({ position, length, seconds }) {
  if (!position) return "";
  const place = say("waiting", { position: count(position), length: count(length) });
  return seconds === null ? place : `${place} · ${about(seconds)}`;
}

/** @param {Message} message */
function endingOf({ state, content, finish_reason: reason }) {
  if (state === "stopped") return say(reason === "unattended" ? "unattended" : "stopped");
  if (state === "complete" && reason === "content_filter") return say("cutByRule");
  if (state === "complete" && !content.trim()) return say("emptyAnswer");
  return state === "complete" && reason === "length" ? say("cutByLength") : "";
}
