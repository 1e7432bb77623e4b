/**
 * What teacher-forced runs leave behind, step by step.
 *
 * @module
 */

import { klDivergence, largestIndex } from "../../analysis/quality.ts";
import type { Selection } from "../../cache/policy.ts";
import { type StepCost, stepCost } from "../selection/cost.ts";

/**
 * What a policy did to each token of a continuation; arrays of its length. The first token is predicted by the prompt,
 * so it costs nothing, and diverges by rounding alone unless the policy prunes the prompt.
 */
export interface ForcedRun {
  /** Divergence from the full cache, in nats. */
  readonly kl: readonly number[];
  /** Token that the policy would choose. */
  readonly chosen: readonly number[];
  /** Token that the full cache would choose. */
  readonly reference: readonly number[];
  /** Half-entries that the step's attention saw over those of the full cache, mean over selections. */
  readonly cost: readonly number[];
  /** Share of the tokens seen, the newest left out, that the step before did not see, mean over selections. */
  readonly churn: readonly number[];
  /** Half-entries that came back from the host, mean over selections. */
  readonly loaded: readonly number[];
}

/** What the full cache says of each token of a continuation. */
export interface ReferenceText {
  /** Logits that predict it. */
  readonly rows: readonly Float32Array[];
  /** The most likely one. */
  readonly chosen: readonly number[];
}

/** Collects the steps of one text under one policy. */
export class ForcedRecorder {
  readonly #reference: ReferenceText;
  readonly #kl: number[] = [];
  readonly #chosen: number[] = [];
  readonly #costs: StepCost[] = [];
  #before: readonly Selection[] | undefined;

  /**
   * Starts with nothing.
   *
   * @param reference What the full cache says, at least as many steps as will be recorded.
   */
  constructor(reference: ReferenceText) {
    this.#reference = reference;
  }

  /** Takes the selections of a step. */
  see(selections: readonly Selection[], tokens: number): void {
    this.#costs.push(stepCost(this.#before, selections, tokens));
    this.#before = selections;
  }

  /** Takes the logits that predict the next token. */
  add(logits: Float32Array): void {
    this.#kl.push(klDivergence(this.#reference.rows[this.#kl.length]!, logits));
    this.#chosen.push(largestIndex(logits));
  }

  /** What was recorded. */
  run(): ForcedRun {
    const costs = [{ held: 0, churn: 0, loaded: 0 }, ...this.#costs];
    return {
      kl: this.#kl,
      chosen: this.#chosen,
      reference: this.#reference.chosen,
      cost: costs.map(({ held }) => held),
      churn: costs.map(({ churn }) => churn),
      loaded: costs.map(({ loaded }) => loaded),
    };
  }
}
