// @ts-check
/** The fleet's websocket: opened again whenever it is lost, sooner or later. */

const NOT_ALLOWED = 4401;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;

export class LiveSocket {
  /**
   * @param {string} path
   * @param {(message: import("../../../../chat/frontend/types/fleet").Told) => void} onMessage
   * @param {(state: import("../../../../chat/frontend/types/fleet").Link) => void} onState
   */
  constructor(path, onMessage, onState) {
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.onMessage = onMessage;
    this.onState = onState;
    this.wait = FIRST_WAIT;
    this.timer = 0;
    /** @type {WebSocket | null} */
    this.socket = null;
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    addEventListener("online", () => this.hurry());
    this.connect();
  }

  /** @param {object} message */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  hurry() {
    if (this.socket) return;
    clearTimeout(this.timer);
    this.connect();
  }

  connect() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => {
      this.wait = FIRST_WAIT;
      this.onState("connected");
    };
    socket.onmessage = (event) => this.onMessage(JSON.parse(event.data));
    socket.onclose = (event) => {
      this.socket = null;
      if (event.code === NOT_ALLOWED) return this.onState("signedOut");
      this.onState("away");
      this.timer = window.setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
      return undefined;
    };
  }
}
