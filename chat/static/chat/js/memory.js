// @ts-check
/** What this browser remembers; a browser that forbids it forgets. */

/** @param {string} name @param {Storage} [storage] */
export function recall(name, storage = undefined) {
  try {
    return (storage ?? localStorage).getItem(`switchyard.${name}`);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value "" forgets */
export function remember(name, value) {
  try {
    if (value) localStorage.setItem(`switchyard.${name}`, value);
    else localStorage.removeItem(`switchyard.${name}`);
  } catch {
    // full, or forbidden: nothing depends on it
  }
}
