// @ts-check
/** The line that says that the connection is lost; short losses pass unseen. */

import { byId } from "./dom.js";
import { say } from "./words.js";

const PATIENCE = 1_200;

export class ConnectionLine {
  constructor() {
    this.element = byId("connection");
    this.timer = 0;
  }

  lost() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      this.element.textContent = say(navigator.onLine ? "reconnecting" : "offline");
      this.element.hidden = false;
    }, this.element.hidden ? PATIENCE : 0);
  }

  found() {
    clearTimeout(this.timer);
    this.element.hidden = true;
  }
}
