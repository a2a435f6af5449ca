// @ts-check
/** One message of the transcript: a prompt's bubble, or an answer that may still grow. */

import { copyText } from "./clipboard.js";
import { icon, iconButton, make } from "./dom.js";
import { Markdown } from "./markdown.js";
import { count, decimal, hundredth, say, sayError, sayFailure } from "./words.js";

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {"user" | "assistant" | "system"} role
 * @property {string} content
 * @property {string} model
 * @property {"streaming" | "complete" | "stopped" | "interrupted" | "failed"} state
 * @property {string} error
 * @property {string} error_code
 * @property {string} finish_reason
 * @property {number | null} prompt_tokens
 * @property {number | null} completion_tokens
 * @property {number | null} ttft_seconds
 * @property {number | null} duration_seconds
 */

/** A message's view, of the kind that its role asks for. */
export function viewOf(message, actions) {
  return message.role === "assistant"
    ? new AnswerView(message, actions)
    : new PromptView(message);
}

function copyButton(text) {
  const button = iconButton("copy", say("copy"), async () => {
    await copyText(text());
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
  /** @param {Message} message */
  constructor(message) {
    this.message = message;
    const heard = make("h2", { className: "visually-hidden", textContent: say("you") });
    const bubble = make("div", { className: "bubble", textContent: message.content });
    bubble.dir = "auto";
    const foot = make("div", { className: "message-foot" });
    foot.append(copyButton(() => message.content));
    const className = "message message-user";
    this.element = make("article", { className }, heard, bubble, foot);
  }
}

export class AnswerView {
  /**
   * @param {Message} message
   * @param {{retry: (id: string) => void}} actions
   */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.numReceived = 0;
    this.timer = 0;
    this.place = "";
    this.renderMilliseconds = 0;
    this.isPaused = false;
    const byline = make("h2", { className: "byline" }, icon("mark"), message.model);
    this.answer = make("div", { className: "answer" });
    this.markdown = new Markdown(this.answer);
    this.notice = make("div", { className: "notice" });
    this.pause = make("p", { className: "pause-note", role: "status", hidden: true });
    this.foot = make("div", { className: "message-foot" });
    const className = "message message-assistant";
    const parts = [byline, this.answer, this.pause, this.notice, this.foot];
    this.element = make("article", { className }, ...parts);
    this.settle(message);
  }

  get isStreaming() {
    return this.message.state === "streaming";
  }

  get isWaiting() {
    return this.place !== "";
  }

  /**
   * Show the place in line for a worker; position 0: it is this answer's turn.
   * @param {{position: number, length: number, seconds: number | null}} place
   */
  wait(place) {
    this.place = placeOf(place);
    this.render();
  }

  /** Show this as the message's true state: its whole text so far. @param {Message} message */
  settle(message) {
    this.message = message;
    this.numReceived = [...message.content].length; // code points, as the server counts
    this.element.classList.toggle("is-streaming", this.isStreaming);
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
    this.showPlace();
    if (content) {
      this.thinking?.remove();
      this.thinking = null;
      this.markdown.show(content, !this.isStreaming);
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
      const card = this.card("pause", say("interruptedTitle"), say("interruptedText"));
      card.classList.add("card-interrupted");
      this.notice.append(card);
    }
  }

  /** A card with what happened, what to do, and a button that does it. */
  card(name, title, text, detail = "") {
    const words = make("div", { className: "card-text" });
    words.append(make("strong", { textContent: title }), text);
    // The server's own sentence has the numbers and names that the general one lacks.
    if (detail && detail !== text) {
      words.append(make("small", { textContent: detail, lang: "en" }));
    }
    const retry = make("button", { type: "button", className: "button" });
    retry.append(icon("retry", "small"), say("retry"));
    retry.onclick = () => this.actions.retry(this.message.id);
    return make("div", { className: "card" }, icon(name), words, retry);
  }

  showFoot() {
    this.foot.replaceChildren();
    const { state, content } = this.message;
    if (content) this.foot.append(copyButton(() => this.message.content));
    if (state === "complete" || state === "stopped") {
      const regenerate = () => this.actions.retry(this.message.id);
      this.foot.append(iconButton("retry", say("regenerate"), regenerate));
    }
    const ending = endingOf(this.message);
    if (ending) this.foot.append(make("span", { className: "ending" }, ending));
    const measures = measuresOf(this.message);
    if (measures) {
      const read = this.message.prompt_tokens;
      const title = read ? say("promptTokens", { count: count(read) }) : "";
      this.foot.append(make("span", { className: "measures", title }, measures));
    }
  }
}

/** "All workers are busy. Place 3 of 7 in line · about 40 s"; "" for no place. */
function placeOf({ position, length, seconds }) {
  if (!position) return "";
  const place = say("waiting", { position: count(position), length: count(length) });
  if (seconds === null) return place;
  const rounded = Math.max(1, Math.round(seconds));
  const about =
    rounded < 90
      ? say("waitingSeconds", { seconds: count(rounded) })
      : say("waitingMinutes", { minutes: count(Math.round(rounded / 60)) });
  return `${place} · ${about}`;
}

/** @param {Message} message */
function endingOf({ state, content, finish_reason: reason }) {
  if (state === "stopped") return say(reason === "unattended" ? "unattended" : "stopped");
  if (state === "complete" && reason === "content_filter") return say("cutByRule");
  if (state === "complete" && !content.trim()) return say("emptyAnswer");
  return state === "complete" && reason === "length" ? say("cutByLength") : "";
}

/** "212 tokens · first token after 0.42 s · 31.5 tokens/s", as far as it is known. */
function measuresOf(message) {
  const { completion_tokens: tokens, ttft_seconds: ttft } = message;
  const parts = [];
  if (tokens) parts.push(say("tokens", { count: count(tokens) }));
  if (ttft !== null) parts.push(say("ttft", { seconds: hundredth(ttft) }));
  const decoding = (message.duration_seconds ?? 0) - (ttft ?? 0);
  if (tokens > 1 && ttft !== null && decoding > 0.05) {
    parts.push(say("speed", { count: decimal((tokens - 1) / decoding) }));
  }
  return parts.join(" · ");
}
