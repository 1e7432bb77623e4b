import { assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import { loadModel } from "../../../models/load.ts";
import golden from "../../fixtures/hidden_states.json" with { type: "json" };
import { assertClose } from "../../support/assert_close.ts";
import { testBackends, testDevice } from "../../support/gpu.ts";

const TINY = new URL("../../fixtures/tiny/", import.meta.url).pathname;

for (const backend of testBackends) {
  Deno.test(`traceAttention() returns transformers' hidden states, keys and values (${backend})`, async () => {
    const device = await testDevice(backend);
    for (const [name, { tokens, hidden, keys, values }] of Object.entries(golden)) {
      using model = await loadModel(`${TINY}${name}`, { device });
      const trace = await traceAttention(model, tokens, { hidden: true, vectors: true });
      const bounds = { terms: 100, magnitude: 2 };
      assertClose(trace.hidden!, hidden, bounds);
      assertClose(trace.vectors!.keys, keys, bounds);
      assertClose(trace.vectors!.values, values, bounds);
      const plain = await traceAttention(model, tokens);
      assertEquals([plain.hidden, plain.vectors], [undefined, undefined]);
    }
  });
}

Deno.test("traceAttention() counts hidden states and vectors among what it holds", async () => {
  const device = await testDevice("reference");
  using model = await loadModel(`${TINY}qwen2_untied_f32`, { device });
  // Logits of one row, then 3 states of 36 elements, or 2 layers of 2 vectors of 8, for 7 tokens.
  const tokens = golden.qwen2_untied_f32.tokens;
  for (
    const [options, bytes] of [[{ hidden: true }, 3 * 36], [{ vectors: true }, 2 * 2 * 8]] as const
  ) {
    const maxBytes = 4 * (97 + 7 * bytes);
    await traceAttention(model, tokens, { ...options, maxBytes });
    const less = { ...options, maxBytes: maxBytes - 1 };
    await assertRejects(() => traceAttention(model, tokens, less), RequirementError);
  }
});
