// @ts-check
/** What the library asks of the server, as JSON. */

import { within } from "../dom.js";
import { say, sayError } from "../words.js";

/** A refusal, worded for the reader. */
export class Refused extends Error {}

const token = () =>
  within(document, "input[name=csrfmiddlewaretoken]", HTMLInputElement).value;

/** Why something that was tried failed, for the reader. @param {unknown} error */
export const reasonOf = (error) => (error instanceof Error ? error.message : String(error));

export class Calls {
  /** @param {string} home the address of the chat */
  constructor(home) {
    this.home = home;
  }

  /** @param {string} id */
  addressOf(id) {
    return `${this.home}c/${id}/`;
  }

  /** @param {string} path @param {Record<string, string>} query @param {AbortSignal} [signal] */
  async get(path, query = {}, signal = undefined) {
    const address = `${this.home}library/api/${path}/?${new URLSearchParams(query)}`;
    return read(await reached(fetch(address, { signal })));
  }

  /** @param {string} path @param {object} body */
  async post(path, body, keepalive = false) {
    const headers = { "Content-Type": "application/json", "X-CSRFToken": token() };
    const content = { method: "POST", headers, body: JSON.stringify(body), keepalive };
    return read(await reached(fetch(`${this.home}library/api/${path}/`, content)));
  }

  /** @param {string} wish @param {object} fields */
  change(wish, fields, keepalive = false) {
    return this.post("change", { do: wish, ...fields }, keepalive);
  }
}

/** The answer; a browser's own words for none are no reader's. @param {Promise<Response>} asked */
async function reached(asked) {
  try {
    return await asked;
  } catch (error) {
    throw new Refused(say("notReached"), { cause: error });
  }
}

/** @param {Response} response @returns {Promise<any>} */
async function read(response) {
  const isJson = response.headers.get("Content-Type")?.includes("json");
  const answer = isJson ? await response.json() : {};
  if (response.ok) return answer;
  const { code = "", message = "" } = answer.error ?? {};
  throw new Refused(sayError(code) || message || say("refused"));
}
