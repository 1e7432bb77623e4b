import { assert, assertEquals } from "@std/assert";
import { Session } from "../../decoding/session/session.ts";
import { loadModel } from "../../models/load.ts";
import { type Agreement, compareLogits } from "../support/agreement.ts";
import { largestHeadError, readGolden } from "../support/golden.ts";
import { gpuBackend, hasGpu, testDevice } from "../support/gpu.ts";
import { realModel } from "../support/real_models.ts";

/** Gemma 3 270M on a text longer than its window, against what transformers computed from the file's weights. */

const path = realModel("gemma-3-270m-q4_k_m.gguf");

for (const backend of [gpuBackend, "cpu"] as const) {
  Deno.test({
    name: `Gemma 3 270M agrees with transformers on 640 tokens on ${backend}`,
    ignore: path === undefined || backend === gpuBackend && !hasGpu,
    async fn() {
      const golden = await readGolden("real/gemma-3-270m");
      using model = await loadModel(path!, { device: await testDevice(backend) });
      const tokens = [...golden("tokens").values];
      using session = new Session(model, {
        capacity: tokens.length,
        accumulate: true,
        isExact: true,
      });
      const agreement: Agreement = { divergences: [], compared: 0, same: 0 };
      let firstRow = 0;
      await session.prefill(tokens, {
        logits: "all",
        onLogits(logits) {
          const rows = logits.length / model.config.vocabulary;
          compareLogits(logits, golden, agreement, { rows, firstRow });
          firstRow += rows;
        },
      });
      const sums = golden("accumulated").values;
      const sumError = largestHeadError(await session.accumulated(), sums, tokens.length);
      const { divergences, compared, same } = agreement;
      const divergence = divergences.reduce((sum, one) => sum + one, 0) / divergences.length;
      const figures = `KL ${divergence}, top-1 ${same}/${compared}, column sums ${sumError}`;
      console.log(figures);
      assertEquals(divergences.length, 640);
      assert(divergence <= 2e-3 && same >= 0.99 * compared && sumError <= 2e-3, figures);
    },
  });
}
