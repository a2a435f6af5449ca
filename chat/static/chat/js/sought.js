// @ts-check
/** The message that the page's address names, such as one that a search found. */

const ID = /^[0-9a-f-]{36}$/;

/** "" for none. */
const idOfAddress = () => {
  const id = new URLSearchParams(location.search).get("message") ?? "";
  return ID.test(id) ? id : "";
};

export class Sought {
  /**
   * @param {object} page
   * @param {import("./transcript.js").Transcript} page.transcript
   * @param {import("./earlier.js").Earlier} page.earlier
   * @param {import("./scrolling.js").Scrolling} page.scrolling
   * @param {(id: string) => boolean} page.choose show the branch that it is on
   */
  constructor({ transcript, earlier, scrolling, choose }) {
    this.transcript = transcript;
    this.earlier = earlier;
    this.scrolling = scrolling;
    this.choose = choose;
    this.id = idOfAddress();
    this.isChosen = false;
  }

  /** Go to it, or ask for what may hold it; to be called whenever more is there. */
  look() {
    if (!this.id) return;
    const view = this.transcript.find(this.id);
    if (view) this.show(view);
    else if (this.earlier.isMore) this.earlier.bring();
    else if (this.isChosen) this.id = ""; // deleted, or of another conversation
    else this.isChosen = this.choose(this.id);
  }

  /** @param {import("./message.js").View} view */
  show(view) {
    this.id = "";
    view.setLight(false);
    this.scrolling.goTo(view.element);
    view.element.focus({ preventScroll: true });
    // Who reloads later is where they read by then.
    history.replaceState(history.state, "", location.pathname);
  }
}
