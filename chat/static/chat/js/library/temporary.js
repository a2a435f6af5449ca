// @ts-check
/** A temporary conversation: it has no address, and is over when its page is left. */

import { Calls } from "./calls.js";

export class Temporary {
  /** @param {string} home */
  constructor(home) {
    this.calls = new Calls(home);
    this.id = "";
    addEventListener("pagehide", () => this.end());
    // A page that the browser kept shows what is deleted.
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  /** At once, where the browser still lets it; else the server notices by itself. */
  end() {
    const wish = { conversation: this.id };
    if (this.id) this.calls.change("end_temporary", wish, true).catch(() => {});
    this.id = "";
  }
}
