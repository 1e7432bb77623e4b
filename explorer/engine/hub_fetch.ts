/**
 * Fetches a model of the hub into the browser's storage: continued where it broke off, checked, and whole or not there.
 *
 * @module
 */

import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { delay } from "../../core/aborted.ts";
import { DataError } from "../../core/check.ts";
import { type Answer, ConnectionError, request } from "../../models/files/http.ts";
import type { FetchProgress } from "../messages.ts";
import { fileAddress, hubRefusal } from "./hub_plan.ts";
import {
  FULL,
  type ModelPlan,
  type ModelStore,
  type PlannedFile,
  type StoredFile,
} from "./model_store.ts";

/** What fetching needs besides the model. */
export interface FetchContext {
  /** Address of the hub, without a slash at the end. */
  readonly hub: string;
  /** Where the model goes. */
  readonly store: ModelStore;
  /** Ends it; what has arrived stays. */
  readonly signal: AbortSignal;
  /** Told of every piece. */
  readonly onProgress: (progress: FetchProgress) => void;
}

/** Attempts without progress after which a download is given up. */
const MAX_FAILURES = 5;
const FIRST_WAIT_MS = 200;
/** Bytes that are hashed at once. */
const PIECE_BYTES = 4 * 2 ** 20;

/**
 * Fetches the files of a model that are not there.
 *
 * @throws {ConnectionError} If the hub keeps failing.
 * @throws {DataError} If the storage is full, or a file is not what the hub announced.
 * @throws The signal's reason if that aborts.
 */
export async function fetchModel(plan: ModelPlan, context: FetchContext): Promise<void> {
  const { store, signal } = context;
  const totalBytes = plan.files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const needed = totalBytes - await store.heldBytes(plan);
  const room = await store.room();
  if (needed > room) throw fullError(plan, needed, room);
  await keeping(plan, needed, () => store.begin(plan));
  let before = 0;
  for (const file of plan.files) {
    signal.throwIfAborted();
    const tell = (stage: FetchProgress["stage"]) => (bytes: number) =>
      context.onProgress({
        reference: plan.reference,
        stage,
        doneBytes: before + bytes,
        totalBytes,
      });
    const target = await store.open(plan, file);
    try {
      await fetchFile(plan, file, { ...context, target, tell });
    } finally {
      target.flush();
      target.close();
    }
    before += file.byteLength;
  }
  await keeping(plan, 0, () => store.finish(plan));
}

interface FileContext extends FetchContext {
  readonly target: StoredFile;
  readonly tell: (stage: FetchProgress["stage"]) => (bytes: number) => void;
}

async function fetchFile(plan: ModelPlan, file: PlannedFile, context: FileContext): Promise<void> {
  const { target } = context;
  while (true) {
    if (target.getSize() > file.byteLength) target.truncate(0);
    const hadRest = target.getSize() > 0;
    await fetchAll(plan, file, context);
    const hash = await hashOf(file, context);
    if (hash === file.hash) return;
    // What was left may be of another commit, or of a server that lied; without it, the fault is this server's.
    target.truncate(0);
    if (hadRest) continue;
    throw new DataError(
      `Cannot fetch ${plan.reference}: the hash of ${file.path} must be ${file.hash}: current hash is ${hash}`,
    );
  }
}

async function fetchAll(plan: ModelPlan, file: PlannedFile, context: FileContext): Promise<void> {
  const { target, signal } = context;
  for (let failures = 0; target.getSize() < file.byteLength;) {
    const before = target.getSize();
    try {
      await fetchRest(plan, file, context);
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
      failures = target.getSize() > before ? 1 : failures + 1;
      if (failures >= MAX_FAILURES) throw error;
      await delay(FIRST_WAIT_MS * 2 ** failures, signal);
    }
  }
}

async function fetchRest(plan: ModelPlan, file: PlannedFile, context: FileContext): Promise<void> {
  const { hub, target, signal, tell } = context;
  const size = target.getSize();
  const answer = await request(fileAddress(hub, plan, file.path), {
    signal,
    cache: "no-store", // The model is kept once, not in the browser's own cache, too.
    ...(size > 0 && { headers: { range: `bytes=${size}-` } }),
  });
  try {
    const isRest = size > 0 && answer.status === 206;
    if (answer.status !== 200 && !isRest) {
      if (answer.status === 416) target.truncate(0);
      throw hubRefusal(plan.reference, hub, answer.status);
    }
    if (isRest) checkRange(file, answer, size);
    let at = isRest ? size : 0;
    target.truncate(at);
    for await (const piece of answer.pieces(file.byteLength - at)) {
      const rest = file.byteLength - at;
      await keeping(plan, rest, () => writePiece(target, piece, at));
      at += piece.length;
      tell("fetching")(at);
    }
    if (at === file.byteLength) return;
  } finally {
    answer.cancel();
  }
  throw new ConnectionError(
    `Cannot fetch ${plan.reference}: ${file.path} must have ${file.byteLength} bytes: current connection ended after ${target.getSize()}`,
  );
}

/** Servers need not let pages read which range they sent; its hash is compared anyway. */
function checkRange({ path }: PlannedFile, { range }: Answer, begin: number): void {
  if (range === undefined || range.first === begin) return;
  throw new DataError(
    `Cannot fetch ${path}: the server must send the bytes from ${begin} on: current range begins at ${range.first}`,
  );
}

function writePiece(target: StoredFile, piece: Uint8Array<ArrayBuffer>, at: number): void {
  // A full disk may also end a write early.
  if (target.write(piece, { at }) < piece.length) throw new DOMException("", FULL);
}

/** Says what to do where a write finds no room. */
async function keeping(
  plan: ModelPlan,
  needed: number,
  write: () => void | Promise<void>,
): Promise<void> {
  try {
    await write();
  } catch (error) {
    throw (error as Error).name === FULL ? fullError(plan, needed, 0) : error;
  }
}

function fullError({ reference }: ModelPlan, needed: number, room: number): DataError {
  const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  return new DataError(
    `Cannot keep ${reference}: this browser must have room for ${
      megabytes(needed)
    } more: remove models from the list, or free space on the disk, and fetch again: what is stored stays: current room is ${
      megabytes(room)
    }`,
  );
}

/** Hash of a whole file, as long as its announced one. */
async function hashOf(
  { byteLength, hash: announced }: PlannedFile,
  { target, tell, signal }: FileContext,
): Promise<string> {
  const hash = announced.length === 64
    ? sha256.create()
    : sha1.create().update(new TextEncoder().encode(`blob ${byteLength}\0`));
  const piece = new Uint8Array(Math.min(PIECE_BYTES, byteLength));
  for (let at = 0; at < byteLength;) {
    signal.throwIfAborted();
    const count = target.read(piece, { at });
    if (count === 0) break; // It is shorter, and its hash another one.
    hash.update(piece.subarray(0, count));
    at += count;
    tell("checking")(at);
    // Lets a request to stop come through.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return hash.digest().toHex();
}
