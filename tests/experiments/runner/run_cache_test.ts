import { assertEquals, assertRejects } from "@std/assert";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBlobStore } from "../../../experiments/runner/blob_store.ts";
import { cachedValue, cachedValues } from "../../../experiments/runner/run_cache.ts";

Deno.test("cachedValues() measures what is missing, all at once and in order", async () => {
  const folder = await mkdtemp(join(tmpdir(), "values-"));
  try {
    const store = openBlobStore(folder, { isFresh: false });
    const cache = { store, code: "first" };
    const asked: number[][] = [];
    const measure = (inputs: readonly { readonly x: number }[]) => (missing: readonly number[]) => {
      asked.push(missing.map((index) => inputs[index]!.x));
      return Promise.resolve(missing.map((index) => ({ square: inputs[index]!.x ** 2 })));
    };
    const few = [{ x: 2 }, { x: 5 }];
    await cachedValues(cache, few, measure(few));
    const many = [{ x: 1 }, { x: 2 }, { x: 3 }, { x: 5 }];
    const values = await cachedValues(cache, many, measure(many));
    assertEquals(values.map(({ square }) => square), [1, 4, 9, 25]);
    assertEquals(asked, [[2, 5], [1, 3]]);
    await cachedValues(cache, many, measure(many));
    assertEquals(asked.length, 2);
    const never = () => Promise.reject(new Error("measured again"));
    assertEquals(await cachedValue(cache, { x: 5 }, never), { square: 25 });
    await assertRejects(
      () => cachedValue({ store, code: "second" }, { x: 5 }, never),
      Error,
      "measured again",
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
