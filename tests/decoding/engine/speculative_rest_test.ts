/**
 * The rest of the tokens under drafts: sums of drafts that are not accepted, or not reported before a turn, leave nothing.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { StepReport } from "../../../decoding/engine/types.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testBackends } from "../../support/gpu.ts";
import { decodePlainly, openCase, openSpeculation, spoiledDrafts } from "./speculative_cases.ts";

/** Tokens before a turn, and after it. */
const STEPS = 5;
const TURN = [7, 9, 11];

for (const backend of testBackends) {
  for (const marginal of [true, false]) {
    const name = `${marginal ? "with" : "without"} marginal tokens on ${backend}`;
    Deno.test(`SpeculativeSession counts the rest as plain decoding does, ${name}`, async () => {
      const { pair, prompt, options } = await openCase({
        ...{ roles: ["large", "small"], text: 1, promptTokens: 130, policy: "smallkv_query_aware" },
        ...{ options: { rest: "mean", marginal }, ratio: 0.1, draftTokens: 3 },
        ...{ block: "per_query", wrong: [] },
      }, backend);
      const plain: StepReport[] = [];
      using session = new PolicySession(pair, options);
      await session.prefill(prompt);
      const [first] = await session.nextTokens();
      const tokens = () => [first!, ...plain.map(({ chosen }) => chosen[0]!)];
      const steps = async () => {
        for (let step = 0; step < STEPS; step++) plain.push(await session.step({ logits: true }));
      };
      await steps();
      const newest = tokens().at(-1)!;
      await session.prefill([newest, ...TURN]);
      const [after] = await session.nextTokens();
      await steps();
      // Without the rest the logits are others: the comparison below would notice.
      using bare = new PolicySession(pair, {
        ...options,
        policy: createPolicy("smallkv_query_aware", { marginal }),
      });
      await bare.prefill(prompt);
      const { logits } = await bare.step({ logits: true });
      assert(logits!.some((value, index) => Math.abs(value - plain[0]!.logits![index]!) > 0.1));

      using drafting = new SpeculativeSession(pair, options);
      await drafting.prefill(prompt);
      const check = (row: StepReport, step: number) => {
        assertEquals(row.chosen, plain[step]!.chosen, `step ${step}`);
        const [ours, expected] = [row.logits!, plain[step]!.logits!];
        if (backend === "cpu") assertEquals(ours, expected, `step ${step}`);
        else assertClose(ours, expected, { terms: 64, magnitude: 8 });
      };
      // One draft is accepted, and a wrong one follows; then a block whose last row the turn cuts off.
      const drafts = spoiledDrafts(tokens().slice(1), 3, 1);
      const { rows, accepted } = await drafting.block({ drafts, logits: true });
      assertEquals([accepted, rows.length], [1, 2]);
      rows.forEach(check);
      for (let step = rows.length; step < STEPS; step++) {
        check(await drafting.step({ logits: true }), step);
      }
      await drafting.prefill([newest, ...TURN]);
      assertEquals(await drafting.nextTokens(), [after]);
      for (let step = STEPS; step < 2 * STEPS; step++) {
        check(await drafting.step({ logits: true }), step);
      }
    });
  }

  Deno.test(`SpeculativeSession counts one rest for all rows of a shared selection on ${backend}`, async () => {
    // Tokens are chosen once, so that a shared selection is what each row would have without drafts.
    const options = { rest: "mean", interval: 16, score: "row" } as const;
    const given = await openCase({
      ...{ roles: ["large", "small"], text: 1, promptTokens: 130, policy: "smallkv" },
      ...{ options, ratio: 0.1, draftTokens: 3, block: "shared", wrong: [] },
    }, backend);
    const plain = await decodePlainly(given, 2 * STEPS);
    const next = plain.map(({ token }) => token);
    using drafting = await openSpeculation(given);
    for (let done = 0, wrong = 1; done < STEPS; wrong = 3 - wrong) {
      // One draft is accepted, or two; sums of the others must not remain.
      const drafts = spoiledDrafts(next.slice(done + 1), 3, wrong);
      const { rows, accepted } = await drafting.block({ drafts, logits: true });
      assertEquals(accepted, wrong);
      for (const row of rows) {
        const { selections, chosen, logits } = plain[done++]!.report;
        assertEquals([row.selections, row.chosen], [selections, chosen], `step ${done}`);
        assertClose(row.logits!, logits!, { terms: 64, magnitude: 8 });
      }
    }
  });
}
