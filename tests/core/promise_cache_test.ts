import { assertEquals, assertRejects } from "@std/assert";
import { PromiseCache } from "../../core/promise_cache.ts";

Deno.test("PromiseCache makes a value once per key, and tries again after a failure", async () => {
  const cache = new PromiseCache<string, number>();
  let calls = 0;
  const make = () => ++calls === 1 ? Promise.reject(new Error("full")) : Promise.resolve(calls);
  const both = [cache.get("a", make), cache.get("a", make)];
  for (const failed of both) await assertRejects(() => failed, Error, "full");
  assertEquals(calls, 1);
  assertEquals(await cache.get("a", make), 2);
  assertEquals(await cache.get("a", make), 2);
  assertEquals(await cache.get("b", make), 3);
});
