/**
 * A small hub on this machine: repositories at one commit, large files through a redirect, faults on demand.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** A repository of the small hub. */
export interface ServedRepository {
  /** The only commit; `main` points to it. */
  readonly commit: string;
  /** Content by path; those of weights are large files. */
  readonly files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
}

/** Faults that a test may switch on and off while the hub runs. */
export interface HubFaults {
  /** Bytes after which a connection of a large file is cut, once for each entry. */
  cuts: number[];
  /** Whether hashes of large files are announced wrongly. */
  hasWrongHash: boolean;
  /** Whether range requests are answered with the whole file. */
  ignoresRanges: boolean;
  /** Whether the list of files is unknown. */
  hasNoList: boolean;
  /** Whether the first request for each file is sent on within the hub, as for renamed repositories. */
  isRenamed: boolean;
  /** Whether questions about files must be asked with GET. */
  hasNoHead: boolean;
  /** Whether large files lie on the hub itself rather than on another server. */
  hasOwnStorage: boolean;
  /** Milliseconds before each piece of a large file. */
  delayMs: number;
  /** Bytes of a large file after which its connection stays open and sends no more. */
  stallsAfter: number;
}

/** A running hub. */
export interface HubServer extends AsyncDisposable {
  /** Its address. */
  readonly endpoint: string;
  /** Method, path and range of every request so far. */
  readonly requests: string[];
  /** Faults, none at first. */
  readonly faults: HubFaults;
}

/** Options of {@linkcode startHub}. */
export interface HubOptions {
  /** Token without which nothing is served. */
  readonly token?: string;
  /** Turns an honest answer into a lie; given the path of the request, decoded. */
  readonly lie?: (request: Request, honest: Response, path: string) => Promise<Response> | Response;
}

/** What lets pages of other servers read answers; storage servers tell them less than this. */
const FOR_PAGES = { "access-control-allow-origin": "*" };

const LARGE = /\.(safetensors|gguf)$/;
const PIECE_BYTES = 1024;

/** Starts a hub on a free port. */
export function startHub(
  repositories: Readonly<Record<string, ServedRepository>>,
  options: HubOptions = {},
): HubServer {
  const faults: HubFaults = {
    cuts: [],
    hasWrongHash: false,
    ignoresRanges: false,
    hasNoList: false,
    hasNoHead: false,
    hasOwnStorage: false,
    isRenamed: false,
    delayMs: 0,
    stallsAfter: Infinity,
  };
  const requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    const range = request.headers.get("range");
    requests.push(`${request.method} ${pathname}${range === null ? "" : ` ${range}`}`);
    const isStorage = pathname.startsWith("/storage/");
    const authorization = request.headers.get("authorization");
    if (faults.hasNoHead && request.method === "HEAD") return new Response(null, { status: 405 });
    if (isStorage && authorization !== null) return new Response("", { status: 400 });
    if (options.token !== undefined && !isStorage && authorization !== `Bearer ${options.token}`) {
      return new Response("", { status: 401, headers: { "x-error-code": "GatedRepo" } });
    }
    const honest = answer(request, { repositories, faults });
    for (const [name, value] of Object.entries(FOR_PAGES)) honest.headers.set(name, value);
    return options.lie?.(request, honest, decodeURIComponent(pathname)) ?? honest;
  });
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    requests,
    faults,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

interface Hub {
  readonly repositories: Readonly<Record<string, ServedRepository>>;
  readonly faults: HubFaults;
}

function answer(request: Request, hub: Hub): Response {
  const path = decodeURIComponent(new URL(request.url).pathname);
  const storage = /^\/storage\/([^/]+\/[^/]+)\/(.+)$/.exec(path);
  if (storage !== null) {
    const bytes = hub.repositories[storage[1]!]?.files[storage[2]!];
    return bytes === undefined ? notFound() : content(request, bytes, { hub, headers: {} });
  }
  const list = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path);
  if (list !== null) {
    return listing(hub, [list[1]!, list[2]!], new URL(request.url).searchParams.has("blobs"));
  }
  if (hub.faults.isRenamed && !path.startsWith("/new/")) {
    return new Response(null, {
      status: 307,
      headers: { location: path.replace(/^\/[^/]+/, "/new") },
    });
  }
  const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
  return file === null
    ? notFound()
    : resolve(request, hub, file.slice(1) as [string, string, string]);
}

function find(hub: Hub, name: string, revision: string): ServedRepository | undefined {
  const repository = hub.repositories[name];
  return revision === "main" || revision === repository?.commit ? repository : undefined;
}

function listing(hub: Hub, [name, revision]: [string, string], hasBlobs: boolean): Response {
  const repository = find(hub, name, revision);
  if (repository === undefined || hub.faults.hasNoList) return notFound();
  const siblings = Object.entries(repository.files).map(([rfilename, bytes]) => ({
    rfilename,
    ...(hasBlobs && {
      size: bytes.length,
      blobId: gitBlobHash(bytes),
      ...(LARGE.test(rfilename) && {
        lfs: { sha256: largeHash(bytes, hub.faults), size: bytes.length, pointerSize: 135 },
      }),
    }),
  }));
  return Response.json({ _id: "1", id: name, sha: repository.commit, siblings });
}

function resolve(
  request: Request,
  hub: Hub,
  [name, revision, path]: [string, string, string],
): Response {
  const repository = find(hub, name, revision);
  const bytes = repository?.files[path];
  if (repository === undefined || bytes === undefined) return notFound();
  const commit = { "x-repo-commit": repository.commit };
  if (!LARGE.test(path)) {
    const etag = `"${gitBlobHash(bytes)}"`;
    return content(request, bytes, { hub, headers: { ...commit, etag } });
  }
  const hash = largeHash(bytes, hub.faults);
  const { host, port } = new URL(request.url);
  const server = hub.faults.hasOwnStorage ? host : `localhost:${port}`;
  const storage = `http://${server}/storage/${name}/${path}`;
  return new Response(null, {
    status: 302,
    headers: {
      ...commit,
      location: storage,
      "x-linked-etag": `"${hash}"`,
      "x-linked-size": String(bytes.length),
    },
  });
}

function largeHash(bytes: Uint8Array, { hasWrongHash }: HubFaults): string {
  return createHash("sha256").update(hasWrongHash ? Uint8Array.of(1) : bytes).digest("hex");
}

/** Hash under which git stores a file, which the hub sends as the etag of small ones. */
export function gitBlobHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function content(
  request: Request,
  bytes: Uint8Array<ArrayBuffer>,
  { hub, headers }: { readonly hub: Hub; readonly headers: Record<string, string> },
): Response {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
  const isPart = range !== null && !hub.faults.ignoresRanges;
  const begin = isPart ? Number(range[1]) : 0;
  if (begin >= bytes.length && begin > 0) return new Response(null, { status: 416 });
  const end = isPart && range[2] !== ""
    ? Math.min(bytes.length, Number(range[2]) + 1)
    : bytes.length;
  const all: Record<string, string> = { ...headers, "content-length": String(end - begin) };
  if (isPart) all["content-range"] = `bytes ${begin}-${end - 1}/${bytes.length}`;
  if (request.method === "HEAD") return new Response(null, { headers: all });
  const isLarge = LARGE.test(new URL(request.url).pathname);
  const body = pieces(
    bytes.subarray(begin, end),
    isLarge ? hub.faults : { ...hub.faults, stallsAfter: Infinity },
    isLarge ? hub.faults.cuts.shift() : undefined,
  );
  return new Response(body, { status: isPart ? 206 : 200, headers: all });
}

function pieces(
  bytes: Uint8Array<ArrayBuffer>,
  { delayMs, stallsAfter }: HubFaults,
  cut: number | undefined,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      if (delayMs > 0) await new Promise((done) => setTimeout(done, delayMs));
      if (at >= stallsAfter) return new Promise(() => {});
      if (at >= Math.min(bytes.length, cut ?? Infinity)) return controller.close();
      const end = Math.min(at + PIECE_BYTES, bytes.length, cut ?? Infinity);
      controller.enqueue(bytes.slice(at, end));
      at = end;
    },
  });
}

function notFound(): Response {
  return new Response("", { status: 404, headers: { "x-error-code": "EntryNotFound" } });
}
