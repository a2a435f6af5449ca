// @ts-check
/** Makes a link to a conversation, shows it once, and revokes those that are open. */

import { copyText } from "../clipboard.js";
import { icon, make } from "../dom.js";
import { say } from "../words.js";
import { reasonOf } from "./calls.js";
import { labelled, openDialog, select } from "./dialog.js";

const language = document.documentElement.lang || "en";
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium" });

/**
 * @typedef {object} Link
 * @property {string} id
 * @property {string} start of its address
 * @property {boolean} is_live
 * @property {string} created_at
 * @property {string | null} expires_at
 */

class ShareDialog {
  /** @param {import("./calls.js").Calls} calls @param {import("./rows.js").Row} row */
  constructor(calls, row) {
    this.calls = calls;
    this.row = row;
    this.what = select([["snapshot", say("snapshot")], ["live", say("live")]], "snapshot");
    this.days = select(
      [["1", say("day")], ["7", say("sevenDays")], ["30", say("month")], ["", say("forever")]],
      "7",
    );
    this.name = make("input", { type: "checkbox" });
    this.refusal = make("p", { className: "field-error", hidden: true });
    this.refusal.setAttribute("role", "alert");
    this.made = make("div", { className: "share-made", hidden: true });
    this.links = make("div", { className: "share-links" });
    const named = make("label", { className: "dialog-check" }, this.name, say("showName"));
    const create = make("button", { className: "button button-primary", textContent: say("makeLink") });
    const form = make(
      "form",
      {},
      labelled(say("what"), this.what),
      labelled(say("expiry"), this.days),
      named,
      this.refusal,
      make("div", { className: "dialog-actions" }, create),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      this.attempt(() => this.create());
    };
    const lead = make("p", { className: "dialog-lead", textContent: say("shareLead") });
    openDialog(say("shareTitle", { title: row.title }), lead, form, this.made, this.links);
    this.attempt(() => this.list());
  }

  /** @param {() => Promise<void>} work */
  async attempt(work) {
    this.refusal.hidden = true;
    try {
      await work();
    } catch (error) {
      this.refusal.textContent = reasonOf(error);
      this.refusal.hidden = false;
    }
  }

  async create() {
    const link = await this.calls.post("share", {
      conversation: this.row.id,
      is_live: this.what.value === "live",
      shows_name: this.name.checked,
      days: this.days.value ? Number(this.days.value) : null,
    });
    this.showMade(link.address);
    await this.list();
  }

  /** @param {string} address */
  showMade(address) {
    const field = make("input", { value: address, readOnly: true });
    field.setAttribute("aria-label", say("copyLink"));
    const label = make("span", { textContent: say("copyLink") });
    const copy = make("button", { type: "button", className: "button" }, icon("copy", "small"), label);
    copy.onclick = async () => {
      if (await copyText(address)) label.textContent = say("copied");
    };
    const note = make("p", { className: "dialog-lead", textContent: say("linkOnce") });
    note.setAttribute("role", "status");
    this.made.replaceChildren(field, copy, note);
    this.made.hidden = false;
    field.focus();
    field.select();
  }

  async list() {
    /** @type {{links: Link[]}} */
    const { links } = await this.calls.get(`links/${this.row.id}`);
    const items = links.map((link) => this.item(link));
    const heading = make("h3", { textContent: say("openLinks") });
    this.links.replaceChildren(...(items.length ? [heading, make("ul", {}, ...items)] : []));
  }

  /** @param {Link} link */
  item(link) {
    const kind = say(link.is_live ? "live" : "snapshot");
    const made = dates.format(new Date(link.created_at));
    const end = link.expires_at
      ? ` · ${say("until", { date: dates.format(new Date(link.expires_at)) })}`
      : "";
    const text = make("span", {}, make("code", { textContent: `${link.start}…` }), ` ${kind} · ${made}${end}`);
    const revoke = make("button", { type: "button", className: "button button-small is-danger", textContent: say("revoke") });
    revoke.setAttribute("aria-label", `${say("revoke")}: ${link.start}`);
    revoke.onclick = () =>
      this.attempt(async () => {
        await this.calls.post("revoke", { link: link.id });
        await this.list();
      });
    return make("li", {}, text, revoke);
  }
}

/** @param {import("./calls.js").Calls} calls @param {import("./rows.js").Row} row */
export const openShareDialog = (calls, row) => new ShareDialog(calls, row);
