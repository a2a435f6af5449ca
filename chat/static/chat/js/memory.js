// @ts-check
/**
 * What this browser remembers, for good or as long as this tab is open; a browser that
 * forbids it forgets.
 */

/** @typedef {"browser" | "tab"} Reach */

/** @param {Reach} reach */
const storageOf = (reach) => (reach === "tab" ? sessionStorage : localStorage);

/** @param {string} name @param {Reach} [reach] */
export function recall(name, reach = "browser") {
  try {
    return storageOf(reach).getItem(`switchyard.${name}`);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value "" forgets @param {Reach} [reach] */
export function remember(name, value, reach = "browser") {
  try {
    const storage = storageOf(reach);
    if (value) storage.setItem(`switchyard.${name}`, value);
    else storage.removeItem(`switchyard.${name}`);
  } catch {
    // full, or forbidden: nothing depends on it
  }
}
