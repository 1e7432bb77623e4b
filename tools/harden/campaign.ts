/**
 * What the campaigns of `deno task harden` have in common.
 *
 * A campaign tries many cases drawn from a seed and reports those that fail. Each is a module beside this one that
 * exports `campaign`; its short form is a test that runs it with a small count.
 *
 * @module
 */

import type { Random } from "../../core/random.ts";

/** How long a campaign goes on, and where it says so. */
export interface CampaignRun {
  /** Seed of the cases; case n of a seed is always the same. */
  readonly seed: number;
  /** Whether case n should still be tried; false once the count, the time or the patience of the user is over. */
  readonly goesOn: (cases: number) => boolean;
  /** Random numbers of case n, whatever was tried before. */
  readonly random: (index: number) => Random;
  /** Prints one line of progress. */
  readonly say: (line: string) => void;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** What a campaign found. */
export interface CampaignReport {
  /** Cases tried. */
  readonly cases: number;
  /** One line for each case that failed, with the number that repeats it. */
  readonly failures: readonly string[];
  /** Figures worth keeping, as "most memory of a case" to "212 MB". */
  readonly figures?: Readonly<Record<string, string>>;
}

/** A campaign. */
export interface Campaign {
  /** Word after `deno task harden`. */
  readonly name: string;
  /** What it tries, one sentence without a full stop. */
  readonly summary: string;
  /** Cases unless told otherwise. */
  readonly count: number;
  /** Tries cases until the run is over; throws only where it cannot run at all. */
  run(run: CampaignRun): Promise<CampaignReport>;
}
