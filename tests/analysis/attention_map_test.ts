import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  accumulateAttention,
  type AttentionMap,
  checkAttentionMap,
  windowAttention,
} from "../../analysis/attention_map.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { randomMap } from "./support.ts";

const map: AttentionMap = {
  layer: 1,
  head: 2,
  queries: 3,
  keys: 3,
  // rows 1; .25 .75; .5 .25 .25
  values: Float32Array.of(1, 0, 0, 0.25, 0.75, 0, 0.5, 0.25, 0.25),
};

Deno.test("accumulateAttention() sums columns by hand", () => {
  assertEquals([...accumulateAttention(map)], [1.75, 1, 0.25]);
  assertEquals([...accumulateAttention(map, { lastRows: 1 })], [0.5, 0.25, 0.25]);
  assertEquals(
    [...accumulateAttention(map, { normalisation: "mean" })],
    [Math.fround(1.75 / 3), 0.5, 0.25],
  );
});

Deno.test("accumulateAttention() sums to the number of rows (invariant 2)", () => {
  for (const tokens of [1, 2, 31, 32, 33, 97]) {
    const random = seededRandom(tokens);
    const whole = randomMap(random, tokens);
    const sum = accumulateAttention(whole).reduce((total, value) => total + value, 0);
    assert(Math.abs(sum - tokens) < 1e-4 * tokens, `${sum} for ${tokens} tokens`);
    const last = Math.ceil(tokens / 2);
    const part = accumulateAttention(whole, { lastRows: last });
    assert(Math.abs(part.reduce((total, value) => total + value, 0) - last) < 1e-4 * tokens);
  }
});

Deno.test("accumulateAttention() divides by the rows that see a key when rows are few", () => {
  const decode: AttentionMap = {
    layer: 0,
    head: 0,
    queries: 2,
    keys: 4,
    values: Float32Array.of(0.5, 0.25, 0.25, 0, 0.25, 0.25, 0.25, 0.25),
  };
  assertEquals(
    [...accumulateAttention(decode, { normalisation: "mean" })],
    [0.375, 0.25, 0.25, 0.25],
  );
});

Deno.test("windowAttention() takes each side by hand (D-3)", () => {
  assertEquals([...windowAttention(map, { size: 2 })], [1.25, 0.75]);
  assertEquals([...windowAttention(map, { size: 2, side: "tail" })], [1, 0.25]);
  assertEquals([...windowAttention(map, { size: 2, side: "lastQueries" })], [0.75, 1, 0.25]);
  assertEquals([...windowAttention(map, { size: 200 })], [1.75, 1, 0.25]);
});

Deno.test("windowAttention() of the head side ignores what comes later", () => {
  const long = randomMap(seededRandom(8), 60);
  const short = { ...long, queries: 25, keys: 25, values: new Float32Array(25 * 25) };
  for (let query = 0; query < 25; query++) {
    short.values.set(long.values.subarray(query * 60, query * 60 + 25), query * 25);
  }
  assertEquals(windowAttention(long, { size: 25 }), accumulateAttention(short));
});

Deno.test("checkAttentionMap() accepts a causal map and names what is wrong with others", () => {
  checkAttentionMap(map);
  checkAttentionMap(randomMap(seededRandom(1), 33));
  const broken = (change: (values: Float32Array) => void) => {
    const values = map.values.slice();
    change(values);
    return { ...map, values };
  };
  assertEquals(
    assertThrows(() => checkAttentionMap(broken((values) => values[1] = 0.5)), RequirementError)
      .message,
    "Cannot use an attention map: entries must be at least 0, and 0 in the future: " +
      "current value is 0.5 at row 0, column 1",
  );
  assertThrows(() => checkAttentionMap(broken((values) => values[4] = NaN)), RequirementError);
  assertThrows(
    () => checkAttentionMap(broken((values) => values[8] = 0.5)),
    Error,
    "row 2 must sum to 1",
  );
  assertThrows(() => checkAttentionMap({ ...map, keys: 4 }), RequirementError);
  assertThrows(() => checkAttentionMap({ ...map, queries: 4 }), RequirementError);
  assertThrows(
    () => accumulateAttention(broken((values) => values[4] = NaN)),
    Error,
    "NaN in column 1 of layer 1, head 2",
  );
});
