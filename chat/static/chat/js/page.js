// @ts-check
/** The chat page: what the server says goes to its parts, what the reader does goes back. */

import { enableAppearance } from "./appearance.js";
import { Attachments } from "./attachments.js";
import { commandsOf } from "./commands.js";
import { ComparePanel } from "./compare_panel.js";
import { Composer } from "./composer.js";
import { ConnectionLine } from "./connection.js";
import { showContext } from "./context.js";
import { byId } from "./dom.js";
import { Drafts } from "./drafts.js";
import { Earlier } from "./earlier.js";
import { Temporary } from "./library/temporary.js";
import { recallMeasures } from "./measures.js";
import { enableMenus } from "./menus.js";
import { MessageActions } from "./message_actions.js";
import { enableMessageKeys } from "./message_keys.js";
import { Models, modelOfAddress } from "./models.js";
import { Nearness } from "./nearness.js";
import { loadRenderer } from "./prose.js";
import { PromptQueue } from "./queue.js";
import { Refused } from "./requests.js";
import { Room } from "./room.js";
import { Scrolling } from "./scrolling.js";
import { SetupPanel } from "./setup.js";
import { Shelves } from "./shelves.js";
import { Shortcuts } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { SlashMenu } from "./slash.js";
import { Socket } from "./socket.js";
import { Sought } from "./sought.js";
import { Transcript } from "./transcript.js";
import { VariablesForm } from "./variables.js";
import { say, sayError } from "./words.js";

/**
 * @import {
 *   Asking, Conversation, EarlierPage, Events, Handlers, Page, Path, Place, ServerEvent,
 * } from "../../../frontend/types/protocol"
 * @import { Message } from "./message.js"
 * @import { Prompt } from "./queue.js"
 */

/** @type {Page} */
const page = JSON.parse(byId("page").textContent);

/** What the operators call the site. */
function siteName() {
  return document.querySelector('meta[name="application-name"]')?.getAttribute("content") ?? "";
}

class ChatPage {
  constructor() {
    /** @type {Conversation | null} */
    this.conversation = page.conversation;
    /** @type {{ref: number, prompt: Prompt | null, refused?: () => void} | null} what the
     * server has not taken yet */
    this.asked = null;
    this.numAsked = 0;
    this.sidebar = new Sidebar((id, title) => this.retitle(id, title));
    this.temporary = page.isTemporary ? new Temporary(page.home) : null;
    this.scrolling = new Scrolling();
    this.connection = new ConnectionLine();
    this.actions = new MessageActions({
      ask: (message, on) => this.askAgain(message, on),
      tell: (message) => this.socket.send(message),
      insist: (message) => this.socket.insist(message),
      models: () => this.models,
      hideFrom: (id) => this.transcript.hideFrom(id),
    });
    const nearness = new Nearness(this.scrolling.scroller);
    this.transcript = new Transcript(this.actions, nearness);
    const conversation = () => this.conversation?.id ?? null;
    this.shelves = new Shelves(page.home);
    this.setup = new SetupPanel({
      home: page.home,
      setup: page.setup,
      conversation,
      shelves: this.shelves,
      onModel: (name) => this.models.pick(name),
    });
    const chosen = modelOfAddress() || (this.conversation?.model ?? "");
    this.models = new Models(page.models, chosen, () => this.refresh());
    this.compare = new ComparePanel(this.models, () => this.refresh());
    this.earlier = new Earlier(this.transcript, this.scrolling, (before) =>
      this.askEarlier(before),
    );
    const { transcript, earlier, scrolling } = this;
    /** @param {string} message */
    const choose = (message) => this.socket.send({ type: "choose", message });
    this.sought = new Sought({ transcript, earlier, scrolling, choose });
    this.transcript.show(null, page.messages, page.comparison);
    this.compose(conversation);
    // Who reloads while an answer is written goes on; who comes back later decides.
    if (!transcript.streaming.length) this.composer.queue.hold();
    this.scrolling.follow();
    this.earlier.allow(page.hasEarlier);
    this.refresh();
    this.socket = new Socket(page.socket, {
      open: () => this.opened(),
      event: (event) => this.hear(event),
      lost: () => this.lost(),
      signedOut: () => this.leave(),
    });
  }

  /** @param {() => string | null} conversation */
  compose(conversation) {
    const room = new Room(this.models, this.setup, this.transcript);
    const drafts = new Drafts(page.user, conversation, !page.isTemporary);
    /** @type {Attachments} */
    this.attachments = new Attachments({
      home: page.home,
      maxFiles: page.maxAttachments,
      maxBytes: page.maxAttachmentBytes,
      reader: () => room.reader(this.composer?.input.value ?? ""),
      onChange: () => this.composer?.filesChanged(),
    });
    /** @type {Composer} */
    this.composer = new Composer({
      maxChars: page.maxPromptChars,
      attachments: this.attachments,
      queue: new PromptQueue(drafts, () => this.refresh()),
      drafts,
      onSend: (prompt) => this.ask(prompt),
      onStop: () => this.stop(),
    });
    const shortcuts = new Shortcuts({
      o: () => this.begin(),
      m: () => this.models.open(),
      i: () => this.setup.open(),
      x: () => this.stop(),
      y: () => this.composer.input.focus(),
    });
    this.enableCommands(shortcuts);
  }

  /** @param {Shortcuts} shortcuts */
  enableCommands(shortcuts) {
    const { models, setup, shelves, attachments } = this;
    const variables = new VariablesForm();
    /** @param {unknown} error */
    const tell = (error) =>
      this.composer.refuse(error instanceof Refused ? error.message : say("notSaved"));
    const commands = commandsOf({
      models,
      setup,
      shelves,
      attachments,
      shortcuts,
      insert: async ({ name, text }) => {
        const filled = await variables.ask(name, text);
        if (filled !== null) this.composer.insert(filled);
      },
      apply: (preset) => setup.apply(preset).catch(tell),
      instruct: (text) => setup.instruct(text).catch(tell),
      manage: page.canManageShelves
        ? (kind) => location.assign(`${page.home}saved/${kind}/`)
        : null,
      begin: () => this.begin(),
      stop: () => this.stop(),
    });
    this.slash = new SlashMenu(commands);
  }

  begin() {
    location.assign(page.home);
  }

  /** @param {ServerEvent} event one of a newer server may be unknown here */
  hear(event) {
    /** @type {((event: any) => unknown) | undefined} */
    const handler = this.on[event.type];
    handler?.(event);
  }

  /** @type {Handlers} what to do with each kind of event */
  on = {
    models: ({ models }) => this.models.show(models),
    started: ({ ref }) => this.taken(ref),
    conversation: (event) => this.show(event),
    earlier: (event) => {
      this.earlier.show(event);
      this.sought.look();
    },
    waiting: (event) => this.wait(event),
    delta: (event) => this.transcript.append(event) || this.attach(),
    reasoning: (event) => this.transcript.think(event) || this.attach(),
    thought: ({ message, seconds }) => this.transcript.findAnswer(message)?.reasoning.end(seconds),
    judged: ({ message, ...opinion }) => this.transcript.findAnswer(message)?.judge(opinion),
    moving: ({ message }) => this.transcript.note(message, "moving"),
    moved: ({ message }) => this.transcript.note(message, "moved"),
    settled: ({ message }) => this.settle(message),
    titled: ({ conversation, title }) => this.sidebar.retitle(conversation, title),
    changed: ({ conversation }) => {
      if (conversation === this.conversation?.id) this.attach();
    },
    error: ({ ref, code, message }) => this.refused(ref, sayError(code) || message),
  };

  // -- what the reader does ------------------------------------------------------------

  /** @param {Prompt} prompt */
  ask(prompt) {
    loadRenderer(); // the answer will want it
    const conversation = this.conversation?.id ?? null;
    const setup = conversation ? {} : this.setup.setup;
    const attachments = prompt.files.map((file) => file.id);
    const { text } = prompt;
    const is_temporary = page.isTemporary;
    const wish = { conversation, text, setup, attachments, is_temporary };
    /** @type {Asking} */
    const asking = this.compare.isOn
      ? { type: "compare", slots: this.compare.slots, ...wish }
      : { type: "send", model: this.models.chosen, ...wish };
    if (!this.send(asking, prompt)) {
      this.composer.giveBack(prompt);
      return;
    }
    this.transcript.showPending(text, prompt.files);
    this.scrolling.follow();
    this.refresh();
  }

  /**
   * Ask for another answer in this conversation.
   * @param {Asking} message
   * @param {{refused?: () => void}} [on]
   */
  askAgain(message, { refused = () => this.attach() } = {}) {
    if (!this.send(message, null, refused)) return false;
    this.scrolling.follow();
    this.refresh();
    return true;
  }

  /** @param {string} before @returns {boolean} whether it was asked */
  askEarlier(before) {
    if (!this.conversation) return false;
    return this.socket.send({ type: "earlier", conversation: this.conversation.id, before });
  }

  stop() {
    this.composer.refuse("");
    for (const { message } of this.transcript.streaming) {
      this.socket.insist({ type: "stop", message: message.id });
    }
  }

  /**
   * @param {Asking} message
   * @param {Prompt | null} prompt to give back if it is refused
   * @param {() => void} [refused] what to do then, where there is no prompt
   */
  send(message, prompt, refused) {
    if (this.asked) return false;
    this.numAsked += 1;
    const isSent = this.socket.send({ ...message, ref: this.numAsked });
    if (!isSent) return false;
    this.asked = { ref: this.numAsked, prompt, refused };
    this.composer.refuse(""); // what was refused before is history
    return true;
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
    const { prompt } = this.asked;
    if (!prompt || prompt.text === this.transcript.lastPrompt) this.asked = null;
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

  /** @param {Path} path */
  show({ conversation, after, messages, has_earlier: hasEarlier, comparison }) {
    const isNew = this.conversation?.id !== conversation.id;
    const isAskedOther = this.conversation?.model !== conversation.model;
    this.conversation = conversation;
    if (!this.transcript.show(after, messages, comparison)) {
      this.attach();
      return;
    }
    if (!after && this.transcript.firstId === messages[0]?.id) this.earlier.allow(hasEarlier);
    this.recover();
    this.actions.refocus(this.transcript);
    // What was chosen since the last answer stays chosen.
    if (isAskedOther) this.models.adopt(conversation.model);
    if (this.temporary) {
      this.temporary.id = conversation.id;
    } else {
      if (isNew) history.pushState(null, "", `${page.home}c/${conversation.id}/`);
      document.getElementById("temporary")?.remove(); // only a new chat can become one
      this.sidebar.touch(conversation);
    }
    this.retitle(conversation.id, conversation.title);
    if (this.transcript.streaming.length) this.announce(say("thinking"));
    else if (after) this.announceEnd(messages.at(-1));
    this.refresh();
    this.sought.look();
  }

  /**
   * The answer's place in line changed: read out when it begins and when it ends.
   * @param {Events["waiting"]} event
   */
  wait(event) {
    const view = this.transcript.findAnswer(event.message);
    if (!view) return;
    const isNews = view.isWaiting !== event.position > 0;
    view.wait(event);
    if (isNews) this.announce(event.position > 0 ? view.place : say("yourTurn"));
  }

  /** @param {Message} message */
  settle(message) {
    this.transcript.settle(message);
    if (message.state === "failed") this.composer.queue.hold();
    this.announceEnd(message);
    this.refresh();
  }

  /** @param {number} ref @param {string} why */
  refused(ref, why) {
    if (this.asked?.ref !== ref) {
      if (why) this.composer.refuse(why);
      return;
    }
    const { prompt, refused } = this.asked;
    this.asked = null;
    this.transcript.forgetPending();
    this.composer.queue.hold();
    if (prompt) this.composer.giveBack(prompt);
    else refused?.();
    this.composer.refuse(why);
    this.refresh();
  }

  leave() {
    const here = encodeURIComponent(location.pathname);
    location.assign(`${page.signIn}?next=${here}`);
  }

  /** @param {string} id @param {string} title */
  retitle(id, title) {
    if (id !== this.conversation?.id) return;
    document.title = `${title} · ${siteName()}`;
    byId("title").textContent = title;
    byId("title").hidden = false;
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
    this.composer?.allow({
      isBusy: isWriting,
      canSend: !this.asked && Boolean(this.socket?.isOpen) && Boolean(canAsk),
    });
  }

  /** For those who listen: the answer once, when it is whole. @param {Message} [message] */
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
if (page.conversation) await loadRenderer(); // its text is shown at once, as it will stay
new ChatPage();
// Going back from a conversation that began here is a new page.
addEventListener("popstate", () => location.reload());
