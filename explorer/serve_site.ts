/**
 * Serves a built site on this machine.
 *
 * @module
 */

import { join } from "node:path";

/** How a site is served. */
export interface ServeOptions {
  /** Port; 0 for any free one. */
  readonly port: number;
  /** Path below which it lies, with slashes around it; `/` if left out. */
  readonly base?: string;
  /** Whether the page may share memory among threads, which makes it faster; yes if left out. */
  readonly isIsolated?: boolean;
  /** Told of every file that is sent, with its bytes. */
  readonly onFile?: (name: string, bytes: number) => void;
}

/** A running server. */
export interface SiteServer extends AsyncDisposable {
  /** Address of the page. */
  readonly address: string;
  /** Ends when the server does. */
  readonly finished: Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
};

/** What lets a page share memory; see docs/explorer.md. */
const ISOLATION = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/**
 * Starts the server, on loopback only.
 *
 * @param folder Folder of `buildSite`.
 * @param options Port, path, isolation.
 */
export function serveSite(folder: string, options: ServeOptions): SiteServer {
  const { port, base = "/", isIsolated = true } = options;
  const shared = isIsolated ? ISOLATION : undefined;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    async (request) => {
      const path = decodeURIComponent(new URL(request.url).pathname);
      const name = path === base ? "index.html" : path.slice(base.length);
      const isBelow = path.startsWith(base) && !name.split("/").includes("..");
      const bytes = isBelow && await Deno.readFile(join(folder, name)).catch(() => undefined);
      if (!bytes) return new Response("not found", { status: 404 });
      const type = TYPES[name.split(".").at(-1)!] ?? "application/octet-stream";
      // Names in folders change with their content.
      const caching = name.includes("/") ? "public, max-age=31536000, immutable" : "no-cache";
      const headers = { "content-type": type, "cache-control": caching, ...shared };
      options.onFile?.(name, bytes.length);
      return new Response(bytes, { headers });
    },
  );
  return {
    address: `http://127.0.0.1:${server.addr.port}${base}`,
    finished: server.finished,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
