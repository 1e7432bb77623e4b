/**
 * Tests of `decoding/selection/lists.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { listShape, packLists } from "../../../decoding/selection/lists.ts";
import { MARGINAL_MODES } from "../../../kernels/marginal.ts";
import { readList } from "../../../kernels/selection_list.ts";

const shape = listShape({ perLayer: 1, heads: 2, total: 2 }, 9);
const match = Uint32Array.of(5, 6, 7, 8);

/** A selection whose rows are its tokens plus 100. */
function source(kept: readonly number[], marginal: readonly number[]) {
  const selection = { full: Uint32Array.from(kept), valueOnly: Uint32Array.from(marginal) };
  const row = (token: number) => token + 100;
  return {
    selections: [selection, selection],
    rows: new Array(2).fill({
      full: selection.full.map(row),
      valueOnly: selection.valueOnly.map(row),
    }),
    match,
    combine: "additive" as const,
  };
}

Deno.test("packLists() writes lists that read back, even over longer ones", () => {
  const lists = new Uint32Array(2 * shape.listWords);
  for (const [kept, marginal] of [[[0, 2, 3, 5, 8], [1, 4]], [[4, 7], []], [[3, 8], [0]]]) {
    packLists(lists, shape, source(kept!, marginal!));
    const list = readList(lists.subarray(shape.listWords), 2)!;
    assertEquals([...list.full, ...list.valueOnly], [...kept!, ...marginal!]);
    assertEquals([...list.fullRows], kept!.map((token) => token + 100));
    assertEquals([...list.valueOnlyRows], marginal!.map((token) => token + 100));
    assertEquals([...list.matched], [7, 8]);
    assertEquals(MARGINAL_MODES[list.combine], "additive");
    assertEquals(list.fullSinks, kept!.filter((token) => token < 4).length);
  }
});

Deno.test("packLists() refuses a selection without tokens or without room", () => {
  const lists = new Uint32Array(2 * shape.listWords);
  assertThrows(
    () => packLists(lists, shape, source([], [])),
    RequirementError,
    "tokens of head group 0",
  );
  const all = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  assertThrows(
    () => packLists(lists, shape, source(all, [9])),
    RequirementError,
    "current value is 10",
  );
});
