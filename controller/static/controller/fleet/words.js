// @ts-check
/** What the page begins with, in the operator's language, and how numbers are written. */

/** @type {import("../../../../chat/frontend/types/fleet").Page} */
export const page = JSON.parse(document.getElementById("fleet-page")?.textContent ?? "{}");
export const words = page.words;

const language = document.documentElement.lang || "en";
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
const ratio = (/** @type {number | null} */ value) => (value === null ? "–" : percent.format(value));

export const write = {
  whole: (/** @type {number} */ value) => whole.format(value),
  short: (/** @type {number | null} */ value) => (value === null ? "–" : short.format(value)),
  ratio,
  seconds: (/** @type {number | null} */ value) => (value === null ? "–" : words.seconds.replace("%s", short.format(value))),
};

/** How far the server's clock is ahead of ours. */
let ahead = page.now - Date.now() / 1000;

/** @param {number} now the server's */
export function setClock(now) {
  ahead = now - Date.now() / 1000;
}

/** How long ago that was, as in `3 s`. @param {number} moment UNIX seconds */
export function since(moment) {
  const seconds = Math.max(0, Math.floor(Date.now() / 1000 + ahead - moment));
  const { durations } = words;
  const [size, text] = durations.find((each) => seconds >= each[0]) ?? durations[durations.length - 1];
  return text.replace("%d", String(Math.floor(seconds / size)));
}

/** @param {number} moment */
export const ago = (moment) => words.ago.replace("%s", since(moment));
