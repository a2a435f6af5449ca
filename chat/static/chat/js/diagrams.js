// @ts-check
/**
 * Mermaid diagrams. The renderer lives in a frame of its own without our origin, cookies
 * or network (`diagram_frame.js`); what it draws is shown as a picture, in which nothing
 * runs. A diagram that fails, or takes too long, stays as its source.
 */

import { make } from "./dom.js";
import { say } from "./words.js";

const LONGEST = 20_000;
const PATIENCE = 20_000;
const LARGEST = 20_000;

const isDark = matchMedia("(prefers-color-scheme: dark)");

/** @param {string} language */
export const canDraw = (language) => language === "mermaid" && Boolean(frameAddress());

function frameAddress() {
  return document.body.dataset.diagrams ?? "";
}

function theme() {
  const chosen = document.documentElement.dataset.theme;
  return (chosen ?? (isDark.matches ? "dark" : "light")) === "dark" ? "dark" : "default";
}

/** The one frame of the page, which draws one diagram at a time. */
class Renderer {
  constructor() {
    /** @type {HTMLIFrameElement | null} */
    this.frame = null;
    /** @type {Promise<void>} */
    this.ready = Promise.resolve();
    /** @type {Promise<unknown>} */
    this.last = Promise.resolve();
  }

  /**
   * The picture, or null for what is no diagram.
   * @param {string} source
   * @returns {Promise<Picture | null>}
   */
  draw(source) {
    const drawn = this.last.then(() => this.ask(source));
    this.last = drawn;
    return drawn;
  }

  open() {
    if (this.frame) return;
    const frame = make("iframe", { className: "diagram-frame", tabIndex: -1 });
    frame.setAttribute("sandbox", "allow-scripts");
    frame.setAttribute("aria-hidden", "true");
    frame.title = say("diagram");
    this.ready = new Promise((resolve) => frame.addEventListener("load", () => resolve()));
    frame.src = frameAddress();
    document.body.append(frame);
    this.frame = frame;
  }

  /** @param {string} source */
  async ask(source) {
    this.open();
    const channel = new MessageChannel();
    const answer = new Promise((resolve) => {
      channel.port1.onmessage = ({ data }) => resolve(data);
      setTimeout(() => resolve(undefined), PATIENCE);
    });
    // A frame that hangs while it loads must not hold up the rest either.
    await Promise.race([this.ready, answer]);
    // The frame's origin is opaque: there is no name to address it by.
    this.frame?.contentWindow?.postMessage({ source, theme: theme() }, "*", [channel.port2]);
    const picture = await answer;
    channel.port1.close();
    if (picture === undefined) this.close();
    return isPicture(picture) ? picture : null;
  }

  /** A frame that hangs is thrown away. */
  close() {
    this.frame?.remove();
    this.frame = null;
  }
}

/** @typedef {{svg: string, width: number, height: number}} Picture */

/** @param {unknown} size */
const isSize = (size) => typeof size === "number" && size > 0 && size < LARGEST;

/**
 * Whether the frame, which a diagram may have taken over, answered with a picture.
 * @param {any} answer
 * @returns {answer is Picture}
 */
const isPicture = (answer) =>
  typeof answer?.svg === "string" && isSize(answer.width) && isSize(answer.height);

const renderer = new Renderer();
/** @type {Set<WeakRef<Diagram>>} */
const drawn = new Set();

export class Diagram {
  /**
   * @param {string} source
   * @param {{element: HTMLElement, pre: HTMLElement, buttons: HTMLElement}} block
   */
  constructor(source, block) {
    this.source = source;
    this.block = block;
    this.image = make("img", { className: "diagram", alt: say("diagram"), hidden: true });
    this.button = make("button", { type: "button", hidden: true });
    this.button.onclick = () => this.show(Boolean(this.image.hidden));
    block.buttons.prepend(this.button);
    block.element.append(this.image);
    drawn.add(new WeakRef(this));
    this.draw();
  }

  async draw() {
    if (this.source.length > LONGEST) return;
    const picture = await renderer.draw(this.source);
    if (!picture) return;
    this.image.width = Math.ceil(picture.width);
    this.image.height = Math.ceil(picture.height);
    this.image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture.svg)}`;
    if (this.button.hidden) this.show(true);
  }

  /** The picture, or its source. @param {boolean} isPictured */
  show(isPictured) {
    this.image.hidden = !isPictured;
    this.block.pre.hidden = isPictured;
    this.button.hidden = false;
    this.button.textContent = say(isPictured ? "diagramSource" : "diagram");
  }

  remove() {
    this.image.remove();
    this.button.remove();
    this.block.pre.hidden = false;
  }

  get isGone() {
    return !this.image.isConnected;
  }
}

/** Light pictures on a dark page are hard on the eyes. */
function redraw() {
  for (const each of drawn) {
    const diagram = each.deref();
    if (!diagram || diagram.isGone) drawn.delete(each);
    else diagram.draw();
  }
}

isDark.addEventListener("change", redraw);
new MutationObserver(redraw).observe(document.documentElement, {
  attributeFilter: ["data-theme"],
});
