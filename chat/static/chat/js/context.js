// @ts-check
/** How much of the model's context the conversation takes, as of its last answer. */

import { byId } from "./dom.js";
import { count, say } from "./words.js";

const NEARLY = 0.8;

/** @import { Message } from "./message.js" */

/** The tokens that the engine has counted; 0 where it has not. @param {Message[]} messages */
function takenBy(messages) {
  const counted = messages.findLast((message) => message.prompt_tokens);
  return (counted?.prompt_tokens ?? 0) + (counted?.completion_tokens ?? 0);
}

/**
 * @param {Message[]} messages of the path that is shown
 * @param {number} length of the model's context in tokens; 0: unknown
 */
export function showContext(messages, length) {
  const meter = byId("context");
  const taken = takenBy(messages);
  meter.hidden = !taken || !length;
  if (meter.hidden) return;
  const share = Math.min(1, taken / length);
  const words = say("contextTaken", { count: count(taken), length: count(length) });
  byId("context-words").textContent = words;
  byId("context-bar").style.setProperty("--share", String(share));
  meter.classList.toggle("is-nearly-full", share >= NEARLY);
  meter.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  meter.setAttribute("aria-valuetext", words);
}
