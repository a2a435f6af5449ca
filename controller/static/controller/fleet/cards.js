// @ts-check
/** A worker as a card: made once of the page's template, then kept up to date. */

import { spark } from "./spark.js";
import { ago, page, words, write } from "./words.js";

/** @import { Series, Worker } from "../../../../chat/frontend/types/fleet" */

const template = /** @type {HTMLTemplateElement | null} */ (document.getElementById("worker-card"));
const MAX_POINTS = 90;

export class Card {
  /** @param {Worker} worker @param {Series} [series] of the last hour, if there is one */
  constructor(worker, series) {
    if (!template) throw new Error("the page has no template of a card");
    this.element = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.element.dataset.worker = worker.id;
    this.worker = worker;
    this.speeds = [...(series?.tokens_per_second ?? [])];
    this.queues = [...(series?.queue ?? [])];
    this.ttfts = [...(series?.ttft ?? [])];
    const link = /** @type {HTMLAnchorElement} */ (this.element.querySelector("[data-link]"));
    if (link) link.href = page.workerUrl.replace("ID", worker.id);
    this.show(worker);
  }

  /** @param {Worker} worker */
  show(worker) {
    this.worker = worker;
    this.note(this.speeds, worker.tokens_per_second);
    this.note(this.queues, worker.running + worker.waiting);
    this.note(this.ttfts, worker.ttft);
    const state = this.field("state");
    if (state) state.className = `fleet-label is-${words.colours[worker.state]}`;
    const breaker = this.field("breaker");
    if (breaker) {
      breaker.classList.toggle("is-bad", Boolean(worker.breaker));
      breaker.title = worker.breaker_reason;
    }
    this.say(texts(worker));
    this.draw();
    this.offer(worker);
    this.tick();
  }

  /** @param {(number | null)[]} values @param {number | null} value */
  note(values, value) {
    values.push(value);
    if (values.length > MAX_POINTS) values.shift();
  }

  /** @param {string} name @returns {HTMLElement | null} */
  field(name) {
    return this.element.querySelector(`[data-field="${name}"]`);
  }

  /** @param {Record<string, string>} said */
  say(said) {
    for (const [name, text] of Object.entries(said)) {
      const field = this.field(name);
      if (field && field.textContent !== text) field.textContent = text;
    }
  }

  draw() {
    const bar = this.field("kv-bar");
    if (bar) bar.style.inlineSize = `${Math.round((this.worker.kv ?? 0) * 100)}%`;
    for (const [name, values] of Object.entries({ speed: this.speeds, queue: this.queues, ttft: this.ttfts })) {
      const line = this.element.querySelector(`[data-spark="${name}"]`);
      if (line) spark(line, values);
    }
  }

  /** Only what would change something. @param {Worker} worker */
  offer(worker) {
    const isOffered = {
      drain: !worker.is_draining,
      resume: worker.is_draining,
      weigh: true,
      rotate_key: worker.is_ours && !worker.is_rotating,
      remove: true,
    };
    for (const [name, offered] of Object.entries(isOffered)) {
      const button = /** @type {HTMLElement | null} */ (this.element.querySelector(`[data-decision="${name}"]`));
      if (button) button.hidden = !page.mayChange || !offered;
    }
  }

  /** A second has passed. */
  tick() {
    this.say({ heartbeat: ago(this.worker.heartbeat_at) });
  }
}

/** @param {Worker} worker */
function texts(worker) {
  const state = words.states[worker.state];
  const isLoading = worker.state === "loading" && worker.progress !== null;
  return {
    address: worker.address,
    models: worker.models.join(", ") || "–",
    state: isLoading ? `${state}, ${write.ratio(worker.progress)}` : state,
    running: write.whole(worker.running),
    waiting: write.whole(worker.waiting),
    "in-flight": `${write.whole(worker.in_flight)} / ${write.whole(worker.max_concurrency)}`,
    kv: write.ratio(worker.kv),
    "hit-rate": write.ratio(worker.hit_rate),
    speed: write.short(worker.tokens_per_second),
    ttft: write.seconds(worker.ttft),
    errors: `${write.whole(worker.num_errors)} / ${write.whole(worker.num_requests)}`,
    breaker: words.breakers[worker.breaker] ?? worker.breaker,
    restarts: write.whole(worker.restarts),
    engine: `${worker.engine} ${worker.version}`.trim(),
    weight: write.short(worker.weight),
  };
}
