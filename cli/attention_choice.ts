/**
 * Which heads' maps `extract` writes, and how large that gets.
 *
 * @module
 */

import type { TensorPlan } from "../core/safetensors_writer.ts";
import type { CommandCall } from "./command.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";

/** A head as [layer, head]. */
export type HeadIndex = readonly [layer: number, head: number];

/**
 * Parses `--attention`.
 *
 * @param call The command line.
 * @returns `all`, heads without repeats, or nothing if the option is not there.
 * @throws {UsageError} If it is neither `all` nor a list of LAYER:HEAD.
 */
export function parseAttention(call: CommandCall): "all" | readonly HeadIndex[] | undefined {
  const text = call.value("attention");
  if (text === undefined || text === "all") return text;
  const heads = new Map<string, HeadIndex>();
  for (const part of text.split(",")) {
    const match = /^(\d{1,6}):(\d{1,6})$/.exec(part.trim());
    if (match === null) {
      return call.fail(
        `--attention must be all or LAYER:HEAD,...: current value is ${text}`,
      );
    }
    const head: HeadIndex = [Number(match[1]), Number(match[2])];
    heads.set(head.join(":"), head);
  }
  return [...heads.values()];
}

/**
 * Lists the heads of a choice and checks that the model has them.
 *
 * @param choice What was asked for.
 * @param model The model.
 * @returns Heads; of `all`, by layer and then head.
 * @throws {RangeError} If the model lacks one.
 */
export function chosenHeads(
  choice: "all" | readonly HeadIndex[] | undefined,
  model: ExperimentModel,
): readonly HeadIndex[] {
  const { layers, queryHeads, name } = model;
  if (choice === undefined) return [];
  if (choice === "all") {
    return Array.from(
      { length: layers * queryHeads },
      (_, flat): HeadIndex => [Math.floor(flat / queryHeads), flat % queryHeads],
    );
  }
  const missing = choice.find(([layer, head]) => layer >= layers || head >= queryHeads);
  if (missing === undefined) return choice;
  throw new RangeError(
    `Cannot extract attention: heads of ${name} must be from 0:0 to ${layers - 1}:${
      queryHeads - 1
    }: current value is ${missing.join(":")}`,
  );
}

/** What `extract` writes. */
export interface ExtractPlan {
  /** Number of tokens. */
  readonly tokens: number;
  /** Rows of logits. */
  readonly logits: "last" | "all" | undefined;
  /** Whether accumulated attention is written. */
  readonly accumulated: boolean;
  /** Maps asked for. */
  readonly attention: "all" | readonly HeadIndex[] | undefined;
}

/**
 * Lists the tensors of the output in file order.
 *
 * @param plan What was asked for.
 * @param model The model.
 * @returns Names and shapes.
 */
export function extractTensors(plan: ExtractPlan, model: ExperimentModel): TensorPlan[] {
  const { tokens, logits, accumulated, attention } = plan;
  const { layers, queryHeads, vocabulary } = model;
  const tensors: TensorPlan[] = [];
  if (logits !== undefined) {
    tensors.push({ name: "logits", shape: [logits === "all" ? tokens : 1, vocabulary] });
  }
  if (accumulated) tensors.push({ name: "accumulated", shape: [layers, queryHeads, tokens] });
  if (attention === "all") {
    tensors.push({ name: "attention", shape: [layers, queryHeads, tokens, tokens] });
  } else {
    for (const [layer, head] of attention ?? []) {
      tensors.push({ name: `attention.${layer}.${head}`, shape: [tokens, tokens] });
    }
  }
  return tensors;
}
