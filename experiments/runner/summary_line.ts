/**
 * The last line of a run, for programs.
 *
 * @module
 */

import type { Outcome } from "./run_experiments.ts";
import type { Verdict } from "./verdict.ts";

/**
 * Writes outcomes and verdicts as one line of JSON.
 *
 * @param outcomes What became of the experiments.
 * @param options Where the results lie and how the process will end.
 * @returns JSON without line breaks.
 */
export function summaryLine(
  outcomes: readonly Outcome[],
  options: { readonly folder: string; readonly exitCode: number },
): string {
  const counts: Record<Verdict, number> = {
    "reproduced": 0,
    "differs": 0,
    "not comparable at this scale": 0,
    "not run": 0,
  };
  const experiments = outcomes.map(({ experiment, status, record }) => ({
    name: experiment.name,
    status,
    seconds: record?.seconds ?? null,
    claims: (record?.claims ?? []).map(({ key, id, paper = null, ours = null, verdict }) => {
      counts[verdict]++;
      return { key, id, paper, ours, verdict };
    }),
  }));
  const first = outcomes.find(({ record }) => record !== undefined)?.record;
  return JSON.stringify({
    command: "reproduce",
    folder: options.folder,
    scale: first?.scale ?? null,
    seed: first?.seed ?? null,
    adapter: first?.environment.adapter ?? null,
    counts,
    experiments,
    exitCode: options.exitCode,
  });
}
