/**
 * Decoding under a policy whose small model drafts as well: each pass of the small model proposes a token, selects what the
 * token before it attends to, and weighs marginal tokens. The large model checks a block of drafts in one pass.
 *
 * Greedy only. The output is that of the large model with its compressed cache, not with its full one.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, section 4.3
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import { ResidentStore } from "../../cache/resident_store.ts";
import { checkInteger, RequirementError } from "../../core/check.ts";
import { Calls } from "../session/calls.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import { checkTokens } from "../session/step_io.ts";
import { type PromptEvents, type PromptOptions, runPrompt } from "./prompt.ts";
import { checkFit } from "../scoring/map_fitting.ts";
import { checkPair, checkSpeculation, checkTurnBlock, refuseOwnTokens } from "./checks.ts";
import type { ModelPair, PolicyMemory, StepOptions, StepReport } from "./types.ts";
import { forgetPrompt, runTurn } from "./turn.ts";
import { residentLists } from "../selection/lists.ts";
import {
  BlockPlanner,
  createSpeculativeParts,
  readSmallScores,
  type SpeculativeParts,
} from "./speculative_parts.ts";
import type { Verification } from "./speculative_blocks.ts";
import {
  type BlockOptions,
  type BlockPlace,
  type BlockReport,
  type BlockSelection,
  type BlockSelections,
  type BlockTimes,
  SpeculationRecorder,
  type SpeculationStatistics,
  type SpeculativeOptions,
} from "./speculative_types.ts";
import { wholeCapacity } from "./parts.ts";

/**
 * A pair that decodes under a policy, block by block. Closing it frees caches and activations.
 *
 * One call at a time: another one is refused until the last has ended. A prompt or a turn that fails or is aborted leaves
 * the sequence as it was. A block that fails once it has begun to run makes the session refuse every further call.
 */
export class SpeculativeSession implements Disposable {
  readonly #pair: Required<ModelPair>;
  readonly #options: SpeculativeOptions & { readonly block: BlockSelection };
  readonly #parts: SpeculativeParts;
  readonly #recorder = new SpeculationRecorder();
  readonly #calls: Calls;
  /** The text so far, including the token that comes next. */
  readonly #tokens: number[] = [];
  /** The block whose rows `step` reports. */
  #tried: TriedBlock | undefined;
  #planner: BlockPlanner | undefined;
  /** Counts what a store that holds only the selections would move; the session still owns the cache. */
  #store: ResidentStore | undefined;

  /**
   * Allocates caches and activations.
   *
   * @param pair Both models.
   * @param options Policy, budget, drafts.
   * @throws {RequirementError} If the policy cannot decode with drafts, or there are too many.
   * @throws {RequirementError} If there is no small model, or its vocabulary differs.
   */
  constructor(pair: ModelPair, options: SpeculativeOptions) {
    const speculation = checkSpeculation(options.policy, options);
    checkTurnBlock([options], options);
    checkFit(options.match ?? {}, [options.policy]);
    checkPair(pair, options.policy);
    refuseOwnTokens(pair.small, "speculate");
    this.#pair = { large: pair.large, small: pair.small! };
    this.#calls = new Calls("session", [pair.large, pair.small!]);
    this.#options = { ...options, ...speculation, capacity: wholeCapacity(options.capacity) };
    this.#parts = createSpeculativeParts(this.#pair, this.#options);
  }

  /** Tokens in the cache. */
  get lengths(): readonly number[] {
    return this.#parts.large.lengths;
  }

  /** Totals over the blocks so far. */
  get speculation(): SpeculationStatistics {
    return this.#recorder.finish();
  }

  /**
   * Runs a prompt or a further turn exactly, with both models; nothing is dropped before the next block.
   *
   * @param tokens Token ids; for a further turn all that the cache does not hold, including the newest chosen token.
   * @param options Progress, signal.
   * @throws {RequirementError} If the tokens do not fit, or another call has not ended.
   * @throws {GpuError} If the device runs out of memory. As after an abort, the prompt or turn can be run again.
   */
  async prefill(tokens: readonly number[], options: PromptOptions = {}): Promise<void> {
    using _call = this.#calls.begin("run a prompt");
    const { sequence = 0, ...events } = options;
    checkInteger("run a prompt", "sequence", { value: Number(sequence), min: 0, max: 0 });
    // The token after it needs a place, too.
    const room = this.#options.capacity - 1 - this.#length;
    checkTokens(tokens, { vocabulary: this.#pair.large.config.vocabulary, room });
    try {
      if (this.#planner) await this.#continue(tokens, events);
      else await this.#begin(tokens, events);
    } catch (error) {
      throw memoryAdvice(error);
    }
  }

  /** Runs the prompt with which the sequence begins. */
  async #begin(tokens: readonly number[], events: PromptEvents): Promise<void> {
    const { large, smallModel, sequences } = this.#parts;
    const { match = {}, block } = this.#options;
    const promptSequences = sequences.begin([0], tokens.length);
    const models = { large, small: smallModel.session, match };
    const { needsSums } = smallModel;
    try {
      const state = await runPrompt(models, tokens, { ...events, promptSequences, needsSums });
      await sequences.startFrom(promptSequences, tokens.length, state);
      this.#tokens.push(...tokens, ...await large.nextTokens());
    } catch (error) {
      forgetPrompt(this.#parts, [0]);
      throw error;
    }
    this.#planner = new BlockPlanner(sequences.all[0]!, block);
    this.#store = new ResidentStore(large.forward.cache);
  }

  async #continue(tokens: readonly number[], events: PromptEvents): Promise<void> {
    const { large } = this.#parts;
    this.#tried = undefined;
    await runTurn(this.#parts, tokens, { ...events, indices: [0] });
    this.#parts.blockRest?.forget();
    await this.#calls.change(async () => {
      this.#tokens.splice(-1, 1, ...tokens, ...await large.nextTokens());
    });
    this.#store = new ResidentStore(large.forward.cache);
  }

  /**
   * Returns the token that the sequence continues with.
   *
   * @returns Its id.
   * @throws {RequirementError} If there is no prompt, or another call has not ended.
   */
  // deno-lint-ignore require-await -- refusals must reject, as in other sessions
  async nextTokens(): Promise<number[]> {
    using _call = this.#calls.begin("read the next token", { isRead: true });
    return [this.#next];
  }

  /**
   * Drafts a block, checks it and accepts the drafts that the large model agrees with.
   *
   * @param options Your own drafts or tokens; whether logits are read.
   * @returns New tokens, and what each of their rows attended to.
   * @throws {RequirementError} If the cache is full, there is no prompt, given tokens do not fit, or another call has not ended.
   */
  async block(options: BlockOptions = {}): Promise<BlockReport> {
    using _call = this.#calls.begin("decode");
    this.#tried = undefined;
    const tried = await this.#try(options);
    const rows: StepReport[] = [];
    while (tried.done <= tried.accepted) rows.push(await this.#acceptRow(tried));
    const { accepted, checked: { drafts, choices }, times } = tried;
    return { tokens: choices.slice(0, accepted + 1), drafts, accepted, rows, times };
  }

  /**
   * Reports the accepted rows of a block one by one as decode steps; when none is left, runs another block.
   *
   * @param options Whether logits are read. Tokens can only be given to whole blocks.
   * @returns What the step saw and chose.
   * @throws {RequirementError} If the cache is full, there is no prompt, a token is given, or another call has not ended.
   */
  async step(options: StepOptions = {}): Promise<StepReport> {
    using _call = this.#calls.begin("decode");
    if (options.tokens) {
      throw new RequirementError({
        action: "speculate",
        requirement: "forced tokens must be given to whole blocks",
        current: "a step",
      });
    }
    const { logits = false } = options;
    const isLeft = this.#tried !== undefined && this.#tried.done <= this.#tried.accepted;
    if (!isLeft) this.#tried = await this.#try({ logits });
    const tried = this.#tried!;
    if (logits && !tried.checked.logits) {
      throw new RequirementError({
        action: "speculate",
        requirement: "logits of a block must be requested with its first step",
        current: `row ${tried.done} of a block without them`,
      });
    }
    return await this.#acceptRow(tried);
  }

  /**
   * Reads the scores that the small model's heads give each committed token.
   *
   * @returns Scores, [smallHeads, tokens].
   * @throws {RequirementError} If another call has not ended.
   */
  async smallScores(): Promise<Float32Array> {
    using _call = this.#calls.begin("read scores", { isRead: true });
    return await readSmallScores(this.#parts, this.#length);
  }

  /** Bytes of keys and values now. */
  // deno-lint-ignore require-await -- refusals must reject, as in other sessions
  async memory(): Promise<PolicyMemory> {
    using _call = this.#calls.begin("count bytes", { isRead: true });
    const { layers, kvHeads, headDim } = this.#pair.large.config;
    const { rest, blockRest } = this.#parts;
    const smallModel = this.#parts.smallModel.memory;
    return {
      largeCacheBytes: this.#parts.large.cacheBytes + (rest?.byteLength ?? 0) +
        (blockRest?.byteLength ?? 0),
      largeCacheBytesIdeal: 2 * headDim * this.#parts.sequences.heldRows(layers * kvHeads),
      smallCacheBytes: smallModel.deviceBytes,
      smallCacheBytesIdeal: smallModel.idealBytes,
      hostBytes: 0,
    };
  }

  /** Frees caches and activations, as the end of `using` does. */
  close(): void {
    this.#calls.close();
    this.#parts[Symbol.dispose]();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  get #length(): number {
    return this.#parts.large.lengths[0]!;
  }

  /** The token that the sequence continues with. */
  get #next(): number {
    checkInteger("decode", "tokens of the sequence", { value: this.#length, min: 1 });
    return this.#tokens.at(-1)!;
  }

  /** The block's first token and the proposed ones, if any are given. */
  #given({ drafts, tokens }: BlockOptions): readonly number[] | undefined {
    const room = this.#draftRoom();
    const given = tokens ?? (drafts && [this.#next, ...drafts.slice(0, room)]);
    const { vocabulary } = this.#pair.large.config;
    if (given) checkTokens(given, { vocabulary, room: 1 + room });
    return given;
  }

  /**
   * How many drafts the next block may have: the token after it needs a place, and until heads are matched it must end
   * before the length at which they are.
   */
  #draftRoom(): number {
    const { draftTokens, capacity, policy: { minimumTokens } } = this.#options;
    const room = { value: capacity - 1 - this.#length, min: 1 };
    checkInteger("decode", "tokens that still fit", room);
    const unmatched = minimumTokens - 2 - this.#length;
    const isMatched = this.#parts.sequences.all[0]!.isReady || unmatched < 0;
    return Math.min(draftTokens, room.value - 1, isMatched ? draftTokens : unmatched);
  }

  /** One list per plan; a shared selection ends with the block. */
  #lists(selections: BlockSelections): Uint32Array<ArrayBuffer>[] {
    const { block, policy } = this.#options;
    const { shape, sequences, large } = this.#parts;
    const source = { cache: large.forward.cache.shape, match: sequences.all[0]!.match, policy };
    const planned = block === "shared" ? selections.slice(-1) : selections;
    return planned.map((chosen) => residentLists(shape, chosen, source));
  }

  /** Drafts and checks a block without accepting any of it yet. */
  async #try(options: BlockOptions): Promise<TriedBlock> {
    const next = this.#next;
    const given = this.#given(options);
    const tokens = given ?? [next];
    const place = { length: this.#length, rows: given?.length ?? 1 + this.#draftRoom() };
    const { sequences, large } = this.#parts;
    const clock = new Stopwatch();
    // Matching reads the text from the device.
    large.replaceNext(tokens.slice(0, 1));
    await sequences.matchIfNeeded();
    const checked = await this.#calls.change(async () => {
      this.#tokens[this.#tokens.length - 1] = tokens[0]!;
      return await this.#check(place, { tokens, logits: options.logits ?? false, clock });
    });
    const { drafts, choices, times } = checked;
    const accepted = options.tokens ? drafts.length : agreement(drafts, choices);
    this.#recorder.addBlock(drafts.length, times);
    return { length: place.length, checked, accepted, times, done: 0 };
  }

  /** Runs the small model over a block, plans it, and runs the large model. */
  async #check(
    place: BlockPlace,
    { tokens, logits, clock }: {
      readonly tokens: readonly number[];
      readonly logits: boolean;
      readonly clock: Stopwatch;
    },
  ): Promise<Verification & { readonly times: BlockTimes }> {
    const { runner } = this.#parts;
    const planner = this.#planner!;
    await runner.draft(place, tokens);
    const scored = planner.scoredRows(place);
    const saliency = scored > 0 ? await runner.saliency(scored) : [];
    const draftMs = clock.lap();
    const lists = this.#lists(planner.plan(place, saliency));
    const planMs = clock.lap();
    const checked = await runner.verify(place, { lists, logits });
    return { ...checked, times: { draftMs, planMs, verifyMs: clock.lap() } };
  }

  /** Commits the next accepted row and describes it as a decode step; the caches then end after it. */
  async #acceptRow(tried: TriedBlock): Promise<StepReport> {
    const { length, checked: { choices, drafts, logits }, accepted } = tried;
    const { config: { vocabulary } } = this.#pair.large;
    const row = tried.done++;
    await this.#calls.change(() => this.#parts.runner.commit(length, row));
    this.#recorder.addRow(row, { drafts: drafts.length, accepted });
    const { selections, churn } = this.#planner!.commit(row);
    this.#tokens.push(row < accepted ? drafts[row]! : choices[row]!);
    this.#parts.large.advance();
    this.#parts.smallModel.wholeSession.advance();
    return {
      chosen: [choices[row]!],
      selections: [selections],
      churn: [churn],
      ...this.#migration(selections),
      ...(logits && { logits: logits.slice(row * vocabulary, (row + 1) * vocabulary) }),
    };
  }

  /** What a store that holds only the selection would move. */
  #migration(selections: readonly Selection[]): Pick<StepReport, "migration"> {
    if (this.#options.policy.granularity === "query_head") return {};
    return { migration: this.#store!.apply(selections).migration };
  }
}

/** A block that has been checked. */
interface TriedBlock {
  /** Tokens before it. */
  readonly length: number;
  readonly checked: Verification;
  /** Drafts that the large model agrees with. */
  readonly accepted: number;
  readonly times: BlockTimes;
  /** Rows that have been committed. */
  done: number;
}

/** Length of the longest prefix of the drafts that the large model would also have chosen. */
function agreement(drafts: readonly number[], choices: readonly number[]): number {
  const end = drafts.findIndex((draft, place) => draft !== choices[place]);
  return end < 0 ? drafts.length : end;
}

/** Measures the parts of a block. */
class Stopwatch {
  #last = performance.now();

  lap(): number {
    const before = this.#last;
    this.#last = performance.now();
    return this.#last - before;
  }
}
