/**
 * Keeps the files of the site, so that the page works without a network.
 *
 * All but the page itself lie in a folder that is named after their content, so that they are taken from the cache without
 * asking. The build puts the names in place of `FILES`.
 *
 * @module
 */

/** The part of a service worker's scope that is used. */
interface WorkerScope {
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: string, listener: (event: WorkerEvent) => void): void;
}

/** The part of its events that is used. */
interface WorkerEvent {
  readonly request: Request;
  waitUntil(work: Promise<unknown>): void;
  respondWith(answer: Promise<Response>): void;
}

/** Paths below the service worker's own folder. */
declare const SITE_FILES: readonly string[];
/** Changes with the content of the site. */
declare const SITE_VERSION: string;

const scope = globalThis as unknown as WorkerScope;
const cacheName = `smallkv-explorer-${SITE_VERSION}`;

scope.addEventListener("install", (event) => {
  // What the page has just fetched comes from the browser's own cache: nothing is transferred twice.
  const wanted = SITE_FILES.map((path) => new Request(path, { cache: "force-cache" }));
  const keep = async () => {
    await (await caches.open(cacheName)).addAll(wanted);
    await scope.skipWaiting();
  };
  event.waitUntil(keep());
});

scope.addEventListener("activate", (event) => {
  const clean = async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith("smallkv-explorer-") && name !== cacheName) await caches.delete(name);
    }
    await scope.clients.claim();
  };
  event.waitUntil(clean());
});

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(new URL("./", location.href).href)) {
    return;
  }
  event.respondWith(request.mode === "navigate" ? newest(request) : kept(request));
});

/** The page itself: from the network if there is one, so that a new version is seen at once. */
async function newest(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const found = await caches.match("./", { ignoreSearch: true });
    if (found) return found;
    throw error;
  }
}

async function kept(request: Request): Promise<Response> {
  return await caches.match(request, { ignoreVary: true }) ?? await fetch(request);
}
