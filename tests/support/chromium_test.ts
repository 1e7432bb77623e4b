import { assertEquals } from "@std/assert";
import { useChromium } from "./chromium.ts";

Deno.test("useChromium() ends with the Chromium that there was, in whatever order its users end", () => {
  const seen = () => Deno.env.get("SMALLKV_CHROMIUM");
  const before = seen();
  const first = useChromium("none");
  const second = useChromium("other");
  assertEquals(seen(), "other");
  first[Symbol.dispose]();
  assertEquals(seen(), "other");
  second[Symbol.dispose]();
  assertEquals(seen(), before);
});
