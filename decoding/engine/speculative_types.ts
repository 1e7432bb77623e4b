/**
 * Options and reports of decoding with drafts of the small model.
 *
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import type { ChoiceValue } from "../../cache/choice.ts";
import { RUN_CHOICES } from "../../cache/options.ts";
import type { Selection } from "../../cache/policy.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { PairMatchOptions } from "../scoring/head_matching.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import type { StepReport } from "./types.ts";
import { median } from "../../core/stats.ts";
import type { StoreKind } from "../../cache/kv_store.ts";

/**
 * What the rows of a block attend to. `shared`: one selection per head, made for the first row, and the block itself.
 * `per_query`: each row has the selection it would have without drafts, so that the output is the same.
 */
export const BLOCK_SELECTIONS: readonly BlockSelection[] = RUN_CHOICES.block.values;
/** One of `BLOCK_SELECTIONS`. */
export type BlockSelection = ChoiceValue<typeof RUN_CHOICES.block>;
/** The default, with which drafts never change the text. */
export const DEFAULT_BLOCK: BlockSelection = RUN_CHOICES.block.usual;

/** Most tokens drafted for a block, whose rows must not outnumber those whose logits are computed at once. */
export const MAX_DRAFT_TOKENS: number = RUN_CHOICES.speculate.range.max;

/** Drafts that a policy can decode with. */
export interface Speculation {
  /** Tokens that the small model drafts for a block. */
  readonly draftTokens: number;
  /** What the rows of a block attend to. */
  readonly block: BlockSelection;
}

/** What decides whether a policy can decode with drafts. */
export interface SpeculationRequest extends SmallModelCut {
  /** Tokens that the small model drafts for a block. */
  readonly draftTokens: number;
  /** What the rows of a block attend to; `per_query` if left out. */
  readonly block?: BlockSelection;
  /** Where tokens are kept. */
  readonly store?: StoreKind;
  /** Sequences side by side; 1 if left out, and nothing else is allowed. */
  readonly sequences?: number;
  /** How heads are matched. */
  readonly match?: PairMatchOptions;
}

/** How a pair decodes with drafts; one sequence, greedily, with every token on the device. */
export interface SpeculativeOptions extends SpeculationRequest {
  /** A policy with a small model that plans before each step. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Tokens that fit. */
  readonly capacity: number;
  /** Rows of one prefill step; if left out, 512 on GPUs and 128 elsewhere. */
  readonly chunk?: number;
  /** Rows of a block of a further turn; only 1 is allowed, since dropped tokens may return. */
  readonly turnBlock?: number;
}

/** How a block is run. */
export interface BlockOptions {
  /** Proposed in place of the small model's drafts; those that do not fit the block are left out. */
  readonly drafts?: readonly number[];
  /** Run in place of the chosen token and all drafts, and accepted whatever the large model chooses. */
  readonly tokens?: readonly number[];
  /** Whether logits are read. */
  readonly logits?: boolean;
}

/** Where the time of a block goes. */
export interface BlockTimes {
  /** The small model: drafts, attention rows, scores. */
  readonly draftMs: number;
  /** Choice of tokens on the host. */
  readonly planMs: number;
  /** The large model. */
  readonly verifyMs: number;
}

/** What a block did. */
export interface BlockReport {
  /** New tokens: the accepted drafts, then the large model's own choice. */
  readonly tokens: readonly number[];
  /** Proposed tokens. */
  readonly drafts: readonly number[];
  /** How many of them were accepted, counted from the first. */
  readonly accepted: number;
  /** Each accepted row as a decode step; the first one is that of the token before the block. */
  readonly rows: readonly StepReport[];
  /** Time. */
  readonly times: BlockTimes;
}

/** Totals over blocks, up to where the generation ended. */
export interface SpeculationStatistics {
  /** Passes of the large model. */
  readonly blocks: number;
  /** Proposed tokens. */
  readonly drafted: number;
  /** How many of them were accepted. */
  readonly accepted: number;
  /** For each place in a block, the share of the drafts at this place that were accepted. */
  readonly acceptance: readonly number[];
  /** New tokens per pass of the large model. */
  readonly tokensPerBlock: number;
  /** Passes of the small model. */
  readonly smallForwards: number;
  /** Median time of a block. */
  readonly blockMedianMs: number;
  /** Share of the blocks' time that the small model takes. */
  readonly draftShare: number;
  /** Share of the blocks' time that choosing tokens on the host takes. */
  readonly planShare: number;
  /** Share of the blocks' time that the large model takes. */
  readonly verifyShare: number;
}

/** A block to be planned. */
export interface BlockPlace {
  /** Tokens before the block. */
  readonly length: number;
  /** Rows of the block. */
  readonly rows: number;
}

/** What each row of a block attends to, [rows][groups]. */
export type BlockSelections = readonly (readonly Selection[])[];

/** Adds blocks up. */
export class SpeculationRecorder {
  #rows = 0;
  #tokens = 0;
  readonly #blockMs: number[] = [];
  readonly #times = { draftMs: 0, planMs: 0, verifyMs: 0 };
  /** Proposed and accepted drafts at each place in a block. */
  readonly #places: { drafted: number; accepted: number }[] = [];

  /** Adds the passes of a block of `drafts` drafts. */
  addBlock(drafts: number, times: BlockTimes): void {
    this.#blockMs.push(times.draftMs + times.planMs + times.verifyMs);
    this.#rows += drafts + 1;
    for (const name of ["draftMs", "planMs", "verifyMs"] as const) {
      this.#times[name] += times[name];
    }
  }

  /** Adds a row once its new token is wanted: it accepts the draft at its place, or rejects that and all that follow. */
  addRow(row: number, { drafts, accepted }: { drafts: number; accepted: number }): void {
    this.#tokens++;
    const last = row < accepted ? row : drafts - 1;
    for (let place = row; place <= last; place++) {
      const count = this.#places[place] ??= { drafted: 0, accepted: 0 };
      count.drafted++;
      if (row < accepted) count.accepted++;
    }
  }

  /** Counts and shares; zeros without blocks. */
  finish(): SpeculationStatistics {
    const sum = (name: "drafted" | "accepted") =>
      this.#places.reduce((total, place) => total + place[name], 0);
    const { draftMs, planMs, verifyMs } = this.#times;
    const blocks = this.#blockMs.length;
    const share = (part: number) => part / Math.max(1e-9, draftMs + planMs + verifyMs);
    return {
      blocks,
      drafted: sum("drafted"),
      accepted: sum("accepted"),
      acceptance: this.#places.map(({ drafted, accepted }) => accepted / drafted),
      tokensPerBlock: this.#tokens / Math.max(1, blocks),
      smallForwards: this.#rows,
      blockMedianMs: blocks === 0 ? 0 : median(this.#blockMs),
      draftShare: share(draftMs),
      planShare: share(planMs),
      verifyShare: share(verifyMs),
    };
  }
}
