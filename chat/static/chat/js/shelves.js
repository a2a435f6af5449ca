// @ts-check
/** The presets and saved prompts that this user may use; fetched when first needed. */

import { call } from "./requests.js";
import { say } from "./words.js";

/** @typedef {{id: number, name: string, kind: "own" | "team" | "site", shelf: string}} Shared */
/** @typedef {Shared & {text: string}} SavedPrompt */
/** @typedef {Shared & {model: string, setup: import("./setup.js").Setup}} Preset */

export class Shelves {
  /** @param {string} home */
  constructor(home) {
    this.address = `${home}shelves/`;
    /** @type {Promise<{presets: Preset[], prompts: SavedPrompt[]}> | null} */
    this.asked = null;
  }

  /** Asked again after a failure. */
  load() {
    this.asked ??= call("GET", this.address).catch(() => {
      this.asked = null;
      return { presets: [], prompts: [] };
    });
    return this.asked;
  }

  /** @param {object} fields @returns {Promise<Preset>} throws `Refused` */
  async addPreset(fields) {
    const preset = await call("POST", `${this.address}presets/`, fields);
    const { presets } = await this.load();
    presets.push(preset);
    return preset;
  }
}

/** "Yours", the team's name, "Everybody's". @param {Shared} each */
export const shelfOf = (each) =>
  each.kind === "team" ? each.shelf : say(each.kind === "own" ? "shelfOwn" : "shelfSite");
