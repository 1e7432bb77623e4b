import { assertEquals } from "@std/assert";
import { counted } from "../../core/counted.ts";

Deno.test("counted() writes one thing without an s", () => {
  assertEquals([0, 1, 2, 1.5].map((count) => counted(count, "item")), [
    ...["0 items", "1 item", "2 items", "1.5 items"],
  ]);
  assertEquals(counted(2, "entry", "entries"), "2 entries");
});
