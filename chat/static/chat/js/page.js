// @ts-check
/** The chat page: what the server says goes to its parts, what the reader does goes back. */

import { enableAppearance } from "./appearance.js";
import { ComparePanel } from "./compare_panel.js";
import { Composer } from "./composer.js";
import { ConnectionLine } from "./connection.js";
import { showContext } from "./context.js";
import { byId } from "./dom.js";
import { Earlier } from "./earlier.js";
import { recallMeasures } from "./measures.js";
import { enableMenus } from "./menus.js";
import { MessageActions } from "./message_actions.js";
import { enableMessageKeys } from "./message_keys.js";
import { Models } from "./models.js";
import { Scrolling } from "./scrolling.js";
import { Sidebar } from "./sidebar.js";
import { Socket } from "./socket.js";
import { Transcript } from "./transcript.js";
import { say, sayError } from "./words.js";

const page = JSON.parse(byId("page").textContent);

class ChatPage {
  constructor() {
    this.conversation = page.conversation;
    /** @type {{ref: number, text: string, refused?: () => void} | null} what the server
     * has not taken yet */
    this.asked = null;
    this.numAsked = 0;
    this.sidebar = new Sidebar();
    this.scrolling = new Scrolling();
    this.connection = new ConnectionLine();
    this.actions = new MessageActions({
      ask: (message, on) => this.askAgain(message, on),
      tell: (message) => this.socket.send(message),
      models: () => this.models,
      hideFrom: (id) => this.transcript.hideFrom(id),
    });
    this.transcript = new Transcript(this.actions);
    this.composer = new Composer({
      maxChars: page.maxPromptChars,
      onSend: (text) => this.ask(text),
      onStop: () => this.stop(),
    });
    const chosen = this.conversation?.model ?? "";
    this.models = new Models(page.models, chosen, () => this.refresh());
    this.compare = new ComparePanel(this.models, () => this.refresh());
    this.earlier = new Earlier(this.transcript, this.scrolling, (before) =>
      this.socket.send({ type: "earlier", conversation: this.conversation.id, before }),
    );
    this.transcript.show(null, page.messages, page.comparison);
    this.scrolling.follow();
    this.earlier.allow(page.hasEarlier);
    this.refresh();
    this.socket = new Socket(page.socket, {
      open: () => this.opened(),
      event: (event) => this.on[event.type]?.(event),
      lost: () => this.lost(),
      signedOut: () => this.leave(),
    });
  }

  /** What to do with each kind of event; `chat/protocol.py` lists them. */
  on = {
    models: ({ models }) => this.models.show(models),
    started: ({ ref }) => this.taken(ref),
    conversation: (event) => this.show(event),
    earlier: (event) => this.earlier.show(event),
    waiting: (event) => this.wait(event),
    delta: (event) => this.transcript.append(event) || this.attach(),
    reasoning: (event) => this.transcript.think(event) || this.attach(),
    thought: ({ message, seconds }) => this.transcript.find(message)?.reasoning.end(seconds),
    judged: ({ message, ...opinion }) => this.transcript.find(message)?.judge(opinion),
    moving: ({ message }) => this.transcript.note(message, "moving"),
    moved: ({ message }) => this.transcript.note(message, "moved"),
    settled: ({ message }) => this.settle(message),
    changed: ({ conversation }) => {
      if (conversation === this.conversation?.id) this.attach();
    },
    error: ({ ref, code, message }) => this.refused(ref, sayError(code) || message),
  };

  // -- what the reader does ------------------------------------------------------------

  /** @param {string} text */
  ask(text) {
    const conversation = this.conversation?.id ?? null;
    const asked = this.compare.isOn
      ? { type: "compare", slots: this.compare.slots }
      : { type: "send", model: this.models.chosen };
    if (!this.send({ ...asked, conversation, text }, text)) return;
    this.composer.clear();
    this.transcript.showPending(text);
    this.scrolling.follow();
    this.refresh();
  }

  /** Ask for another answer in this conversation. */
  askAgain(message, { refused = () => this.attach() } = {}) {
    if (!this.send(message, "", refused)) return false;
    this.scrolling.follow();
    this.refresh();
    return true;
  }

  stop() {
    for (const { message } of this.transcript.streaming) {
      this.socket.send({ type: "stop", message: message.id });
    }
  }

  /**
   * @param {object} message
   * @param {string} text to give back if it is refused
   * @param {() => void} [refused] what to do then, where there is no text
   */
  send(message, text, refused) {
    if (this.asked) return false;
    this.numAsked += 1;
    const isSent = this.socket.send({ ...message, ref: this.numAsked });
    if (isSent) this.asked = { ref: this.numAsked, text, refused };
    return isSent;
  }

  // -- what the server says ------------------------------------------------------------

  opened() {
    this.connection.found();
    if (this.conversation) this.attach(this.transcript.lastSettledId);
    this.earlier.resume();
    this.refresh();
  }

  lost() {
    this.connection.lost();
    // Whether it was taken is unknown. In a conversation, attaching will show it.
    if (this.asked && !this.conversation) this.refused(this.asked.ref, "");
    this.refresh();
  }

  /** What was asked before the connection was lost is there, or it goes back. */
  recover() {
    if (!this.asked) return;
    const prompt = this.transcript.lastPrompt;
    if (prompt === this.asked.text || !this.asked.text) this.asked = null;
    else this.refused(this.asked.ref, "");
  }

  /** @param {string | null} [after] */
  attach(after = null) {
    if (!this.conversation) return;
    this.socket.send({ type: "attach", conversation: this.conversation.id, after });
  }

  /** @param {number} ref */
  taken(ref) {
    if (this.asked?.ref === ref) this.asked = null;
  }

  show({ conversation, after, messages, has_earlier: hasEarlier, comparison }) {
    const isNew = this.conversation?.id !== conversation.id;
    this.conversation = conversation;
    if (!this.transcript.show(after, messages, comparison)) {
      this.attach();
      return;
    }
    if (!after && this.transcript.firstId === messages[0]?.id) this.earlier.allow(hasEarlier);
    this.recover();
    this.actions.refocus(this.transcript);
    const address = `${page.home}c/${conversation.id}/`;
    if (isNew) history.pushState(null, "", address);
    document.title = `${conversation.title} · Switchyard`;
    byId("title").textContent = conversation.title;
    byId("title").hidden = false;
    this.models.adopt(conversation.model);
    this.sidebar.touch(conversation, address);
    if (this.transcript.streaming.length) this.announce(say("thinking"));
    else if (after) this.announceEnd(messages.at(-1));
    this.refresh();
  }

  /** The answer's place in line changed: read out when it begins and when it ends. */
  wait(event) {
    const view = this.transcript.find(event.message);
    const isNews = Boolean(view) && view.isWaiting !== event.position > 0;
    view?.wait?.(event);
    if (isNews) this.announce(event.position > 0 ? view.place : say("yourTurn"));
  }

  /** @param {import("./message.js").Message} message */
  settle(message) {
    this.transcript.settle(message);
    this.announceEnd(message);
    this.refresh();
  }

  /** @param {number} ref @param {string} why */
  refused(ref, why) {
    if (this.asked?.ref !== ref) {
      if (why) this.composer.refuse(why);
      return;
    }
    const { text, refused } = this.asked;
    this.asked = null;
    this.transcript.forgetPending();
    if (text) this.composer.giveBack(text);
    else refused?.();
    this.composer.refuse(why);
    this.refresh();
  }

  leave() {
    const here = encodeURIComponent(location.pathname);
    location.assign(`${page.signIn}?next=${here}`);
  }

  // -- what is shown --------------------------------------------------------------------

  refresh() {
    const hasModels = this.models?.models.length > 0;
    const isWriting = this.transcript.streaming.length > 0;
    const canAsk = this.compare?.isOn ? this.compare.isAvailable : this.models?.isAvailable;
    byId("welcome").hidden = !this.transcript.isEmpty;
    byId("welcome-ready").hidden = !hasModels;
    byId("welcome-empty").hidden = hasModels;
    showContext(this.transcript.messages, this.models?.contextLength ?? 0);
    this.composer.allow({
      isBusy: isWriting,
      canSend: !this.asked && Boolean(this.socket?.isOpen) && Boolean(canAsk),
    });
  }

  /** For those who listen: the answer once, when it is whole. */
  announceEnd(message) {
    if (message?.role !== "assistant") return;
    const ending = say(message.state === "complete" ? "answerReady" : "answerStopped");
    this.announce(`${message.content} ${message.error || ending}`);
  }

  /** @param {string} text */
  announce(text) {
    byId("announcer").textContent = text;
  }
}

enableMenus();
enableAppearance();
enableMessageKeys();
recallMeasures();
new ChatPage();
// Going back from a conversation that began here is a new page.
addEventListener("popstate", () => location.reload());
