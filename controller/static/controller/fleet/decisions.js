// @ts-check
/** What operators decide about a worker, asked back in a dialog before it is done. */

import { page, words } from "./words.js";

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("fleet-decision"));

/**
 * @template {HTMLElement} T
 * @param {string} name
 * @param {new () => T} kind
 * @returns {T}
 */
function part(name, kind) {
  const found = dialog.querySelector(`[data-part="${name}"]`);
  if (found instanceof kind) return found;
  throw new Error(`the dialog has no part ${name} that is ${kind.name}`);
}

/** @param {string} name @param {string} text */
function write(name, text) {
  part(name, HTMLElement).textContent = text;
}

/**
 * Ask, and carry out what is confirmed.
 * @param {string} decision one of the page's words.decisions
 * @param {import("../../../../chat/frontend/types/fleet").Worker} worker
 */
export function ask(decision, worker) {
  const said = words.decisions[decision];
  write("title", said.title);
  write("worker", worker.address);
  write("text", said.text);
  write("error", "");
  write("confirm", said.button);
  part("confirm", HTMLButtonElement).disabled = false;
  const weight = part("weight", HTMLInputElement);
  part("weight-line", HTMLElement).hidden = decision !== "weigh";
  weight.disabled = decision !== "weigh";
  weight.value = String(worker.weight);
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
  form.onsubmit = (event) => {
    event.preventDefault();
    carryOut(form, `${page.workerUrl.replace("ID", worker.id)}${decision}/`);
  };
  dialog.returnValue = "";
  dialog.showModal();
}

/** @param {HTMLFormElement} form @param {string} url */
async function carryOut(form, url) {
  const confirm = part("confirm", HTMLButtonElement);
  confirm.disabled = true;
  try {
    const answer = await fetch(url, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
    if (answer.ok) return dialog.close("done");
    const isJson = answer.headers.get("content-type")?.includes("json");
    write("error", (isJson && (await answer.json()).error) || words.failed);
  } catch {
    write("error", words.failed);
  }
  confirm.disabled = false;
  return undefined;
}

if (dialog) {
  part("cancel", HTMLElement).addEventListener("click", () => dialog.close());
  // A click beside the dialog reaches the dialog itself.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
