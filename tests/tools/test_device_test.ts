import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../core/check.ts";
import { splitTestWords } from "../../tools/test_device.ts";

Deno.test("splitTestWords() takes the device out of the words of deno test", () => {
  assertEquals(splitTestWords(["tests/gpu", "--filter", "a"]), {
    device: "webgpu",
    words: ["tests/gpu", "--filter", "a"],
  });
  const dawn = { device: "dawn" as const, words: ["tests/gpu", "--filter", "a"] };
  assertEquals(splitTestWords(["tests/gpu", "--device", "dawn", "--filter", "a"]), dawn);
  assertEquals(splitTestWords(["--device=dawn", "tests/gpu", "--filter", "a"]), dawn);
});

Deno.test("splitTestWords() refuses devices that are no WebGPU", () => {
  for (const [words, value] of [[["--device", "cpu"], "cpu"], [["--device"], "none"]] as const) {
    assertThrows(() => splitTestWords(words), UsageError, `current value is ${value}`);
  }
});
