// @ts-check
/** Calls to the site's own JSON views, and why one was refused. */

import { say } from "./words.js";

/** The server's answer to what it refuses. */
export class Refused extends Error {
  /** @param {string} message @param {Record<string, string>} fields a sentence for each */
  constructor(message, fields = {}) {
    super(message);
    this.fields = fields;
  }
}

/** Django's token is in each form of the page, and these calls are forms too. */
function token() {
  const field = document.querySelector("input[name=csrfmiddlewaretoken]");
  return field instanceof HTMLInputElement ? field.value : "";
}

/**
 * What a view answers; throws `Refused`, and `TypeError` where the server is not reached.
 * @param {string} method
 * @param {string} path
 * @param {object | FormData | null} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function call(method, path, body = null, signal = undefined) {
  /** @type {Record<string, string>} */
  const headers = { "X-CSRFToken": token(), Accept: "application/json" };
  const isForm = body instanceof FormData;
  if (body && !isForm) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    signal,
    body: isForm ? body : body && JSON.stringify(body),
  });
  const isJson = answer.headers.get("Content-Type")?.startsWith("application/json");
  const said = isJson ? await answer.json() : null;
  if (answer.ok) return said;
  throw new Refused(said?.error?.message ?? say("refused"), said?.fields);
}
