/**
 * Several turns of a conversation for `generate`, on one kept cache.
 *
 * @module
 */

import { stat } from "node:fs/promises";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Progress } from "../../core/progress.ts";
import { Conversation } from "../../decoding/generation/conversation.ts";
import type { GenerationStatistics } from "../../decoding/generation/generation_statistics.ts";
import type { CommandCall, CommandIo, OptionSpec } from "./command.ts";
import { statisticsText } from "./generate_report.ts";
import { readFirstTurn } from "./generate_prompt.ts";
import type { RunSettings } from "./generate_run.ts";
import { readTextFile } from "./token_input.ts";

/** Options of further turns. */
export const TURN_FLAGS: Readonly<Record<string, OptionSpec>> = {
  turns: { type: "string", placeholder: "FILE|TEXT", text: "what follows each answer, by line" },
};

/** A turn and its answer. */
export interface AnsweredTurn {
  /** What was said. */
  readonly turn: string;
  /** What was answered. */
  readonly text: string;
  /** Ids of the answer. */
  readonly tokens: readonly number[];
  /** Times and bytes. */
  readonly stats: GenerationStatistics;
}

/**
 * Refuses options that exclude further turns.
 *
 * @param call The command line.
 * @throws {UsageError} If one is given with them.
 */
export function checkTurnFlags(call: CommandCall): void {
  if (!call.has("turns")) return;
  for (const other of ["tokens", "compare", "reference-tokens", "trace"]) {
    if (call.has(other)) {
      call.fail(`--turns and --${other} exclude each other: current value is both`);
    }
  }
}

/** One turn per line that is not empty. */
async function readTurns(call: CommandCall): Promise<string[]> {
  const given = call.required("turns");
  const isFile = await stat(given).then((found) => found.isFile(), () => false);
  const text = isFile ? await readTextFile(given) : given;
  return text.split("\n").filter((line) => line.trim() !== "");
}

/** A conversation and where it is printed. */
export interface TurnSettings extends RunSettings {
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** Whether one object is printed instead of text. */
  readonly isJson: boolean;
  /** Whether each answer is followed by its statistics. */
  readonly hasStats: boolean;
  /** Where to print. */
  readonly io: CommandIo;
  /** What is shown while nothing is printed. */
  readonly progress: Progress;
}

/**
 * Holds a conversation and prints it.
 *
 * @param call The command line, which names what is said.
 * @param settings Models, policy, budget, drafts, output.
 * @throws The signal's reason if it aborts.
 */
export async function printTurns(call: CommandCall, settings: TurnSettings): Promise<void> {
  const turns = [await readFirstTurn(call), ...await readTurns(call)];
  const isChat = call.has("chat");
  const { models, policy, budget, cut, store, match, isJson, hasStats, io } = settings;
  const drafts = policy.scores === "helper" ? settings.drafts : {};
  using conversation = new Conversation(models, {
    ...{ policy, budget, store, match, isChat },
    ...cut,
    ...drafts,
  });
  const answers: AnsweredTurn[] = [];
  for (const [index, turn] of turns.entries()) {
    if (index > 0 && !isJson) io.out(`\n> ${turn}\n`);
    const answer = await answerTurn(conversation, turn, settings);
    answers.push(answer);
    if (isJson) continue;
    io.out("\n");
    if (hasStats) io.out(`\n${statisticsText(answer.stats)}`);
  }
  settings.progress.finish();
  if (isJson) io.out(`${JSON.stringify({ policy: policy.name, budget, turns: answers })}\n`);
}

async function answerTurn(
  conversation: Conversation,
  turn: string,
  settings: TurnSettings,
): Promise<AnsweredTurn> {
  const { signal, ignoresEnd, newTokens, policy, isJson, io, progress } = settings;
  const said = conversation.say(turn, {
    maxNewTokens: newTokens,
    signal,
    ...(ignoresEnd && { stopTokens: [] }),
    onPrefill: (share) => settings.onProgress?.(`${policy.name}, turn`, share),
  });
  const tokens: number[] = [];
  let text = "";
  while (true) {
    const { value, done } = await said.next();
    if (done) {
      signal.throwIfAborted();
      return { turn, text, tokens, stats: value };
    }
    tokens.push(value.tokenId);
    text += value.text;
    if (isJson) continue;
    progress.finish();
    io.out(value.text);
  }
}
