// @ts-check
/** Attachments as they are shown: in the tray before they are sent, below their prompt. */

import { icon, make } from "./dom.js";
import { count, say } from "./words.js";

/**
 * @typedef {object} Attached
 * @property {string} id
 * @property {string} name
 * @property {boolean} is_image
 * @property {number} num_bytes
 * @property {number} num_tokens about so many
 * @property {boolean} is_cut its end is not read
 */

const home = () => document.getElementById("composer")?.dataset.home;

/** "" on pages that show a conversation to others. @param {Attached} file */
export function addressOf(file) {
  const place = home();
  return place ? `${place}attachments/${file.id}/` : "";
}

/** @param {Attached} file */
export function factsOf(file) {
  if (file.is_image) return say("kilobytes", { count: count(Math.ceil(file.num_bytes / 1024)) });
  const tokens = say("aboutTokens", { count: count(file.num_tokens) });
  return file.is_cut ? `${tokens} · ${say("onlyBeginning")}` : tokens;
}

/** A picture of it, or an icon. @param {Attached} file */
export function pictureOf(file) {
  const address = addressOf(file);
  if (!file.is_image || !address) return icon(file.is_image ? "image" : "file");
  return make("img", { className: "chip-image", src: address, alt: "", loading: "lazy" });
}

/** @param {Attached} file */
export function wordsOf(file) {
  const name = make("span", { className: "chip-name", textContent: file.name, dir: "auto" });
  const facts = make("small", { textContent: factsOf(file) });
  return make("span", { className: "chip-words" }, name, facts);
}

/** The attachments of a sent prompt, each a download. @param {Attached[]} files */
export function chipsOf(files) {
  const list = make("ul", { className: "chips" });
  list.setAttribute("aria-label", say("attachments"));
  for (const file of files) {
    const address = addressOf(file);
    const parts = [pictureOf(file), wordsOf(file)];
    const chip = address
      ? make("a", { className: "chip", href: address, download: file.name }, ...parts)
      : make("span", { className: "chip" }, ...parts);
    list.append(make("li", {}, chip));
  }
  return list;
}
