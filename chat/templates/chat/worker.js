// Shows a page of ours where the network shows none. Answers of the server are never
// kept: only the files below, which are the same for everyone.
const [OFFLINE, ...FILES] = [{% for path in kept %}"{{ path|escapejs }}", {% endfor %}];
const CACHE = `switchyard-offline${new URL(location.href).search}`;

async function keep() {
  const cache = await caches.open(CACHE);
  // Around the browser's own cache.
  const asked = [OFFLINE, ...FILES].map((path) => new Request(path, { cache: "reload" }));
  await cache.addAll(asked);
}

async function tidy() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("switchyard-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await registration.navigationPreload?.enable(); // no wait for this script's own start
  await clients.claim();
}

async function navigate(event) {
  try {
    return (await event.preloadResponse) ?? (await fetch(event.request));
  } catch {
    return (await caches.match(OFFLINE)) ?? Response.error();
  }
}

async function fileOf(request) {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match(request);
    if (kept) return kept;
    throw error;
  }
}

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(keep());
});
addEventListener("activate", (event) => event.waitUntil(tidy()));
addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.mode === "navigate") event.respondWith(navigate(event));
  else if (FILES.includes(new URL(request.url).pathname)) event.respondWith(fileOf(request));
});
