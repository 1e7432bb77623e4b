/**
 * Tests of `cache/host_copy.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { HostCopy } from "../../cache/host_copy.ts";
import { RequirementError } from "../../core/check.ts";

const SHAPE = { layers: 2, kvHeads: 3, headDim: 8, capacity: 700, sequences: 2 };
const ROW_WORDS = SHAPE.headDim / 2;

/** A word for every element of a layer, [sequences, kvHeads, capacity, ROW_WORDS]. */
function layerWords(layer: number, kind: number): Uint32Array<ArrayBuffer> {
  const words = SHAPE.sequences * SHAPE.kvHeads * SHAPE.capacity * ROW_WORDS;
  return Uint32Array.from({ length: words }, (_, place) => (2 * layer + kind) * words + place + 1);
}

function filled(lengths: readonly number[]): HostCopy {
  const host = new HostCopy(SHAPE, lengths);
  for (let layer = 0; layer < SHAPE.layers; layer++) {
    host.setLayer(layer, { keys: layerWords(layer, 0), values: layerWords(layer, 1) });
  }
  return host;
}

function row(host: HostCopy, kind: "keys" | "values", at: readonly number[]): Uint32Array {
  const [sequence, layer, kvHead, token] = at as [number, number, number, number];
  const { words, start } = host.row(kind, { sequence, layer, kvHead }, token);
  return words.slice(start, start + ROW_WORDS);
}

/** The same row in the full cache. */
function cached(kind: "keys" | "values", at: readonly number[]): Uint32Array {
  const [sequence, layer, kvHead, token] = at as [number, number, number, number];
  const first = ((sequence * SHAPE.kvHeads + kvHead) * SHAPE.capacity + token) * ROW_WORDS;
  return layerWords(layer, kind === "keys" ? 0 : 1).subarray(first, first + ROW_WORDS);
}

Deno.test("HostCopy returns every row of a full cache, across blocks", () => {
  const host = filled([600, 256]);
  for (const kind of ["keys", "values"] as const) {
    for (const [sequence, token] of [[0, 0], [0, 255], [0, 256], [0, 599], [1, 0], [1, 255]]) {
      for (let layer = 0; layer < SHAPE.layers; layer++) {
        for (let kvHead = 0; kvHead < SHAPE.kvHeads; kvHead++) {
          const at = [sequence!, layer, kvHead, token!];
          assertEquals(row(host, kind, at), cached(kind, at), `${kind} at ${at}`);
        }
      }
    }
  }
  const bytes = SHAPE.layers * 2 * SHAPE.sequences * SHAPE.kvHeads * 768 * ROW_WORDS * 4;
  assertEquals(host.byteLength, bytes, "three blocks of 256 tokens");
});

Deno.test("HostCopy.append() adds a token to every sequence, even in a new block", () => {
  const host = filled([255, 256]);
  const heads = SHAPE.layers * 2 * SHAPE.sequences * SHAPE.kvHeads;
  const words = Uint32Array.from({ length: heads * ROW_WORDS }, (_, word) => word);
  host.append(words);
  host.append(words.map((word) => word + 1000));
  assertEquals(host.lengths, [257, 258]);
  const rowAt = (layer: number, kind: number, head: number) =>
    ((2 * layer + kind) * SHAPE.sequences * SHAPE.kvHeads + head) * ROW_WORDS;
  for (const [sequence, token] of [[0, 255], [1, 256]] as const) {
    const first = rowAt(1, 1, sequence * SHAPE.kvHeads + 2);
    const wanted = words.subarray(first, first + ROW_WORDS);
    assertEquals(row(host, "values", [sequence, 1, 2, token]), wanted);
    const later = row(host, "values", [sequence, 1, 2, token + 1]);
    assertEquals(later, wanted.map((word) => word + 1000));
  }
  assertEquals(row(host, "keys", [1, 0, 1, 255]), cached("keys", [1, 0, 1, 255]), "as before");
});

Deno.test("HostCopy.layer() restores the layout of the cache", () => {
  const host = filled([600, 3]);
  const { keys, values } = host.layer(1);
  const length = (place: number) => place < SHAPE.kvHeads * SHAPE.capacity * ROW_WORDS ? 600 : 3;
  const wanted = (kind: number) =>
    layerWords(1, kind).map((word, place) =>
      Math.floor(place / ROW_WORDS) % SHAPE.capacity < length(place) ? word : 0
    );
  assertEquals(keys, wanted(0));
  assertEquals(values, wanted(1));
});

Deno.test("HostCopy.row() names layer, head and token of a missing row", () => {
  const host = filled([600, 3]);
  const at = { sequence: 1, layer: 1, kvHead: 2 };
  assertThrows(
    () => host.row("keys", at, 3),
    RequirementError,
    "Cannot load keys of layer 1, KV head 2, sequence 1: token 3 must be on the host",
  );
});

Deno.test("HostCopy.forget() keeps no token, and then new ones alone", () => {
  const host = filled([600, 520]);
  host.forget();
  assertEquals(host.byteLength, 0);
  const find = (sequence: number, token: number) =>
    host.row("keys", { sequence, layer: 0, kvHead: 0 }, token);
  const gone = "token 519 must be on the host: current tokens are none";
  assertThrows(() => find(1, 519), RequirementError, gone);
  const heads = SHAPE.layers * 2 * SHAPE.sequences * SHAPE.kvHeads;
  const words = Uint32Array.from({ length: heads * ROW_WORDS }, (_, word) => word);
  host.append(words);
  assertEquals(row(host, "keys", [0, 0, 0, 600]), words.subarray(0, ROW_WORDS));
  const first = (2 * SHAPE.sequences * SHAPE.kvHeads - 1) * ROW_WORDS;
  assertEquals(row(host, "values", [1, 0, 2, 520]), words.subarray(first, first + ROW_WORDS));
  assertThrows(() => find(0, 599), RequirementError, "current tokens are 600 to 600");
  host.forget();
  assertEquals(host.byteLength, 0);
});
