// @ts-check
/** The page's words in the reader's language, and small formats of numbers. */

/** @type {Record<string, string>} */
const words = JSON.parse(document.getElementById("words")?.textContent ?? "{}");
const language = document.documentElement.lang || "en";

/**
 * The words for `key`, with `{name}` filled in.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function say(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** What an error code means in the reader's words; "" for an unknown one. @param {string} code */
export function sayError(code) {
  return words[`error.${code}`] ?? "";
}

/** What happened, as a title; the usual one for a code of no own. @param {string} code */
export function sayFailure(code) {
  return words[`failed.${code}`] ?? say("failedTitle");
}

const counts = new Intl.NumberFormat(language);
const decimals = new Intl.NumberFormat(language, {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const hundredths = new Intl.NumberFormat(language, {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
const significants = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });

/** @param {number} number */
export const count = (number) => counts.format(number);
/** @param {number} number */
export const decimal = (number) => decimals.format(number);
/** @param {number} number */
export const hundredth = (number) => hundredths.format(number);
/** @param {number} number */
export const significant = (number) => significants.format(number);

/** "about 40 s", "about 3 min". @param {number} seconds */
export function about(seconds) {
  const rounded = Math.max(1, Math.round(seconds));
  return rounded < 90
    ? say("waitingSeconds", { seconds: count(rounded) })
    : say("waitingMinutes", { minutes: count(Math.round(rounded / 60)) });
}
