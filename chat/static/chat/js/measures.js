// @ts-check
/** The numbers of an answer, shown under all answers once somebody asks for them. */

import { byId, make } from "./dom.js";
import { recall, remember } from "./memory.js";
import { actionButton } from "./toolbar.js";
import { count, decimal, hundredth, say, significant } from "./words.js";

/** @type {import("../../../frontend/types/protocol").Page} */
const { currency } = JSON.parse(byId("page").textContent);

const CLASS = "shows-measures";

/** @import { Message } from "./message.js" */

/**
 * "212 tokens · first token after 0.42 s · 31.5 tokens/s", as far as it is known.
 * @param {Message} message
 */
function measuresOf(message) {
  const { prompt_tokens: read, completion_tokens: tokens, ttft_seconds: ttft } = message;
  const parts = [];
  if (tokens) parts.push(say("tokens", { count: count(tokens) }));
  if (ttft !== null) parts.push(say("ttft", { seconds: hundredth(ttft) }));
  const decoding = (message.duration_seconds ?? 0) - (ttft ?? 0);
  if (tokens && tokens > 1 && ttft !== null && decoding > 0.05) {
    parts.push(say("speed", { count: decimal((tokens - 1) / decoding) }));
  }
  if (read) parts.push(say("promptTokens", { count: count(read) }));
  if (message.cost) parts.push(`${significant(message.cost)} ${currency}`);
  return parts.join(" · ");
}

const isShown = () => byId("transcript").classList.contains(CLASS);

/** @param {boolean} isOn */
function show(isOn) {
  byId("transcript").classList.toggle(CLASS, isOn);
  for (const button of document.querySelectorAll('[data-action="measures"]')) {
    button.setAttribute("aria-pressed", String(isOn));
  }
}

function toggle() {
  show(!isShown());
  remember("measures", isShown() ? "shown" : "");
}

export function recallMeasures() {
  show(recall("measures") === "shown");
}

/** The numbers, and the button that shows them; [] where none are known. @param {Message} message */
export function measureParts(message) {
  const measures = measuresOf(message);
  if (!measures) return [];
  const button = actionButton("measures", "gauge", say("measures"), toggle);
  button.setAttribute("aria-pressed", String(isShown()));
  return [button, make("p", { className: "measures", textContent: measures })];
}
