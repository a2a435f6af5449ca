// @ts-check
/** Has the browser keep a page for the time without a network (`chat/worker.js`). */

const manifest = /** @type {HTMLLinkElement | null} */ (
  document.querySelector("link[rel=manifest]")
);

/** The worker stands beside the manifest; another language is another worker. */
async function install() {
  if (!manifest || !("serviceWorker" in navigator)) return; // such as without https
  const address = new URL("worker.js", manifest.href);
  address.searchParams.set("language", document.documentElement.lang);
  try {
    await navigator.serviceWorker.register(address);
  } catch {
    // Forbidden by the browser, or the network is gone: the site works without.
  }
}

// Not in the way of the first page.
if (document.readyState === "complete") install();
else addEventListener("load", install);
