/**
 * A run in one line, for programs.
 *
 * @module
 */

import type { PaperClaim } from "../claims.ts";
import type { Outcome } from "./run_experiments.ts";
import { countVerdicts } from "./verdict_counts.ts";

/**
 * Writes outcomes and verdicts as one line of JSON.
 *
 * @param outcomes Outcomes of the experiments.
 * @param options Where the results lie, how the process will end, and the claims that no experiment
 * measures, which count as "not run".
 * @returns JSON without line breaks.
 */
export function summaryLine(
  outcomes: readonly Outcome[],
  options: {
    readonly folder: string;
    readonly exitCode: number;
    readonly untouched?: readonly PaperClaim[];
  },
): string {
  const { folder, exitCode, untouched = [] } = options;
  const records = outcomes.flatMap(({ record }) => record === undefined ? [] : [record]);
  const experiments = outcomes.map(({ experiment, status, record }) => ({
    name: experiment.name,
    status,
    seconds: record?.seconds ?? null,
    claims: (record?.claims ?? []).map(({ key, id, paper = null, ours = null, verdict }) => (
      { key, id, paper, ours, verdict }
    )),
  }));
  const [first] = records;
  return JSON.stringify({
    command: "reproduce",
    folder,
    scale: first?.scale ?? null,
    seed: first?.seed ?? null,
    adapter: first?.environment.adapter ?? null,
    driver: first?.environment.driver ?? null,
    counts: countVerdicts(records, untouched),
    experiments,
    untouched: untouched.map(({ id, paper }) => ({ id, paper, ours: null, verdict: "not run" })),
    exitCode,
  });
}
