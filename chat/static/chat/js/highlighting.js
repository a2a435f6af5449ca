// @ts-check
/**
 * Colours for code. The highlighter, and each language, is loaded when the first block
 * needs it; painting waits until the page has nothing better to do.
 */

import purifier from "../vendor/dompurify/purify.es.mjs";

// Longer code stays plain: its colours would cost more than they tell.
const LONGEST = 20_000;
// Between two paintings of a growing block passes this many times what one took.
const REST = 20;

/** The files of languages, and by which other names models call them. */
const FILES = {
  bash: "sh zsh", c: "h", cpp: "c++ cc cxx hpp", csharp: "cs c#", css: "", dart: "",
  diff: "patch", dockerfile: "docker", elixir: "ex exs", go: "golang", graphql: "gql",
  haskell: "hs", ini: "toml", java: "", javascript: "js jsx mjs cjs node", json: "jsonc json5",
  julia: "jl", kotlin: "kt kts", latex: "tex", lua: "", makefile: "make mk",
  markdown: "md", nginx: "", objectivec: "objc", perl: "pl", php: "", powershell: "ps1 pwsh",
  protobuf: "proto", python: "py py3 python3 gyp", r: "", ruby: "rb", rust: "rs",
  scala: "", scss: "sass", shell: "console shell-session", sql: "mysql postgresql postgres sqlite",
  swift: "", typescript: "ts tsx mts cts", vim: "", xml: "html htm xhtml svg vue rss plist",
  yaml: "yml",
};
const fileOf = new Map(
  Object.entries(FILES).flatMap(([file, names]) =>
    [file, ...names.split(" ").filter(Boolean)].map((name) => [name, file]),
  ),
);

/** @type {import("dompurify").Config & {RETURN_DOM_FRAGMENT: true}} */
const PURIFY = {
  ALLOWED_TAGS: ["span"],
  ALLOWED_ATTR: ["class"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
/** @import { Highlighter } from "../vendor/highlight/core.min.js" */

/**
 * The highlighter, which knows the language of this file by then.
 * @param {string} file
 * @returns {Promise<Highlighter>}
 */
async function load(file) {
  const [{ default: highlighter }, { default: grammar }] = await Promise.all([
    import("../vendor/highlight/core.min.js"),
    import(`../vendor/highlight/languages/${file}.min.js`),
  ]);
  if (!highlighter.getLanguage(file)) highlighter.registerLanguage(file, grammar);
  return highlighter;
}

/** @param {() => void} work */
function whenIdle(work) {
  // Safari has no such call.
  if ("requestIdleCallback" in window) requestIdleCallback(work, { timeout: 1000 });
  else setTimeout(work, 50);
}

/** One block's code, which may grow; what is not yet painted is there as plain text. */
export class Colours {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.text = "";
    this.file = "";
    this.painted = "";
    this.tail = document.createTextNode("");
    this.isDue = false;
    this.rest = 0;
    element.append(this.tail);
  }

  /** @param {string} text @param {string} language as the model calls it */
  show(text, language) {
    const file = fileOf.get(language.toLowerCase()) ?? "";
    if (file !== this.file || !text.startsWith(this.painted)) {
      this.painted = "";
      this.element.replaceChildren(this.tail);
    }
    this.file = file;
    this.text = text;
    this.tail.data = text.slice(this.painted.length);
    this.schedule();
  }

  get isPlain() {
    return !this.file || this.text.length > LONGEST;
  }

  schedule() {
    if (this.isDue || this.isPlain || this.painted === this.text) return;
    this.isDue = true;
    setTimeout(() => whenIdle(() => this.paint()), this.rest);
  }

  async paint() {
    const { file } = this;
    try {
      const highlighter = await load(file);
      if (file === this.file && !this.isPlain) this.colour(highlighter);
      this.isDue = false;
      this.schedule();
    } catch {
      // No network, or the grammar failed on this code: it stays plain.
    }
  }

  /** @param {Highlighter} highlighter */
  colour(highlighter) {
    const began = performance.now();
    const { text } = this;
    const { value } = highlighter.highlight(text, { language: this.file });
    this.element.replaceChildren(purifier.sanitize(value, PURIFY), this.tail);
    this.tail.data = "";
    this.painted = text;
    this.rest = (performance.now() - began) * REST;
  }
}
