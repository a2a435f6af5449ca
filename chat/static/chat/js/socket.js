// @ts-check
/** The websocket: opened again whenever it is lost, sooner or later. */

/** @import { ClientMessage, ServerEvent } from "../../../frontend/types/protocol" */

const SIGNED_OUT = 4401;
const FIRST_WAIT = 400;
const LONGEST_WAIT = 10_000;
const PING_EVERY = 25_000;
const ANSWER_WITHIN = 10_000;

export class Socket {
  /**
   * @param {string} path
   * @param {object} on
   * @param {() => void} on.open
   * @param {(event: ServerEvent) => void} on.event
   * @param {() => void} on.lost
   * @param {() => void} on.signedOut
   */
  constructor(path, on) {
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.on = on;
    this.wait = FIRST_WAIT;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {ClientMessage[]} */
    this.insisted = [];
    this.timer = 0;
    this.pinging = 0;
    this.silence = 0;
    // A laptop that wakes or a phone that finds its network need not wait.
    addEventListener("online", () => this.hurry());
    // Whether it is lost, too: a server on this machine is there without a network.
    addEventListener("offline", () => this.ping());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    this.connect();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {ClientMessage} message @returns {boolean} whether it was sent */
  send(message) {
    if (!this.socket || !this.isOpen) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Send it now, or as soon as there is a connection. @param {ClientMessage} message */
  insist(message) {
    if (!this.send(message)) this.insisted.push(message);
  }

  hurry() {
    if (this.isOpen) return this.ping();
    if (this.socket) return undefined;
    clearTimeout(this.timer);
    return this.connect();
  }

  connect() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    // A network that swallows everything leaves it to wait for minutes.
    this.expect(socket);
    socket.onopen = () => {
      clearTimeout(this.silence);
      this.wait = FIRST_WAIT;
      this.pinging = window.setInterval(() => this.ping(), PING_EVERY);
      this.on.open();
      for (const message of this.insisted.splice(0)) this.insist(message);
    };
    socket.onmessage = (message) => {
      clearTimeout(this.silence);
      const event = JSON.parse(message.data);
      if (event.type !== "pong") this.on.event(event);
    };
    socket.onclose = (closing) => {
      if (this.socket === socket) this.lose(closing.code);
    };
  }

  /** A connection can be dead for minutes before a browser says so. */
  ping() {
    if (this.socket && this.send({ type: "ping" })) this.expect(this.socket);
  }

  /** Give it up if nothing is heard of it for a while. @param {WebSocket} socket */
  expect(socket) {
    clearTimeout(this.silence);
    this.silence = window.setTimeout(() => {
      if (this.socket !== socket) return;
      socket.close();
      this.lose(0);
    }, ANSWER_WITHIN);
  }

  /** @param {number} code */
  lose(code) {
    this.socket = null;
    clearInterval(this.pinging);
    clearTimeout(this.silence);
    if (code === SIGNED_OUT) return this.on.signedOut();
    this.on.lost();
    // Apart from each other: after a restart all pages come back at once.
    const wait = this.wait * (0.5 + Math.random());
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    this.timer = window.setTimeout(() => this.connect(), wait);
    return undefined;
  }
}
