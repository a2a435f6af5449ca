// @ts-check
/** What operators decide about a worker, asked back in a dialog before it is done. */

import { page, words } from "./words.js";

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("fleet-decision"));

/** @param {string} name @returns {any} */
const part = (name) => dialog.querySelector(`[data-part="${name}"]`);

/**
 * Ask, and carry out what is confirmed.
 * @param {string} decision one of the page's words.decisions
 * @param {any} worker
 */
export function ask(decision, worker) {
  const said = words.decisions[decision];
  part("title").textContent = said.title;
  part("worker").textContent = worker.address;
  part("text").textContent = said.text;
  part("error").textContent = "";
  part("confirm").textContent = said.button;
  part("confirm").disabled = false;
  const weight = part("weight");
  part("weight-line").hidden = decision !== "weigh";
  weight.disabled = decision !== "weigh";
  weight.value = worker.weight;
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
  part("confirm").disabled = true;
  try {
    const answer = await fetch(url, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
    if (answer.ok) return dialog.close("done");
    const isJson = answer.headers.get("content-type")?.includes("json");
    part("error").textContent = (isJson && (await answer.json()).error) || words.failed;
  } catch {
    part("error").textContent = words.failed;
  }
  part("confirm").disabled = false;
  return undefined;
}

if (dialog) {
  part("cancel").addEventListener("click", () => dialog.close());
  // A click beside the dialog reaches the dialog itself.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
