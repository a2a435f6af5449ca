// @ts-check
/** What readers do to messages: each becomes one message to the server. */

import { byId, seek } from "./dom.js";
import { offerUndo } from "./undo.js";
import { say } from "./words.js";

/** @import { Asking, ClientMessage, Outcome } from "../../../frontend/types/protocol" */

export class MessageActions {
  /**
   * @param {object} page
   * @param {(message: Asking, on?: {refused?: () => void}) => boolean} page.ask to be
   *   answered by a new path
   * @param {(message: ClientMessage) => boolean} page.tell
   * @param {(message: ClientMessage) => void} page.insist
   * @param {() => import("./models.js").Models} page.models
   * @param {(id: string) => void} page.hideFrom
   */
  constructor(page) {
    this.page = page;
    /** @type {{id: string, action: string} | null} who chose it wants to go on there */
    this.chosen = null;
  }

  /**
   * Another answer beside this one.
   * @param {string} id
   * @param {string} [model] the one that is picked if not given; "": the answer's own
   */
  retry(id, model = this.pickedModel) {
    if (this.page.ask({ type: "retry", message: id, model })) this.page.hideFrom(id);
  }

  /** The models that can answer again. @param {string} id @returns {import("./popup.js").Item[]} */
  retryItems(id) {
    return this.page.models().models.map(({ name, description }) => ({
      label: name,
      detail: description,
      onChoose: () => this.retry(id, name),
    }));
  }

  get pickedModel() {
    const models = this.page.models();
    return models.isAvailable ? models.chosen : "";
  }

  /** Ask the prompt anew. @param {import("./message.js").PromptView} view @param {string} text */
  edit({ message: { id }, editor }, text) {
    const model = this.page.models().chosen;
    const refused = () => editor?.hold(false);
    if (this.page.ask({ type: "edit", message: id, text, model }, { refused })) editor?.hold(true);
  }

  /** Have an answer that was cut go on. @param {string} id */
  goOn(id) {
    this.page.ask({ type: "continue", message: id, text: say("goOnPrompt") });
  }

  /** End this answer, whatever others do. @param {string} id */
  stop(id) {
    this.page.insist({ type: "stop", message: id });
  }

  /** Show another version. @param {string} id @param {string} action */
  choose(id, action) {
    if (this.page.tell({ type: "choose", message: id })) this.chosen = { id, action };
  }

  /**
   * Of the answers side by side one is the best, or none.
   * @param {string} prompt
   * @param {Outcome} outcome
   * @param {string | null} winner
   */
  vote(prompt, outcome, winner) {
    this.page.insist({ type: "vote", prompt, outcome, winner });
  }

  /** Take a message away, with all that followed. @param {string} id */
  remove(id) {
    if (!this.page.tell({ type: "delete", message: id })) return;
    byId("scroller").focus({ preventScroll: true }); // its button is gone
    offerUndo(say("deleted"), () => this.page.tell({ type: "restore", message: id }));
  }

  /** @param {string} id @param {-1 | 0 | 1} rating @param {string} reason */
  rate(id, rating, reason) {
    this.page.insist({ type: "rate", message: id, rating, reason });
  }

  /** @param {string} id @param {string} reason */
  flag(id, reason) {
    this.page.insist({ type: "flag", message: id, reason });
  }

  /**
   * After a new path: who moved between versions by keyboard is still there.
   * @param {import("./transcript.js").Transcript} transcript
   */
  refocus(transcript) {
    if (!this.chosen) return;
    const { id, action } = this.chosen;
    const view = transcript.find(id);
    if (view) seek(view.element, `[data-action="${action}"]`)?.focus();
    this.chosen = null;
  }
}
