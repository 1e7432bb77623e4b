/**
 * Writes training batches of one phase to standard output, for the training script.
 *
 *     deno run -A tools/train_pair/write_text.ts --phase retrieval --from 0
 *
 * @module
 */

import { parseArgs } from "node:util";
import { UsageError } from "../../core/check.ts";
import embedded from "../../data/embedded/large/tokenizer.json" with { type: "json" };
import { createTokenizer } from "../../models/tokenizer/tokenizer.ts";
import { batchBytes, batchItems, type PhaseText, trainingRow, wordEncoder } from "./batches.ts";
import plan from "./plan.json" with { type: "json" };

/**
 * Finds the text of a phase.
 *
 * @param name Name of the phase in the plan.
 * @throws {UsageError} If the plan has no such phase.
 */
export function phaseText(name: string): PhaseText {
  const phase = plan.phases.find((candidate) => candidate.name === name);
  if (phase === undefined) {
    const names = plan.phases.map((candidate) => candidate.name).join(", ");
    throw new UsageError(
      `Cannot write training text: --phase must be one of ${names}: current value is ${name}`,
    );
  }
  const lengths = phase.lengths as unknown as PhaseText["lengths"];
  const mix = plan.mixes[phase.mix as keyof typeof plan.mixes];
  return { seed: phase.seed, steps: phase.steps, lengths, mix, batchTokens: plan.batch_tokens };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { phase: { type: "string" }, from: { type: "string", default: "0" } },
  });
  const text = phaseText(values.phase ?? "");
  const tokenizer = createTokenizer({ json: embedded, config: {} });
  const encode = wordEncoder((part) => tokenizer.encode(part, { addSpecialTokens: false }));
  const writer = Deno.stdout.writable.getWriter();
  try {
    for (let step = Number(values.from); step < text.steps; step++) {
      const rows = batchItems(text, step).map((item) => trainingRow(item, encode));
      await writer.write(batchBytes(rows));
    }
    await writer.close();
  } catch (error) {
    // The reader has stopped, as it may.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

if (import.meta.main) await main();
