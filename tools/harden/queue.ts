/**
 * Kills the workers of a sweep, the server of their queue and the evaluating side, while the sweep goes on.
 *
 * @module
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { randomInteger } from "../../core/random.ts";
import { temporaryFolder } from "../../tests/support/model_writer.ts";
import { startNatsServer, type TestNatsServer } from "../../tests/support/nats_server.ts";
import type { Campaign, CampaignReport, CampaignRun } from "./campaign.ts";

const CLI = fileURLToPath(new URL("../../cli.ts", import.meta.url));
const DEVICE = ["--device", "cpu", "--threads", "1"];
const EVALUATE = ["evaluate", "--policies", "full,h2o,smallkv", "--budgets", "0.2,0.3", ...DEVICE];
/** Kills of a sweep, of which ten of thirteen are of workers, two of the server and one of the evaluating side. */
const SWEEP_KILLS = 65;
const SERVER_TURNS = [4, 9];
const EVALUATOR_TURN = 12;
/** How long nothing may happen. */
const STALLED_MS = 120_000;

/** A program that is started again whenever it was killed. */
class Process {
  readonly #words: readonly string[];
  #child: Deno.ChildProcess | undefined;
  /** How it ended by itself. */
  ending: { readonly code: number; readonly error: string } | undefined;

  constructor(words: readonly string[]) {
    this.#words = words;
    this.start();
  }

  start(): void {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", CLI, ...this.#words],
      env: { SMALLKV_CHROMIUM: "none", NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#child = child;
    child.output().then(({ code, signal, stderr }) => {
      if (signal === "SIGKILL") return;
      this.ending = { code, error: new TextDecoder().decode(stderr).trim() };
    });
  }

  async kill(): Promise<void> {
    if (this.ending) return;
    this.#child!.kill("SIGKILL");
    await this.#child!.status;
  }
}

/** Answers of a folder by id, without what differs from run to run; counts those that are there twice. */
async function answersOf(folder: string): Promise<{ rows: Map<string, string>; lines: number }> {
  const text = await Deno.readTextFile(join(folder, "answers.jsonl")).catch(() => "");
  const lines = text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  const rows = lines.map((row) => [row.id, JSON.stringify({ ...row, seconds: null })] as const);
  return { rows: new Map(rows), lines: lines.length };
}

async function oneProcess(folder: string, words: readonly string[]): Promise<number> {
  const start = performance.now();
  const alone = new Process([...EVALUATE, ...words, "--out", folder]);
  while (!alone.ending) await pause();
  if (alone.ending.code !== 0) throw new Error(`evaluate must work alone: ${alone.ending.error}`);
  return (performance.now() - start) / 1000;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 50));
}

/** A sweep with everything that takes part in it. */
interface Sweep {
  readonly server: TestNatsServer;
  readonly workers: readonly Process[];
  readonly evaluator: Process;
  readonly out: string;
}

/** Kills at even shares of the answers, so that all kills hit one sweep; returns what was killed how often. */
async function disturb(
  { server, workers, evaluator, out }: Sweep,
  run: CampaignRun,
  { first, kills, total }: { first: number; kills: number; total: number },
): Promise<Record<string, number>> {
  const counts = { workers: 0, server: 0, evaluate: 0 };
  let [seen, seenAt] = [0, performance.now()];
  for (let turn = 0; !evaluator.ending;) {
    const { lines } = await answersOf(out);
    if (lines > seen) [seen, seenAt] = [lines, performance.now()];
    if (performance.now() - seenAt > STALLED_MS) break;
    if (turn >= kills || lines < (turn + 0.5) * total / (kills + 1)) {
      await pause();
      continue;
    }
    const random = run.random(first + turn);
    const kind = turn++ % 13;
    await new Promise((resolve) => setTimeout(resolve, random() * 300));
    if (evaluator.ending) break;
    if (SERVER_TURNS.includes(kind)) {
      await server.kill();
      await new Promise((resolve) => setTimeout(resolve, random() * 1000));
      await server.start();
      counts.server++;
      continue;
    }
    const isEvaluator = kind === EVALUATOR_TURN;
    const victim = isEvaluator ? evaluator : workers[randomInteger(random, workers.length)]!;
    await victim.kill();
    if (!victim.ending) victim.start();
    counts[isEvaluator ? "evaluate" : "workers"]++;
    if (turn % 10 === 0) run.say(`queue: ${first + turn} kills, ${lines} of ${total} answers`);
  }
  return counts;
}

/** What is wrong with the end of a sweep. */
async function faultsOf({ evaluator, workers, out }: Sweep, alone: string): Promise<string[]> {
  const faults: string[] = [];
  if (evaluator.ending?.code !== 0) {
    faults.push(`evaluate ${evaluator.ending ? `failed: ${evaluator.ending.error}` : "stalled"}`);
  }
  for (const { ending } of workers) if (ending) faults.push(`a worker failed: ${ending.error}`);
  const [found, wanted] = [await answersOf(out), await answersOf(alone)];
  const twice = found.lines - found.rows.size;
  if (twice > 0) faults.push(`${twice} answers are there twice`);
  const ids = new Set([...found.rows.keys(), ...wanted.rows.keys()]);
  const differ = [...ids].filter((id) => found.rows.get(id) !== wanted.rows.get(id));
  for (const id of differ) {
    const [row, other] = [found, wanted].map(({ rows }) => JSON.parse(rows.get(id) ?? "{}"));
    const names = Object.keys({ ...row, ...other });
    const unequal = names.filter((name) =>
      JSON.stringify(row[name]) !== JSON.stringify(other[name])
    );
    const show = (one: typeof row) => JSON.stringify(unequal.map((name) => one[name]));
    faults.push(`${id} differs in ${unequal}: ${show(row)}, alone ${show(other)}`);
  }
  return faults;
}

async function runCampaign(run: CampaignRun): Promise<CampaignReport> {
  const failures: string[] = [];
  const figures: Record<string, string> = {};
  let cases = 0;
  while (run.goesOn(cases)) {
    let kills = 0;
    while (kills < SWEEP_KILLS && run.goesOn(cases + kills)) kills++;
    await using folder = await temporaryFolder();
    const [alone, out] = [join(folder.path, "alone"), join(folder.path, "out")];
    const words = ["--limit", String(kills + 1)];
    const aloneSeconds = await oneProcess(alone, words);
    const total = (await answersOf(alone)).lines;
    await using server = await startNatsServer();
    const queue = ["--queue", `nats://${server.host}`];
    const start = performance.now();
    const sharing = [...queue, "--piece", "1", "--ack-wait", "2"];
    const sweep: Sweep = {
      server,
      out,
      evaluator: new Process([...EVALUATE, ...words, ...sharing, "--out", out]),
      workers: Array.from(
        { length: Math.min(4, kills) },
        () => new Process(["worker", ...queue, ...DEVICE]),
      ),
    };
    const counts = await disturb(sweep, run, { first: cases, kills, total });
    const faults = await faultsOf(sweep, alone);
    for (const process of [...sweep.workers, sweep.evaluator]) await process.kill();
    failures.push(...faults.map((fault) => `kills ${cases} to ${cases + kills}: ${fault}`));
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    figures[`sweep from kill ${cases} on`] = `${total} answers, kills of ${
      JSON.stringify(counts)
    }, ${seconds} s; one process alone ${aloneSeconds.toFixed(0)} s`;
    cases += kills;
  }
  return { cases, failures, figures };
}

/** Kills workers, the server and the evaluating side. */
export const campaign: Campaign = {
  name: "queue",
  summary: "kills workers, queue server and evaluate in one sweep; no answer may be lost or double",
  count: SWEEP_KILLS,
  run: runCampaign,
};
