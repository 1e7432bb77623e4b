/**
 * Lies of a hub: about its files, their properties and their content.
 *
 * @module
 */

import { pick, type Random, randomInteger } from "../../core/random.ts";
import { encodeSafetensors } from "../../tests/support/model_writer.ts";
import { COMMIT, encode, weights } from "../../tests/support/tiny_hub.ts";

/** What part of the conversation a lie is about. */
export type Part = "list" | "head" | "body";

/** A kind of lie. */
export interface Lie {
  /** What is said. */
  readonly what: string;
  /** Part that it changes; without one it is `files` alone that lie. */
  readonly part?: Part;
  /** Files that it is about; any that the model needs if left out. */
  readonly about?: RegExp;
  /** Changes an honest answer. */
  readonly tell?: (honest: Response, situation: Situation) => Promise<Response> | Response;
  /** Content that the liar announces truthfully, in place of the honest one. */
  readonly files?: Readonly<Record<string, (random: Random) => Uint8Array<ArrayBuffer>>>;
}

/** What a lie may depend on. */
export interface Situation {
  /** The request. */
  readonly request: Request;
  /** Random numbers of the case. */
  readonly random: Random;
  /** Aborted when the hub ends. */
  readonly over: AbortSignal;
  /** A name that leads elsewhere. */
  readonly name: string;
  /** How often the lie was told before. */
  readonly times: number;
}

const OTHER_COMMIT = "f".repeat(40);
const LARGE = /\.(gguf|safetensors)$/;
const SMALL = /config\.json$/;

/** Names that lead out of a folder, here or on another system; the last cannot be part of a header. */
export function hostileNames(escape: string): string[] {
  const up = [1, 2, 3, 4, 5, 6].map((levels) => `${"../".repeat(levels)}escape`);
  return [...up, "..", ".", escape, "a/../../../../escape", "..\\escape", "C:\\escape", "a\0b"];
}

const never = async (honest: Response, { over }: Situation) => {
  await pause(Infinity, over);
  return honest;
};
const json = (value: unknown) => Response.json(value);
const html = () =>
  new Response("<html>Sign in</html>", { headers: { "content-type": "text/html" } });
const redirect = (location: string) => new Response(null, { status: 302, headers: { location } });
const loop = (_: Response, { request }: Situation) => redirect(request.url);
const headers = (honest: Response, changed: Record<string, string>) => {
  const all = new Headers(honest.headers);
  for (const [name, value] of Object.entries(changed)) all.set(name, value);
  return new Response(honest.body, { status: honest.status, headers: all });
};
const failure = (_: Response, { random }: Situation) =>
  new Response("no", { status: pick(random, [400, 401, 403, 429, 500, 503]) });
const elsewhere = (_: Response, { random }: Situation) =>
  redirect(pick(random, ["file:///etc/hostname", "data:text/plain,x", "http://[", "ftp://x/y"]));

/** Waits for a time, or for the end of the hub. */
async function pause(delayMs: number, over: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = delayMs < Infinity ? setTimeout(resolve, delayMs) : undefined;
  over.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}

/** A body in pieces, one each `delayMs`; it may never end. */
function pieces(
  bytes: Uint8Array,
  options: {
    readonly isEndless?: boolean;
    readonly delayMs?: number;
    readonly over?: AbortSignal;
  },
): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      if (options.delayMs) await pause(options.delayMs, options.over!);
      const size = options.delayMs ? 1 : 4096;
      if (at >= bytes.length && !options.isEndless) return controller.close();
      controller.enqueue(at < bytes.length ? bytes.slice(at, at + size) : new Uint8Array(65_536));
      at += size;
    },
  });
}

/** Changes the bytes of an answer and leaves its headers. */
function bytesLie(change: (bytes: Uint8Array<ArrayBuffer>, situation: Situation) => BodyInit) {
  return async (honest: Response, situation: Situation): Promise<Response> => {
    const bytes = await honest.bytes();
    const all = new Headers(honest.headers);
    all.delete("content-length");
    return new Response(change(bytes, situation), { status: honest.status, headers: all });
  };
}

function flipped(bytes: Uint8Array<ArrayBuffer>, { random }: Situation): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  copy[randomInteger(random, copy.length)]! ^= 1 << randomInteger(random, 8);
  return copy;
}

/** Ends the connection after half of what was announced. */
async function cut(honest: Response): Promise<Response> {
  const bytes = await honest.bytes();
  return headers(new Response(pieces(bytes.slice(0, bytes.length >> 1), {})), {
    "content-length": String(bytes.length),
  });
}

/** Cuts the first answer, so that the rest is asked for, and sends another part then. */
const wrongRange =
  (changed: (range: string) => string | undefined) =>
  async (honest: Response, { times }: Situation): Promise<Response> => {
    if (times === 0) return await cut(honest);
    const range = changed(honest.headers.get("content-range") ?? "bytes 0-1/2");
    return new Response(await honest.bytes(), {
      status: 206,
      ...(range !== undefined && { headers: { "content-range": range } }),
    });
  };

const LIST_LIES: readonly Omit<Lie, "part">[] = [
  { what: "HTML", tell: html },
  { what: "half of the JSON", tell: bytesLie((bytes) => bytes.slice(0, bytes.length >> 1)) },
  { what: "no object", tell: (_, { random }) => json(pick(random, [[], 1, "x", null, true])) },
  { what: "files that are no list", tell: () => json({ sha: COMMIT, siblings: { a: 1 } }) },
  {
    what: "names that are none",
    tell: () => json({ sha: COMMIT, siblings: [{ rfilename: 1 }, 2] }),
  },
  { what: "a commit that is a path", tell: (_, { name }) => json({ sha: name, siblings: [] }) },
  {
    what: "a commit that is none",
    tell: (_, { random }) =>
      json({ sha: pick<unknown>(random, ["abc", 1, null, [COMMIT], `${COMMIT}0`]), siblings: [] }),
  },
  {
    what: "another commit",
    tell: async (honest) => json({ ...await honest.json(), sha: OTHER_COMMIT }),
  },
  {
    what: "a file that is a path",
    tell: (_, { name }) => json({ sha: COMMIT, siblings: [{ rfilename: `${name}.gguf` }] }),
  },
  { what: "no files", tell: () => json({ sha: COMMIT, siblings: [] }) },
  { what: "JSON without an end", tell: bytesLie((bytes) => pieces(bytes, { isEndless: true })) },
  { what: "no end of brackets", tell: () => new Response("[".repeat(2e6)) },
];

const HEAD_LIES: readonly Omit<Lie, "part">[] = [
  {
    what: "an etag that is a path",
    about: SMALL,
    tell: (honest, { name }) => headers(honest, { etag: name.replace("\0", "/") }),
  },
  {
    what: "a hash that is a path",
    about: LARGE,
    tell: (honest, { name }) => headers(honest, { "x-linked-etag": name.replace("\0", "/") }),
  },
  { what: "no etag", about: SMALL, tell: (honest) => headers(honest, { etag: "" }) },
  {
    what: "a long etag",
    about: SMALL,
    tell: (honest) => headers(honest, { etag: "e".repeat(300) }),
  },
  {
    what: "another hash",
    tell: (honest) =>
      headers(honest, {
        "x-linked-etag": "0".repeat(honest.headers.has("x-linked-etag") ? 64 : 40),
      }),
  },
  {
    what: "a commit that is a path",
    tell: (honest, { name }) => headers(honest, { "x-repo-commit": name.replace("\0", "/") }),
  },
  { what: "another commit", tell: (honest) => headers(honest, { "x-repo-commit": OTHER_COMMIT }) },
  {
    what: "another size",
    tell: (honest, { random }) => {
      const size = Number(
        honest.headers.get("x-linked-size") ?? honest.headers.get("content-length"),
      );
      const other = pick(random, [0, 1, size - 1, size + 1, size * 2, 2 ** 52]);
      return headers(honest, { "x-linked-size": String(other) });
    },
  },
  { what: "that a file is missing", tell: () => new Response(null, { status: 404 }) },
];

const BODY_LIES: readonly Omit<Lie, "part">[] = [
  { what: "a changed bit", tell: bytesLie(flipped) },
  {
    what: "less",
    tell: bytesLie((bytes, { random }) => bytes.slice(0, randomInteger(random, bytes.length))),
  },
  { what: "one byte more", tell: bytesLie((bytes) => new Blob([bytes, "x"]).stream()) },
  { what: "no end", tell: bytesLie((bytes) => pieces(bytes, { isEndless: true })) },
  {
    what: "zeros without an end",
    tell: bytesLie(() => pieces(new Uint8Array(), { isEndless: true })),
  },
  { what: "other bytes", tell: bytesLie((bytes) => new Uint8Array(bytes.length)) },
  { what: "HTML", tell: html },
  {
    what: "compressed bytes",
    tell: (honest) =>
      headers(new Response(honest.body?.pipeThrough(new CompressionStream("gzip"))), {
        "content-encoding": "gzip",
      }),
  },
  { what: "an earlier range", about: LARGE, tell: wrongRange(() => "bytes 0-99/100") },
  {
    what: "a range of a longer file",
    about: LARGE,
    tell: wrongRange((range) => `${range}0`),
  },
  { what: "a part without its range", about: LARGE, tell: wrongRange(() => undefined) },
  { what: "a range in words", about: LARGE, tell: wrongRange(() => "bytes all") },
  { what: "that no range exists", tell: () => new Response(null, { status: 416 }) },
  { what: "that a file is missing", tell: () => new Response(null, { status: 404 }) },
];

/** Faults of any part. */
const ANY_LIES: readonly Omit<Lie, "part">[] = [
  { what: "nothing at all", tell: never },
  { what: "a refusal", tell: failure },
  { what: "redirects in a circle", tell: loop },
  { what: "a redirect to elsewhere", tell: elsewhere },
];

/** Faults of a body. */
const STREAM_LIES: readonly Omit<Lie, "part">[] = [
  {
    what: "a byte now and then",
    tell: bytesLie((bytes, { over }) => pieces(bytes, { delayMs: 50, over })),
  },
  {
    what: "a byte, then silence",
    tell: bytesLie((bytes, { over }) => pieces(bytes, { delayMs: 1e6, over })),
  },
  { what: "half, then the end of the connection", tell: cut },
];

/** Content that is announced as it is: a lie by another hub about the same commit. */
const FILE_LIES: readonly Lie[] = [
  {
    what: "another config.json, then a changed bit",
    part: "body",
    about: LARGE,
    files: { "config.json": () => encode({ model_type: "qwen2" }) },
    tell: bytesLie(flipped),
  },
  {
    what: "an index with shards elsewhere",
    files: {
      "model.safetensors.index.json": (random) =>
        encode({ weight_map: { a: `${pick(random, hostileNames("/escape"))}.safetensors` } }),
    },
  },
  { what: "another config.json", files: { "config.json": () => encode({ model_type: "qwen2" }) } },
  {
    what: "a page in place of config.json under an etag that is no hash",
    part: "head",
    about: SMALL,
    files: { "config.json": () => new TextEncoder().encode("<html>Sign in</html>") },
    tell: (honest) => headers(honest, { etag: '"page-1"' }),
  },
  {
    what: "other weights",
    files: { "model.safetensors": () => encodeSafetensors(weights.slice(1)) },
  },
  { what: "an index that is none", files: { "model.safetensors.index.json": () => encode([1]) } },
];

const of = (part: Part, lies: readonly Omit<Lie, "part">[]): Lie[] =>
  lies.map((lie) => ({ ...lie, part }));
/** All lies. */
export const LIES: readonly Lie[] = [
  ...of("list", [...LIST_LIES, ...ANY_LIES, ...STREAM_LIES]),
  ...of("head", [...HEAD_LIES, ...ANY_LIES]),
  ...of("body", [...BODY_LIES, ...ANY_LIES, ...STREAM_LIES]),
  ...FILE_LIES,
];

/** Part of the conversation that a request belongs to. */
export function partOf({ method }: Request, path: string): Part {
  if (path.startsWith("/api/")) return "list";
  return method === "HEAD" ? "head" : "body";
}
