// @ts-check
/**
 * Markdown that a model writes, shown safely while it grows.
 *
 * The text is cut into its top-level blocks. Only blocks that changed are rendered
 * anew, and only the text from the last settled block on is parsed, so the cost of a
 * delta does not grow with the answer. What a model writes is untrusted: raw HTML is
 * shown as text, and all HTML made here passes DOMPurify.
 */

import { marked } from "../vendor/marked/marked.esm.js";
import purifier from "../vendor/dompurify/purify.es.mjs";
import { CodeBlock } from "./code.js";
import { make } from "./dom.js";
import { mathExtensions, showMath } from "./math.js";
import { say } from "./words.js";

// Some inputs take the parser a time that grows with the square of their length.
// Longer blocks, or deeper ones, are shown as plain text rather than freeze the page.
const LONGEST_BLOCK = 20_000;
const BLOCKS_KEPT_OPEN = 2;
const FENCE_END = /\n {0,3}(?:`{3,}|~{3,})[ \t]*\n*$/;

/** @import { Token, Tokens } from "marked" */

/** @type {import("dompurify").Config & {RETURN_DOM_FRAGMENT: true}} */
const PURIFY = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "input", "li", "ol", "p", "pre", "strong", "table", "tbody", "td", "th",
    "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "checked", "class", "disabled", "href", "start", "title", "type"],
  // A model knows no address of ours: only whole ones of the web, and mail.
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "checked", "class", "disabled", "start", "title", "type"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** @param {string} text */
const escaped = (text) =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

marked.use({
  gfm: true,
  extensions: mathExtensions,
  renderer: {
    html({ text }) {
      return /^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escaped(text);
    },
    // Below the page's own title and the answer's.
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    // A picture from elsewhere would tell its server what was asked: a link instead.
    image({ href, text }) {
      return `<a href="${escaped(href)}">${escaped(text || href)}</a>`;
    },
  },
});

// The classes that are made here: of formulas, and of the languages of nested code.
const CLASSES = /^(?:math(?: math-display)?|language-[\w+#.-]{1,30}|hljs-[\w -]+)$/;

purifier.addHook("afterSanitizeAttributes", (node) => {
  if (!CLASSES.test(node.getAttribute?.("class") ?? "")) node.removeAttribute?.("class");
  if (node.nodeName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.nodeName === "INPUT") {
    node.setAttribute("disabled", "");
    node.setAttribute("aria-label", say(node.hasAttribute("checked") ? "done" : "open"));
    if (node.getAttribute("type") !== "checkbox") node.remove();
  }
});

/** One top-level block and the element that shows it. */
class Block {
  constructor() {
    this.raw = "";
    this.element = make("div", { className: "block" });
    this.element.dir = "auto";
    /** @type {CodeBlock | null} */
    this.code = null;
  }

  /** @param {Token} token */
  show(token) {
    if (token.raw === this.raw) return;
    this.raw = token.raw;
    if (token.type === "code") this.showCode(/** @type {Tokens.Code} */ (token));
    else if (token.type === "plain" || token.raw.length > LONGEST_BLOCK)
      this.showPlain(token.raw);
    else this.showHtml(token);
  }

  /**
   * In place, so that a growing code block keeps its selection and its scrolling.
   * @param {Tokens.Code} token
   */
  showCode({ raw, text, lang }) {
    if (!this.code) {
      this.code = new CodeBlock();
      this.element.replaceChildren(this.code.element);
    }
    const name = (lang ?? "").split(/\s/)[0].slice(0, 30);
    this.code.show(text, name, FENCE_END.test(raw));
  }

  /** @param {string} text */
  showPlain(text) {
    this.code = null;
    this.element.replaceChildren(make("p", { className: "plain", textContent: text }));
  }

  /** @param {Token} token */
  showHtml(token) {
    this.code = null;
    try {
      const fragment = purifier.sanitize(marked.parser([token]), PURIFY);
      this.element.replaceChildren(fragment);
    } catch {
      this.showPlain(token.raw); // nested deeper than the stack
      return;
    }
    for (const table of this.element.querySelectorAll("table")) {
      const frame = make("div", { className: "table-scroll", tabIndex: 0 });
      table.replaceWith(frame);
      frame.append(table);
    }
    for (const pre of this.element.querySelectorAll("pre")) {
      const nested = new CodeBlock();
      const language = pre.firstElementChild?.className.replace("language-", "") ?? "";
      nested.show(pre.textContent, language, false);
      pre.replaceWith(nested.element);
    }
    showMath(this.element);
  }
}

export class Markdown {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    element.classList.add("prose");
    /** @type {Block[]} */
    this.blocks = [];
    this.numSettled = 0;
    this.settledLength = 0;
  }

  /**
   * Show this text, which begins with what was shown before.
   * @param {string} text
   * @param {boolean} isWhole nothing will follow
   */
  show(text, isWhole) {
    const source = text.replace(/\r\n?/g, "\n");
    if (isWhole) this.numSettled = this.settledLength = 0; // links may look ahead
    const tokens = parsed(source.slice(this.settledLength));
    const shown = tokens.filter(isShown);
    if (isWhole && shown.length < tokens.length) this.forget(tokens);
    shown.forEach((token, index) => this.blockAt(this.numSettled + index).show(token));
    const surplus = this.blocks.splice(this.numSettled + shown.length);
    for (const block of surplus) block.element.remove();
    this.settle(source, tokens, shown.at(-BLOCKS_KEPT_OPEN));
  }

  /**
   * Links that are defined anywhere change blocks whose own text stayed the same.
   * @param {Token[]} tokens
   */
  forget(tokens) {
    if (!tokens.some((token) => token.type === "def")) return;
    for (const block of this.blocks) block.raw = "";
  }

  /** @param {number} index */
  blockAt(index) {
    if (!this.blocks[index]) {
      this.blocks[index] = new Block();
      this.element.append(this.blocks[index].element);
    }
    return this.blocks[index];
  }

  /**
   * The last blocks may still change: a list goes on, a line becomes a heading.
   * @param {string} source
   * @param {Token[]} tokens
   * @param {Token} [open] the first of those
   */
  settle(source, tokens, open) {
    if (!open) return;
    for (const token of tokens) {
      if (token === open || !source.startsWith(token.raw, this.settledLength)) return;
      this.settledLength += token.raw.length;
      if (isShown(token)) this.numSettled += 1;
    }
  }
}

/** @param {Token} token */
const isShown = (token) => token.type !== "space" && token.type !== "def";

/** The text's top-level blocks. @param {string} text @returns {Token[]} */
function parsed(text) {
  const plain = { type: "plain", raw: text };
  const longest = Math.max(...text.split(/\n[ \t]*\n/).map((part) => part.length));
  if (longest > LONGEST_BLOCK && !/^ {0,3}(```|~~~)/m.test(text)) return [plain];
  try {
    return marked.lexer(text);
  } catch {
    return [plain]; // nested deeper than the stack
  }
}
