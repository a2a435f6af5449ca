// @ts-check
/** How much of what is attached the chosen model has room for, as `chat/prompting.py` cuts it. */

const BYTES_PER_TOKEN = 3;
const ANSWER_TOKENS = 1_024;
const ANSWER_SHARE = 4;

/** @param {string} text */
const tokensOf = (text) => Math.ceil(new Blob([text]).size / BYTES_PER_TOKEN);

export class Room {
  /**
   * @param {import("./models.js").Models} models
   * @param {import("./setup.js").SetupPanel} setup
   * @param {import("./transcript.js").Transcript} transcript
   */
  constructor(models, setup, transcript) {
    this.models = models;
    this.setup = setup;
    this.transcript = transcript;
  }

  /** The model that is chosen, with the room beside this prompt; null where there is none.
   * @param {string} prompt @returns {import("./attachments.js").Reader | null} */
  reader(prompt) {
    const model = this.models.current;
    if (!model) return null;
    const room = model.context_length ? this.besides(prompt, model.context_length) : null;
    return { name: model.name, sees: model.sees, room };
  }

  /** @param {string} prompt @param {number} contextLength */
  besides(prompt, contextLength) {
    const { system_prompt: system = "", max_tokens: most = 0 } = this.setup.setup;
    const share = Math.floor(contextLength / ANSWER_SHARE);
    const answer = Math.min(Number(most) || ANSWER_TOKENS, share);
    const said = this.transcript.messages.map((message) => message.content);
    const taken = tokensOf([...said, system, prompt].join(""));
    return Math.max(0, contextLength - answer - taken);
  }
}
