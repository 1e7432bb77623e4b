import { assert, assertEquals, assertRejects } from "@std/assert";
import { delay, untilAborted } from "../../core/aborted.ts";

Deno.test("delay() and untilAborted() end at once when their signal aborts, before or meanwhile", async () => {
  const start = performance.now();
  const late = new AbortController();
  const waits = [delay(60_000, late.signal), untilAborted(new Promise(() => {}), late.signal)];
  setTimeout(() => late.abort(new Error("stop")), 20);
  for (const wait of waits) await assertRejects(() => wait, Error, "stop");
  await assertRejects(() => delay(60_000, late.signal), Error, "stop");
  await assertRejects(() => untilAborted(Promise.resolve(1), late.signal), Error, "stop");
  assert(performance.now() - start < 30_000);
  await delay(1);
  assertEquals(await untilAborted(Promise.resolve(1), new AbortController().signal), 1);
  await assertRejects(() => untilAborted(Promise.reject(new Error("work"))), Error, "work");
});
