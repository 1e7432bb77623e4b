/**
 * Several turns of a conversation for `generate`, on one cache: given in advance, or typed one by one.
 *
 * @module
 */

import type { ResolvedPolicy } from "../cache/policy_options.ts";
import { Conversation } from "../decoding/text/conversation.ts";
import type { GenerationStatistics } from "../decoding/text/statistics.ts";
import {
  type CommandCall,
  type CommandInput,
  type CommandIo,
  type OptionSpec,
  valueOption,
} from "./command.ts";
import type { GenerateProgress } from "./generate_progress.ts";
import { statisticsText, uncompressedText } from "./generate_report.ts";
import { readFirstTurn, readTextOrFile } from "./generate_prompt.ts";
import type { RunSettings } from "./generate_run.ts";

/** In place of a file: turns are read from standard input as they are typed. */
const TYPED = "-";

/** Options of further turns. */
export const TURN_FLAGS: Readonly<Record<string, OptionSpec>> = {
  turns: valueOption(
    "FILE|TEXT|-",
    "further turns, one per line; - reads them as they are typed",
  ),
};

/** A turn and its answer. */
export interface AnsweredTurn {
  /** What the user said. */
  readonly turn: string;
  /** What was answered. */
  readonly text: string;
  /** Ids of the answer. */
  readonly tokens: readonly number[];
  /** Times and bytes. */
  readonly stats: GenerationStatistics;
}

/** The turns, one per line that is not empty. */
async function* readTurns(call: CommandCall, settings: TurnSettings): AsyncGenerator<string> {
  const given = call.required("turns");
  if (given === TYPED) {
    if (!settings.io.input) {
      call.fail("--turns - must have a standard input: current value is none");
    }
    if (call.has("prompt")) yield await readFirstTurn(call);
    return yield* typedTurns(settings.io.input!, settings);
  }
  const text = await readTextOrFile(given);
  yield await readFirstTurn(call);
  yield* text.split("\n").filter((line) => line.trim() !== "");
}

/** At a terminal, a prompt is shown for each turn. */
async function* typedTurns(
  input: CommandInput,
  { io: { error }, progress }: TurnSettings,
): AsyncGenerator<string> {
  while (true) {
    progress.beginText();
    if (input.isTerminal) error("> ");
    const line = await input.nextLine();
    if (line === undefined) break;
    if (line.trim() !== "") yield line;
  }
  if (input.isTerminal) error("\n");
}

/** A conversation and where it is printed. */
export interface TurnSettings extends Omit<RunSettings, "prompt" | "teacherForced"> {
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** Tokens of a turn that run at once; 1 if left out. */
  readonly turnBlock?: number;
  /** Whether objects are printed instead of text. */
  readonly isJson: boolean;
  /** Whether each answer is followed by its statistics. */
  readonly hasStats: boolean;
  /** Where to print. */
  readonly io: CommandIo;
  /** What is shown while nothing is printed. */
  readonly progress: GenerateProgress;
}

/**
 * Holds a conversation and prints it: turns from a file as one object or text, typed ones each as it is answered.
 *
 * @param call The command line, which names the turns.
 * @param settings Models, policy, budget, drafts, output.
 * @throws The signal's reason if it aborts.
 */
export async function printTurns(call: CommandCall, settings: TurnSettings): Promise<void> {
  const isChat = call.has("chat");
  const isTyped = call.required("turns") === TYPED;
  const { models, policy, budget, cut, store, match, turnBlock, isJson, hasStats, io } = settings;
  const drafts = policy.saliencySource === "small" ? settings.drafts : {};
  using conversation = new Conversation(models, {
    ...{ policy, budget, store, match, isChat },
    ...(turnBlock !== undefined && { turnBlock }),
    ...(settings.sampling && { sampling: settings.sampling }),
    ...cut,
    ...drafts,
  });
  const isEchoed = !isJson && !(isTyped && io.input?.isTerminal);
  const about = { policy: policy.name, budget };
  const answers: AnsweredTurn[] = [];
  for await (const turn of readTurns(call, settings)) {
    if (answers.length > 0 && isEchoed) io.out(`\n> ${turn}\n`);
    const answer = await answerTurn(conversation, turn, { ...settings, isTyped });
    answers.push(answer);
    if (isJson && isTyped) io.out(`${JSON.stringify({ ...about, ...answer })}\n`);
    if (!isJson) io.out(`\n${hasStats ? `\n${statisticsText(answer.stats)}` : ""}`);
    if (answers.length > 1) continue;
    const { promptTokens: [first], steps } = answer.stats;
    const place = { tokens: first! + steps, promptTokens: first! };
    io.error(uncompressedText({ policy, budget, config: models.large.config }, place));
  }
  settings.progress.finish();
  if (isJson && !isTyped) io.out(`${JSON.stringify({ ...about, turns: answers })}\n`);
}

/** Answers a turn; where turns are typed, Ctrl-C ends the answer alone. */
async function answerTurn(
  conversation: Conversation,
  turn: string,
  settings: TurnSettings & { readonly isTyped: boolean },
): Promise<AnsweredTurn> {
  const { io, isTyped } = settings;
  const run = (signal: AbortSignal) =>
    writeAnswer(conversation, turn, {
      ...settings,
      signal: AbortSignal.any([signal, settings.signal]),
    });
  const answer = await (isTyped ? io.input!.interruptible(run) : run(io.signal));
  settings.signal.throwIfAborted();
  return answer;
}

async function writeAnswer(
  conversation: Conversation,
  turn: string,
  settings: TurnSettings,
): Promise<AnsweredTurn> {
  const { signal, ignoresEnd, newTokens, policy, isJson, io, progress } = settings;
  const said = conversation.say(turn, {
    maxNewTokens: newTokens,
    signal,
    hasSelections: settings.hasSelections,
    ...(settings.ahead !== undefined && { ahead: settings.ahead }),
    ...(ignoresEnd && { stopTokens: [] }),
    onPrefill: (share) => settings.onProgress?.(`${policy.name}, turn`, share),
  });
  const tokens: number[] = [];
  let text = "";
  while (true) {
    const { value, done } = await said.next();
    if (done) return { turn, text, tokens, stats: value };
    // The reference device never waits, and Ctrl-C is only heard while something does.
    await new Promise((resolve) => setTimeout(resolve, 0));
    tokens.push(value.tokenId);
    text += value.text;
    if (isJson) continue;
    progress.beginText();
    io.out(value.text);
  }
}
