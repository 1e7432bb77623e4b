/**
 * Tests of `decoding/selection/lists.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { listShape, packLists } from "../../../decoding/selection/lists.ts";
import { MARGINAL_MODES } from "../../../kernels/marginal.ts";
import { readList } from "../../../kernels/selection_list.ts";

const shape = listShape({ perLayer: 1, heads: 2, total: 2 }, 9);
const match = Uint32Array.of(5, 6, 7, 8);

/** A selection whose rows are its tokens plus 100. */
function source(kept: readonly number[], marginal: readonly number[]) {
  const selection = { kept: Uint32Array.from(kept), marginal: Uint32Array.from(marginal) };
  const row = (token: number) => token + 100;
  return {
    selections: [selection, selection],
    rows: new Array(2).fill({
      kept: selection.kept.map(row),
      marginal: selection.marginal.map(row),
    }),
    match,
    combine: "additive" as const,
  };
}

Deno.test("packLists() writes lists that read back, also where longer ones were", () => {
  const lists = new Uint32Array(2 * shape.listWords);
  for (const [kept, marginal] of [[[0, 2, 3, 5, 8], [1, 4]], [[4, 7], []], [[3, 8], [0]]]) {
    packLists(lists, shape, source(kept!, marginal!));
    const list = readList(lists.subarray(shape.listWords), 2)!;
    assertEquals([...list.kept, ...list.marginal], [...kept!, ...marginal!]);
    assertEquals([...list.keptRows], kept!.map((token) => token + 100));
    assertEquals([...list.marginalRows], marginal!.map((token) => token + 100));
    assertEquals([...list.matched], [7, 8]);
    assertEquals(MARGINAL_MODES[list.combine], "additive");
    assertEquals(list.keptSinks, kept!.filter((token) => token < 4).length);
  }
});

Deno.test("packLists() refuses a selection without tokens or without room", () => {
  const lists = new Uint32Array(2 * shape.listWords);
  assertThrows(() => packLists(lists, shape, source([], [])), RangeError, "tokens of unit 0");
  const all = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  assertThrows(() => packLists(lists, shape, source(all, [9])), RangeError, "current value is 10");
});
