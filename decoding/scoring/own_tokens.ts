/**
 * Sessions of a small model that reads the text of a large one in tokens of its own (D-35).
 *
 * @see docs/method.md, "Small models with tokens of their own"
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { spreadRowsCommand } from "../../kernels/spread_rows.ts";
import type { Model } from "../../models/load.ts";
import { alignTokens, type TokenAlignment } from "../../models/tokenizer/token_alignment.ts";
import type { MapBlock } from "../session/maps.ts";
import type { SavedSequence } from "../session/saved_sequence.ts";
import type { SequenceMark } from "../session/sequence_mark.ts";
import { Session } from "../session/session.ts";
import type { PrefillOptions, SessionOptions } from "../session/session_options.ts";
import { checkTokens } from "../session/step_io.ts";

/** A small model's session as prompts and turns use it: given, counted and asked in tokens of the large model. */
export type SmallSession =
  & Pick<
    Session,
    | "model"
    | "lengths"
    | "forward"
    | "prefill"
    | "accumulated"
    | "clearAccumulated"
    | "rewind"
    | "canRewind"
    | "fork"
    | "mark"
    | "save"
  >
  & Disposable;

/** Own tokens that fit for each token of the large model, and entries of an alignment beside them. */
export const OWN_PER_TOKEN = 2;
/** Own tokens that a session has room for, where so many tokens of the large model fit. */
export function ownCapacity({ config }: Pick<Model, "config">, capacity: number): number {
  return Math.min(OWN_PER_TOKEN * capacity, config.contextLength);
}

/** A large token's bounds are counted once for each own token that holds a part of one character. */
const ENTRIES_PER_TOKEN = 4;

/**
 * Starts a session of a model that may read in tokens of its own.
 *
 * @param model The model.
 * @param options Sizes in tokens that it is given.
 * @throws {RequirementError} If the capacity exceeds the model's context length.
 * @throws {GpuError} If the device has too little memory.
 */
export function openSmallSession(model: Model, options: SessionOptions): SmallSession {
  return model.givenTokenizer ? new OwnTokenSession(model, options) : new Session(model, options);
}

/** A sequence of both tokenizations. */
interface OwnSequence {
  /** Tokens that it was given. */
  given: readonly number[];
  /** Own tokens whose keys and values are in the cache. */
  cached: readonly number[];
  /** How all given tokens were aligned; absent before any, and until they are read again after a rewind. */
  alignment: TokenAlignment | undefined;
  /** Rows that have been summed since sums were cleared, given and own ones. */
  summed: { readonly given: number; readonly own: number };
}

/**
 * A session that is given tokens of another tokenizer. Its text grows; where that changes the last own tokens, the cache
 * goes back to the first one that differs, and reads on from there, so that it always holds what encoding the whole text
 * gives.
 */
export class OwnTokenSession implements SmallSession {
  /** The view; its own tokens are those of its tokenizer. */
  readonly model: Model;
  /** The session in own tokens. */
  readonly own: Session;
  readonly #sequences: OwnSequence[];
  readonly #capacity: number;

  /** Allocates cache and activations for twice as many own tokens, or as many as the model reads. */
  constructor(model: Model, options: SessionOptions) {
    const { givenTokenizer: _, ...own } = model;
    const { capacity, sequences = 1 } = options;
    this.model = model;
    this.#capacity = capacity;
    const most = ownCapacity(model, capacity);
    // Going back must not depend on windows.
    this.own = new Session(own, { ...options, capacity: most, holdsAll: true });
    this.#sequences = Array.from({ length: sequences }, () => emptySequence());
  }

  /** Tokens of each sequence that it was given. */
  get lengths(): readonly number[] {
    return this.#sequences.map(({ given }) => given.length);
  }

  /** The own session's buffers. */
  get forward(): Session["forward"] {
    return this.own.forward;
  }

  /** As `Session.prefill`, in given tokens; rows of maps are those of the own token that holds a token's last byte. */
  async prefill(tokens: readonly number[], options: PrefillOptions = {}): Promise<void> {
    const { sequence = 0, heads, onMap, onProgress, rowDecay = 1, isSummed = true } = options;
    const state = this.#sequences[sequence]!;
    const first = state.given.length;
    const { vocabulary } = this.model.givenTokenizer!;
    checkTokens(tokens, { vocabulary, room: this.#capacity - first });
    const given = [...state.given, ...tokens];
    const alignment = this.#align(given);
    const { own, rows } = alignment;
    // After a rewind rows are run again although the cache holds their keys: they may be summed or captured.
    const from = Math.min(
      sharedTokens(state.cached, own),
      own.length - 1,
      first > 0 ? rows[first - 1]! + 1 : 0,
      heads ? rows[first]! : Infinity,
    );
    this.#goBack(sequence, from);
    const fresh = own.slice(from);
    await this.own.prefill(fresh, {
      ...options,
      rowDecay: rowDecay ** (tokens.length / fresh.length),
      ...(onMap && {
        onMap: (block: MapBlock) => spreadBlock(block, { alignment, first, onMap }),
      }),
      onProgress: (done) => onProgress?.(Math.round(tokens.length * done / fresh.length)),
    });
    state.given = given;
    state.cached = own;
    state.alignment = alignment;
    if (!isSummed) return;
    const { summed } = state;
    state.summed = { given: summed.given + tokens.length, own: summed.own + fresh.length };
  }

  /**
   * As `Session.accumulated`, [layers * queryHeads, given tokens], as if there had been one row for each given token: own
   * rows are scaled by how many there were.
   */
  async accumulated(sequence = 0): Promise<Float32Array> {
    const { alignment, given, summed } = this.#sequences[sequence]!;
    const sums = await this.own.accumulated(sequence);
    if (!alignment) return new Float32Array(0);
    const own = alignment.own.length;
    const factor = summed.own > 0 ? summed.given / summed.own : 1;
    const heads = sums.length / own;
    const all = new Float32Array(heads * given.length);
    for (let head = 0; head < heads; head++) {
      const target = all.subarray(head * given.length, (head + 1) * given.length);
      spreadRow(sums.subarray(head * own, (head + 1) * own), alignment, { target, factor });
    }
    return all;
  }

  /** Sets all accumulated attention to zero. */
  clearAccumulated(): void {
    this.own.clearAccumulated();
    for (const state of this.#sequences) state.summed = { given: 0, own: 0 };
  }

  /** Removes the end of a sequence; own tokens are removed once it is read on. */
  rewind(length: number, sequence = 0): void {
    const state = this.#sequences[sequence]!;
    if (length === state.given.length) return;
    state.given = state.given.slice(0, length);
    state.alignment = undefined;
    if (length === 0) this.#goBack(sequence, 0);
  }

  /** Always true. */
  canRewind(): boolean {
    return true;
  }

  /** As `Session.fork`. */
  async fork(sequence: number, targets: readonly number[]): Promise<void> {
    await this.own.fork(sequence, targets);
    const { given, cached, alignment } = this.#sequences[sequence]!;
    for (const target of targets) {
      Object.assign(this.#sequences[target]!, { given, cached, alignment });
    }
  }

  /** Remembers where a sequence ends; see `Session.mark`. */
  mark(sequence: number): Promise<SequenceMark> {
    const state = this.#sequences[sequence]!;
    const { given } = state;
    return Promise.resolve({
      undo: () => {
        state.given = given;
        state.alignment = undefined;
      },
      [Symbol.dispose]() {},
    });
  }

  /** Copies the own tokens of a sequence out; see `Session.save`. */
  async save(sequence: number): Promise<SavedSequence> {
    return await this.own.save(sequence);
  }

  /** Puts own tokens in place of what a sequence holds, along with the tokens that it was given. */
  async restore(saved: SavedSequence, sequence: number, given: readonly number[]): Promise<void> {
    await this.own.restore(saved, sequence);
    const cached = [...saved.tokens.subarray(0, saved.length)];
    Object.assign(this.#sequences[sequence]!, { given, cached, alignment: undefined });
  }

  /**
   * Reads all but the newest own token of the text so far, and puts that where a step of all sequences runs it.
   *
   * @param sequence Which sequence.
   * @param given All its tokens, the newest one included.
   * @returns How they are aligned.
   */
  async beginStep(sequence: number, given: readonly number[]): Promise<TokenAlignment> {
    const state = this.#sequences[sequence]!;
    const alignment = this.#align(given);
    const { own } = alignment;
    const last = own.length - 1;
    const from = Math.min(sharedTokens(state.cached, own), last);
    this.#goBack(sequence, from);
    if (from < last) {
      const quiet = { sequence, logits: "none", isSummed: false } as const;
      await this.own.prefill(own.slice(from, last), quiet);
    }
    const { device, workspace: { tokens, shape: { capacity } } } = this.own.forward;
    device.write(tokens, 4 * (sequence * capacity + last), Uint32Array.of(own[last]!));
    Object.assign(state, { given, alignment, cached: own.slice(0, last) });
    return alignment;
  }

  /** Counts the own token that a step has run in every sequence. */
  endStep(): void {
    this.own.advance();
    for (const state of this.#sequences) state.cached = state.alignment!.own;
  }

  /** Frees cache and activations. */
  [Symbol.dispose](): void {
    this.own.close();
  }

  #align(given: readonly number[]): TokenAlignment {
    const { givenTokenizer, tokenizer } = this.model;
    const alignment = alignTokens(givenTokenizer!, tokenizer!, given);
    const most = this.own.forward.workspace.shape.capacity;
    if (alignment.own.length <= most) return alignment;
    throw new RequirementError({
      action: `read a text with ${this.model.name}`,
      requirement:
        `it must have at most ${most} of the model's own tokens, twice as many as fit the large model or what the model reads`,
      current: alignment.own.length,
    });
  }

  #goBack(sequence: number, length: number): void {
    const state = this.#sequences[sequence]!;
    this.own.rewind(length, sequence);
    state.cached = state.cached.slice(0, length);
  }
}

function emptySequence(): OwnSequence {
  return { given: [], cached: [], alignment: undefined, summed: { given: 0, own: 0 } };
}

/** Counts the first tokens that two lists share. */
function sharedTokens(first: readonly number[], second: readonly number[]): number {
  let shared = 0;
  while (shared < first.length && first[shared] === second[shared]) shared++;
  return shared;
}

/** Adds a row over own tokens to one over given tokens; the last of these gets what lies past it. */
function spreadRow(
  own: Float32Array,
  { starts, sources, shares }: TokenAlignment,
  { target, factor }: { readonly target: Float32Array; readonly factor: number },
): void {
  let [spread, all] = [0, 0];
  for (const value of own) all += value;
  target.forEach((_, token) => {
    let sum = 0;
    for (let entry = starts[token]!; entry < starts[token + 1]!; entry++) {
      sum += shares[entry]! * (own[sources[entry]!] ?? 0);
    }
    spread += sum;
    target[token] = factor * sum;
  });
  target[target.length - 1]! += factor * Math.max(0, all - spread);
}

/** Passes on the rows of given tokens whose own token has a row in a block. */
function spreadBlock(
  { layer, head, firstQuery, queries, keys, values }: MapBlock,
  { alignment, first, onMap }: {
    readonly alignment: TokenAlignment;
    readonly first: number;
    readonly onMap: (block: MapBlock) => void;
  },
): void {
  for (let token = first; token < alignment.rows.length; token++) {
    const row = alignment.rows[token]! - firstQuery;
    if (row < 0 || row >= queries) continue;
    const target = new Float32Array(token + 1);
    const own = values.subarray(row * keys, row * keys + firstQuery + row + 1);
    spreadRow(own, alignment, { target, factor: 1 });
    onMap({ layer, head, firstQuery: token, queries: 1, keys: token + 1, values: target });
  }
}

/** Buffers through which a step's rows over own tokens become rows over those of the large model. */
export class OwnTokenRows implements Disposable {
  /** The newest rows over own tokens, f32 [sequences, heads, own capacity]. */
  readonly rows: DeviceBuffer;
  readonly #session: OwnTokenSession;
  readonly #sizes: ReturnType<typeof rowSizes>;
  readonly #buffers: Record<"counts" | "starts" | "sources" | "shares", DeviceBuffer>;
  readonly #owned: DisposableStack;

  /**
   * Allocates them.
   *
   * @param session The small model's session.
   * @param capacity Tokens of the large model that fit per sequence.
   * @throws {GpuError} If the device has too little memory.
   */
  constructor(session: OwnTokenSession, capacity: number) {
    const { device } = session.forward;
    const sizes = this.#sizes = rowSizes(session, capacity);
    const { sequences, heads, ownCapacity, entries } = sizes;
    using stack = new DisposableStack();
    const make = (name: string, items: number) =>
      stack.use(device.createBuffer(`${name} of own tokens`, 4 * items));
    this.#session = session;
    this.rows = make("rows", sequences * heads * ownCapacity);
    this.#buffers = {
      counts: make("counts", sequences),
      starts: make("starts", sequences * (capacity + 1)),
      sources: make("sources", sequences * entries),
      shares: make("shares", sequences * entries),
    };
    this.#owned = stack.move();
  }

  /**
   * Reads the text of a sequence up to its newest own token, and writes how its tokens are aligned.
   *
   * @param sequence Which sequence.
   * @param given All its tokens, the newest one included.
   */
  async begin(sequence: number, given: readonly number[]): Promise<void> {
    const { device } = this.#session.forward;
    const { starts, sources, shares } = await this.#session.beginStep(sequence, given);
    const { capacity, entries } = this.#sizes;
    if (sources.length > entries) {
      throw new RequirementError({
        action: "align the tokens of two models",
        requirement: `a text must have at most ${entries} pairs of tokens that share bytes`,
        current: sources.length,
      });
    }
    const { counts, ...buffers } = this.#buffers;
    device.write(counts, 4 * sequence, Uint32Array.of(given.length));
    device.write(buffers.starts, 4 * sequence * (capacity + 1), starts);
    device.write(buffers.sources, 4 * sequence * entries, sources);
    device.write(buffers.shares, 4 * sequence * entries, shares);
  }

  /** Spreads the newest rows, f32 [sequences, heads, capacity]. */
  spread(target: DeviceBuffer): Command {
    return spreadRowsCommand({ ...this.#buffers, rows: this.rows, spread: target }, this.#sizes);
  }

  /** Frees them. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

function rowSizes({ lengths, model: { config }, own }: OwnTokenSession, capacity: number) {
  const ownCapacity = own.forward.workspace.shape.capacity;
  return {
    sequences: lengths.length,
    heads: config.layers * config.queryHeads,
    ownCapacity,
    capacity,
    entries: ownCapacity + ENTRIES_PER_TOKEN * capacity,
  };
}
