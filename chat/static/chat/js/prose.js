// @ts-check
/** Markdown whose renderer comes when it is first needed: no first page waits for it. */

/** @type {typeof import("./markdown.js").Markdown | null} */
let Markdown = null;
/** @type {Promise<void> | null} */
let loading = null;

/** Fetch the renderer, so that what comes is shown at once. @returns {Promise<void>} */
export function loadRenderer() {
  loading ??= import("./markdown.js").then(
    (module) => void (Markdown = module.Markdown),
    () => void (loading = null), // without a network, say: the next text tries again
  );
  return loading;
}

export class Prose {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {import("./markdown.js").Markdown | null} */
    this.markdown = null;
    /** @type {[string, boolean] | null} what waits for the renderer */
    this.awaited = null;
  }

  /** As `Markdown.show`. @param {string} text @param {boolean} isWhole */
  show(text, isWhole) {
    if (Markdown) {
      this.awaited = null;
      this.markdown ??= new Markdown(this.element);
      this.markdown.show(text, isWhole);
      return;
    }
    const isAsked = this.awaited !== null;
    this.awaited = [text, isWhole];
    if (!isAsked) loadRenderer().then(() => this.showAwaited());
  }

  showAwaited() {
    if (!this.awaited) return;
    const [text, isWhole] = this.awaited;
    this.awaited = null;
    if (Markdown) this.show(text, isWhole);
    else this.element.textContent = text;
  }
}
