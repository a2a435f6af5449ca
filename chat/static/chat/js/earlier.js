// @ts-check
/** Older messages of a long conversation, which come as the reader scrolls up to them. */

import { byId } from "./dom.js";

// So far above what is seen, for the reader not to wait.
const AHEAD = "1500px 0px 0px 0px";

export class Earlier {
  /**
   * @param {import("./transcript.js").Transcript} transcript
   * @param {import("./scrolling.js").Scrolling} scrolling
   * @param {(before: string) => boolean} ask the server; false if that is not possible now
   */
  constructor(transcript, scrolling, ask) {
    this.transcript = transcript;
    this.scrolling = scrolling;
    this.ask = ask;
    this.line = byId("earlier");
    this.isNear = false;
    /** @type {string | null} the message whose predecessors are under way */
    this.asked = null;
    const observer = new IntersectionObserver(
      (entries) => {
        this.isNear = entries[entries.length - 1].isIntersecting;
        this.look();
      },
      { root: scrolling.scroller, rootMargin: AHEAD },
    );
    observer.observe(this.line);
  }

  /** Whether there are messages before the first one shown. @param {boolean} isMore */
  allow(isMore) {
    this.line.hidden = !isMore;
    this.asked = null;
  }

  /** What was asked for over a lost connection does not come. */
  resume() {
    this.asked = null;
    this.look();
  }

  get isMore() {
    return !this.line.hidden;
  }

  look() {
    if (this.isNear) this.bring();
  }

  /** Ask for the messages before the first one shown, once. */
  bring() {
    const { firstId } = this.transcript;
    if (!this.isMore || !firstId || this.asked === firstId) return;
    if (this.ask(firstId)) this.asked = firstId;
  }

  /** @param {import("../../../frontend/types/protocol").EarlierPage} page */
  show({ before, messages, has_earlier: isMore }) {
    const first = this.transcript.views[0];
    if (first?.message.id !== before) return; // another path is shown by now
    this.scrolling.keepInPlace(first.element, () => {
      this.transcript.prepend(messages);
      this.allow(isMore);
    });
    // The line may not have left the view: then the observer says nothing.
    requestAnimationFrame(() => this.look());
  }
}
