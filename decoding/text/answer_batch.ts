/**
 * Answers that decode side by side under settings that can run together: a sequence that ends makes room for another.
 *
 * @see docs/method.md, "Answers under many settings"
 * @module
 */

import { PolicySession } from "../engine/policy_session.ts";
import type { PromptSetting } from "../engine/prompt_beginnings.ts";
import type { ModelPair } from "../engine/types.ts";
import { AnswerInProgress } from "./answer_in_progress.ts";
import type { AnswerItem, AnswerSource } from "./answer_source.ts";
import type { Answer } from "./answers.ts";

/** What a batch decodes. */
interface BatchOptions {
  /** Settings of the whole run. */
  readonly settings: readonly PromptSetting[];
  /** Indices of those that this batch decodes; they can run together. */
  readonly family: readonly number[];
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Rows of one prefill step, for further turns. */
  readonly chunk: number;
  /** Tokens that end a text. */
  readonly endTokens: ReadonlySet<number>;
  /** Stops between chunks of further turns with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A sequence of the session. */
interface Slot {
  /** Index of the setting that it decodes under. */
  readonly setting: number;
  /** The answer that it decodes; none once that has ended. */
  answer: AnswerInProgress | undefined;
  /** Token that it continues with. */
  chosen: number;
}

/** Where items come from. */
interface ItemSupply {
  /** The items. */
  readonly source: AnswerSource;
  /** Most sequences that the batch may have. */
  readonly most: number;
}

/** What a step did. */
export interface BatchStep {
  /** Answers that have ended. */
  readonly answers: readonly Answer[];
  /** Tokens that belong to answers. */
  readonly newTokens: number;
  /** Sequences that were being answered. */
  readonly busy: number;
  /** Whether there were items for all sequences that it may have. */
  readonly isFull: boolean;
  /** How long it took, in seconds. */
  readonly seconds: number;
}

/** Decodes the items of a family of settings. Disposing it frees the session. */
export class AnswerBatch implements Disposable {
  readonly #pair: ModelPair;
  readonly #options: BatchOptions;
  readonly #family: ReadonlySet<number>;
  #session: PolicySession | undefined;
  #slots: Slot[] = [];
  /** Answers that have ended since the last step. */
  #ended: Answer[] = [];
  #newTokens = 0;
  /** Seconds that sequences took to move since the last step. */
  #moved = 0;

  /** Allocates nothing before the first item. */
  constructor(pair: ModelPair, options: BatchOptions) {
    this.#pair = pair;
    this.#options = options;
    this.#family = new Set(options.family);
  }

  /** Sequences of the session, which take memory. */
  get slots(): number {
    return this.#slots.length;
  }

  /** Sequences that are being answered. */
  get busy(): number {
    return this.#answering.length;
  }

  /**
   * Runs one step of the sequences that have not ended.
   *
   * @param supply Items for sequences that have ended and for further ones; if left out, no more are begun.
   * @returns What was done.
   */
  async step(supply?: ItemSupply): Promise<BatchStep> {
    const isFull = await this.#fill(supply);
    const busy = this.#answering;
    let seconds = this.#moved;
    if (busy.length > 0) {
      const start = performance.now();
      await this.#run();
      seconds += (performance.now() - start) / 1000;
      for (const { answer } of busy) answer!.seconds.decode += seconds / busy.length;
      for (const [index, slot] of this.#slots.entries()) await this.#take(slot, index);
    }
    const step = {
      answers: this.#ended,
      newTokens: this.#newTokens,
      busy: busy.length,
      isFull,
      seconds,
    };
    this.#ended = [];
    this.#newTokens = this.#moved = 0;
    return step;
  }

  /** Frees the session. */
  [Symbol.dispose](): void {
    this.#session?.[Symbol.dispose]();
    this.#session = undefined;
    this.#slots = [];
  }

  get #answering(): Slot[] {
    return this.#slots.filter(({ answer }) => answer);
  }

  /** Runs a step of the session, with the tokens of further turns where there are any. */
  async #run(): Promise<void> {
    const isGiven = this.#slots.some(({ answer }) => answer?.isGiven);
    const tokens = this.#slots.map(({ answer, chosen }) => answer?.next(chosen) ?? chosen);
    const { chosen } = await this.#session!.step({
      hasSelections: false,
      ...(isGiven && { tokens }),
    });
    this.#slots.forEach((slot, index) => slot.chosen = chosen[index]!);
  }

  /**
   * Gives items to sequences that have ended, or makes a session of other sequences where that leaves too many idle.
   *
   * @returns Whether there were items for all sequences that there may be.
   */
  async #fill(supply: ItemSupply | undefined): Promise<boolean> {
    let isFull = supply !== undefined;
    do {
      if (supply) await this.#refill(supply.source);
      const idle = this.#slots.length - this.busy;
      const isFew = supply !== undefined && 2 * this.#slots.length <= supply.most;
      if (4 * idle < this.#slots.length && !isFew && this.#isRoomy) return isFull;
      const wanted = supply ? supply.most - this.busy : 0;
      const items = supply ? await this.#gather(supply.source, wanted) : [];
      isFull &&= items.length === wanted;
      if (items.length === 0 && idle === 0) return isFull;
      await this.#move(() => this.#regroup(items));
      for (const [index, slot] of this.#slots.entries()) {
        if (index >= this.#slots.length - items.length) await this.#take(slot, index);
      }
    } while (this.#slots.length > 0);
    return isFull;
  }

  /** Gives items to sequences that have ended. */
  async #refill(source: AnswerSource): Promise<void> {
    for (const [index, slot] of this.#slots.entries()) {
      while (!slot.answer) {
        using item = await source.take(new Set([slot.setting]));
        if (!item) break;
        await this.#move(() => this.#begin(index, item));
        await this.#take(slot, index);
      }
    }
  }

  /** Whether sequences that have ended can run one more step, whose result nobody reads. */
  get #isRoomy(): boolean {
    const { capacity } = this.#options;
    return this.#slots.every(({ answer }, index) =>
      answer !== undefined || this.#session!.lengths[index]! + 2 <= capacity
    );
  }

  async #gather(source: AnswerSource, most: number): Promise<AnswerItem[]> {
    const items: AnswerItem[] = [];
    while (items.length < most) {
      const item = await source.take(this.#family);
      if (!item) break;
      items.push(item);
    }
    return items;
  }

  /** Starts a session of the sequences that have not ended and of new ones. */
  async #regroup(items: readonly AnswerItem[]): Promise<void> {
    using stack = new DisposableStack();
    for (const item of items) stack.use(item);
    const moving = [];
    for (const [index, slot] of this.#slots.entries()) {
      if (!slot.answer) continue;
      moving.push({ slot, snapshot: stack.use(await this.#session!.take(index)) });
    }
    this[Symbol.dispose]();
    const slots = [
      ...moving.map(({ slot }) => slot),
      ...items.map(({ setting }): Slot => ({ setting, answer: undefined, chosen: 0 })),
    ];
    if (slots.length === 0) return;
    this.#session = this.#open(slots);
    this.#slots = slots;
    for (const [index, { snapshot }] of moving.entries()) {
      await this.#session.put(index, snapshot);
    }
    for (const [index, item] of items.entries()) await this.#begin(moving.length + index, item);
  }

  #open(slots: readonly Slot[]): PolicySession {
    const { settings, capacity, chunk } = this.#options;
    const { smallLayers, smallCacheBits, match } = settings[slots[0]!.setting]!;
    return new PolicySession(this.#pair, {
      settings: slots.map(({ setting }) => settings[setting]!),
      ...{ capacity, chunk },
      ...(smallLayers !== undefined && { smallLayers }),
      ...(smallCacheBits !== undefined && { smallCacheBits }),
      ...(match && { match }),
    });
  }

  /** Puts the prompt of an item into a sequence. */
  async #begin(index: number, item: AnswerItem): Promise<void> {
    const { endTokens } = this.#options;
    const { large } = item.snapshot;
    const slot = this.#slots[index]!;
    await this.#session!.put(index, item.snapshot);
    slot.answer = new AnswerInProgress(item, { large: this.#pair.large, endTokens });
    slot.chosen = large.tokens[large.length]!;
  }

  /** Adds the newest token of a sequence to its answer; where that ends a turn, begins the next one. */
  async #take(slot: Slot, index: number): Promise<void> {
    const { answer } = slot;
    const session = this.#session!;
    while (answer && !answer.isGiven) {
      if (!answer.isOpening) this.#newTokens++;
      const turn = answer.push(slot.chosen);
      if (answer.isDone) {
        slot.answer = undefined;
        this.#ended.push(await this.#finish(answer, index));
        return;
      }
      if (!turn) return;
      if (!session.hasWholeTurns(index)) return answer.give(turn);
      const { signal } = this.#options;
      const start = performance.now();
      await session.prefill(turn, { sequence: index, ...(signal && { signal }) });
      slot.chosen = (await session.nextTokens())[index]!;
      answer.seconds.prompt += (performance.now() - start) / 1000;
    }
  }

  async #finish(answer: AnswerInProgress, index: number): Promise<Answer> {
    const { request: { key, prefix, turns: [first] }, setting, turns, seconds } = answer;
    const bytes = await this.#session!.keptBytes(index);
    return {
      ...{ key, setting, turns, seconds },
      promptTokens: prefix.length + first!.length,
      cachedTokens: this.#session!.lengths[index]!,
      bytes: { ...bytes, host: 0 },
    };
  }

  /** Counts the time of moving sequences. */
  async #move(work: () => Promise<void>): Promise<void> {
    const start = performance.now();
    await work();
    this.#moved += (performance.now() - start) / 1000;
  }
}
