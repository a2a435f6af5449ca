// @ts-check
/** Says who can read a conversation, where it was sent, and when it goes. */

import { make } from "../dom.js";
import { count, say } from "../words.js";
import { openDialog } from "./dialog.js";

const language = document.documentElement.lang || "en";
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
const lists = new Intl.ListFormat(language);

/**
 * @typedef {object} Readers
 * @property {number} num_links
 * @property {number} num_staff
 * @property {number} num_flags
 * @property {number} flag_days
 * @property {string[]} classifiers
 * @property {{name: string, is_elsewhere: boolean}[]} models
 * @property {string | null} goes_at
 * @property {number} undo_seconds
 */

/** @param {Readers} readers */
const people = ({ num_links, num_staff, num_flags, flag_days }) => [
  say("readersYou"),
  num_links ? say("readersLinks", { count: count(num_links) }) : say("readersNoLinks"),
  num_staff ? say("readersStaff", { count: count(num_staff) }) : say("readersNoStaff"),
  ...(num_flags
    ? [say("readersFlags", { count: count(num_flags), days: count(flag_days) })]
    : []),
  say("readersHost"),
];

/** @param {Readers} readers */
function places({ models, classifiers }) {
  const here = models.filter((each) => !each.is_elsewhere).map(({ name }) => name);
  const elsewhere = models.filter((each) => each.is_elsewhere).map(({ name }) => name);
  /** @type {[string, string[]][]} */
  const sent = [
    ["sentHere", here],
    ["sentElsewhere", elsewhere],
    ["sentClassifiers", classifiers],
  ];
  const named = sent.filter(([, names]) => names.length);
  return named.length
    ? named.map(([key, names]) => say(key, { names: lists.format(names) }))
    : [say("sentNowhere")];
}

/** @param {Readers} readers */
const ends = ({ goes_at, undo_seconds }) => [
  goes_at ? say("goesAt", { date: dates.format(new Date(goes_at)) }) : say("goesNever"),
  undo_seconds
    ? say("goesUndo", { hours: count(Math.round(undo_seconds / 360) / 10) })
    : say("goesAtOnce"),
];

/** @param {string} heading @param {string[]} lines */
const part = (heading, lines) => [
  make("h3", { textContent: say(heading) }),
  make("ul", {}, ...lines.map((textContent) => make("li", { textContent }))),
];

/** Throws `Refused`. @param {import("./calls.js").Calls} calls @param {import("./rows.js").Row} row */
export async function openReadersDialog(calls, row) {
  /** @type {Readers} */
  const readers = await calls.get(`readers/${row.id}`);
  const body = make(
    "div",
    { className: "readers" },
    ...part("readersWho", people(readers)),
    ...part("readersSent", places(readers)),
    ...part("readersEnd", ends(readers)),
  );
  openDialog(say("readersTitle"), body);
}
