// @ts-check
/**
 * Formulas in Markdown: `$…$` where it can be nothing else, `\(…\)`, `$$…$$`, `\[…\]`.
 *
 * The parser leaves `<code class="math">` with the source, which is what one sees until
 * KaTeX is there, and where it fails. KaTeX builds nodes, not HTML: the styles that it
 * sets on them are no inline styles to the page's content policy.
 */

const LONGEST = 3_000;
const KEPT = 300;
// Browsers lay out nested boxes by recursion, and some die of a thousand of them.
const DEEPEST = 250;

// By where it begins. Display formulas have no empty line, as in TeX itself.
const DISPLAY_DOLLARS = /^\$\$(?!\$)((?:\\[^]|(?!\n[ \t]*\n)[^\\$])+)\$\$/;
const DISPLAY_BRACKETS = /^\\\[((?:(?!\\\]|\n[ \t]*\n)[^])+)\\\]/;
const INLINE_BRACKETS = /^\\\(((?:(?!\\\)|\n[ \t]*\n)[^])+)\\\)/;
// No blank inside of the signs, and no figure behind the last: "$5 and $10" is money.
const INLINE_DOLLARS = /^\$(?![\s$])((?:\\[^\n]|[^\\$\n])+)\$(?![\w$])/;

/** Words of prose between two dollar signs: "$5 (about 4 euros in total) and US$". */
const PROSE = /[a-z]{3,}[,.;:]?\s+[a-z]{2,}/i;
const SIGNS = /[\\^_=<>{}+*/|]|^\p{L}['′]*$|^\p{L}\([^()]*\)$|^-?\d+(?:[.,]\d+)*$|^\p{L}\s*-\s*[\p{L}\d]+$/u;

/** @param {string} source between dollar signs */
function isSurelyMath(source) {
  if (/\s$/.test(source)) return false;
  if (/\\[a-z]/i.test(source)) return true;
  return !PROSE.test(source) && SIGNS.test(source);
}

/** @param {RegExp[]} patterns @param {string} text */
function matched(patterns, text) {
  const start = text.slice(0, LONGEST);
  for (const pattern of patterns) {
    const found = pattern.exec(start);
    if (found?.[1].trim()) return { raw: found[0], source: found[1] };
  }
  return null;
}

/** @param {string} text */
const escaped = (text) =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** @import { Tokens, TokenizerAndRendererExtension } from "marked" */

/** @param {Tokens.Generic} token of ours: its source, and whether it stands alone */
function renderer({ source, isDisplay }) {
  return `<code class="math${isDisplay ? " math-display" : ""}">${escaped(source)}</code>`;
}

/** @type {TokenizerAndRendererExtension} */
const block = {
  name: "mathBlock",
  level: "block",
  start: (text) => /\n {0,3}(?:\$\$|\\\[)/.exec(text)?.index,
  tokenizer(text) {
    const indent = /^ {0,3}/.exec(text)?.[0] ?? "";
    const found = matched([DISPLAY_DOLLARS, DISPLAY_BRACKETS], text.slice(indent.length));
    if (!found) return undefined;
    const end = /^[ \t]*(?:\n+|$)/.exec(text.slice(indent.length + found.raw.length));
    if (!end) return undefined; // a paragraph that begins with a formula
    const raw = indent + found.raw + end[0];
    return { type: "mathBlock", raw, source: found.source, isDisplay: true };
  },
  renderer: (token) => `<p>${renderer(token)}</p>`,
};

/** @type {TokenizerAndRendererExtension} */
const inline = {
  name: "mathInline",
  level: "inline",
  start: (text) => /\$|\\[([]/.exec(text)?.index,
  tokenizer(text) {
    const isBracket = text.startsWith("\\");
    const display = matched([isBracket ? DISPLAY_BRACKETS : DISPLAY_DOLLARS], text);
    if (display) return { type: "mathInline", ...display, isDisplay: true };
    const found = matched([isBracket ? INLINE_BRACKETS : INLINE_DOLLARS], text);
    if (!found || (!isBracket && !isSurelyMath(found.source))) return undefined;
    return { type: "mathInline", ...found, isDisplay: false };
  },
  renderer,
};

/** What the Markdown parser is to know. */
export const mathExtensions = [block, inline];

/** @typedef {typeof import("katex").default} Katex */
/** @type {Promise<Katex | null> | null} */
let loading = null;
/** @type {Katex | null} */
let katex = null;
/** @type {Map<string, Node | null>} */
const shown = new Map();

/** KaTeX, its style sheet and, by that, its fonts; null without network. */
function load() {
  loading ??= new Promise((resolve) => {
    const folder = new URL("../vendor/katex/", import.meta.url);
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("katex.min.css", folder).href;
    const script = document.createElement("script");
    script.src = new URL("katex.min.js", folder).href;
    script.onload = () => resolve((katex = window.katex));
    script.onerror = () => resolve(null);
    document.head.append(sheet, script);
  });
  return loading;
}

/** Set the formulas below this element, now or when KaTeX is there. @param {Element} root */
export async function showMath(root) {
  const formulas = root.getElementsByClassName("math");
  if (!formulas.length) return;
  if (!katex && !(await load())) return;
  for (const formula of [...formulas]) {
    const node = nodeOf(formula.textContent ?? "", formula.matches(".math-display"));
    if (node) formula.replaceWith(node);
  }
}

/**
 * The formula as nodes, null where it is none. A growing answer is rendered often: the
 * latest are kept.
 * @param {string} source
 * @param {boolean} displayMode
 */
function nodeOf(source, displayMode) {
  const key = `${displayMode}${source}`;
  if (!shown.has(key)) {
    if (shown.size >= KEPT) shown.clear();
    shown.set(key, rendered(source, displayMode));
  }
  return shown.get(key)?.cloneNode(true);
}

/** @param {string} source @param {boolean} displayMode */
function rendered(source, displayMode) {
  const element = document.createElement(displayMode ? "div" : "span");
  const bounds = { maxExpand: 500, maxSize: 20, trust: false };
  try {
    katex?.render(source, element, {
      displayMode, throwOnError: true, strict: "ignore", ...bounds,
    });
  } catch {
    return null; // no TeX, or more of it than is good: the source stays
  }
  if (depthOf(element) > DEEPEST) return null;
  element.className = displayMode ? "formula-display" : "formula";
  element.dir = "ltr";
  if (displayMode) element.tabIndex = 0; // a long one scrolls
  return element;
}

/** How many elements stand inside of each other. @param {Element} root */
function depthOf(root) {
  let depth = 0;
  /** @type {Element[]} */
  let level = [root];
  while (level.length) {
    depth += 1;
    level = level.flatMap((element) => [...element.children]);
  }
  return depth;
}
