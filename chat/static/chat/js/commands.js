// @ts-check
/** What can be asked of the page by a line that begins with a slash. */

import { shelfOf } from "./shelves.js";
import { say } from "./words.js";

/**
 * @typedef {object} Choice something that a command can be followed by
 * @property {string} name
 * @property {string} [hint]
 * @property {string} [badge]
 * @property {boolean} [isLast] it is there whatever was typed
 * @property {() => void} run
 */
/**
 * @typedef {object} Command
 * @property {string} name
 * @property {string} hint
 * @property {string} [argument] how what follows is called
 * @property {() => Choice[] | Promise<Choice[]>} [choices]
 * @property {(argument: string) => void} run
 */

/**
 * @param {object} page what the commands act on
 * @param {import("./models.js").Models} page.models
 * @param {import("./setup.js").SetupPanel} page.setup
 * @param {import("./shelves.js").Shelves} page.shelves
 * @param {import("./attachments.js").Attachments} page.attachments
 * @param {import("./shortcuts.js").Shortcuts} page.shortcuts
 * @param {(prompt: import("./shelves.js").SavedPrompt) => void} page.insert
 * @param {(preset: import("./shelves.js").Preset) => void} page.apply
 * @param {(text: string) => void} page.instruct
 * @param {((kind: "prompts" | "presets") => void) | null} page.manage null: not theirs to manage
 * @param {() => void} page.begin
 * @param {() => void} page.stop
 * @returns {Command[]}
 */
export function commandsOf(page) {
  const { manage } = page;
  /** @param {string} name @param {"prompts" | "presets"} kind */
  const all = (name, kind) => (manage ? [{ name, isLast: true, run: () => manage(kind) }] : []);
  return [
    {
      name: "model",
      hint: say("commandModel"),
      argument: say("argumentModel"),
      choices: () => page.models.models.map((model) => ({
        name: model.name, hint: model.description, run: () => page.models.pick(model.name),
      })),
      run: () => page.models.open(),
    },
    {
      name: "prompt",
      hint: say("commandPrompt"),
      argument: say("argumentName"),
      choices: async () => [
        ...(await page.shelves.load()).prompts.map((prompt) => ({
          name: prompt.name, hint: prompt.text, badge: shelfOf(prompt), run: () => page.insert(prompt),
        })),
        ...all(say("allPrompts"), "prompts"),
      ],
      run: () => manage?.("prompts"),
    },
    {
      name: "preset",
      hint: say("commandPreset"),
      argument: say("argumentName"),
      choices: async () => [
        ...(await page.shelves.load()).presets.map((preset) => ({
          name: preset.name,
          hint: String(preset.setup.system_prompt),
          badge: shelfOf(preset),
          run: () => page.apply(preset),
        })),
        ...all(say("allPresets"), "presets"),
      ],
      run: () => page.setup.open("preset"),
    },
    {
      name: "system",
      hint: say("commandSystem"),
      argument: say("argumentText"),
      run: (text) => (text ? page.instruct(text) : page.setup.open()),
    },
    { name: "settings", hint: say("commandSettings"), run: () => page.setup.open("temperature") },
    { name: "attach", hint: say("commandAttach"), run: () => page.attachments.choose() },
    { name: "new", hint: say("commandNew"), run: () => page.begin() },
    { name: "stop", hint: say("commandStop"), run: () => page.stop() },
    { name: "help", hint: say("commandHelp"), run: () => page.shortcuts.open() },
  ];
}
