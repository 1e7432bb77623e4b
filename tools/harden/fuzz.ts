/**
 * Damaged files of every kind that users load.
 *
 * Cases run in a child process, many at a time. Those that break a limit are tried again, each in a process of its own;
 * if none comes back, the cases are halved until the one that does not end is alone.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { readLines } from "../../cli/process_io.ts";
import type { Campaign, CampaignReport, CampaignRun } from "./campaign.ts";
import type { FuzzAnswer, FuzzRequest } from "./fuzz_child.ts";

const CASES_AT_ONCE = 250;
/** Cases after which a process is replaced, since garbage of former ones counts as its memory. */
const CASES_OF_A_PROCESS = 10_000;
const START_MS = 60_000;
/** Failures after which a campaign has shown enough. */
const MOST_FAILURES = 50;

/** A child that tries cases; disposing it ends it. */
class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncGenerator<string>;
  readonly #folder: string;
  cases = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-prompt",
        "--v8-flags=--expose-gc",
        new URL("fuzz_child.ts", import.meta.url).href,
        folder,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#lines = readLines(this.#process.stdout);
  }

  static async start(): Promise<Child> {
    const child = new Child(await Deno.makeTempDir({ prefix: "smallkv_fuzz_" }));
    if (await child.#answer(START_MS) === undefined) {
      await child[Symbol.asyncDispose]();
      throw new DataError("Cannot try damaged files: fuzz_child.ts must start: it does not");
    }
    return child;
  }

  /** Tries cases; undefined if they take longer than `milliseconds` or end the process. */
  async try(request: FuzzRequest, milliseconds: number): Promise<FuzzAnswer | undefined> {
    this.cases += request.count;
    const line = new TextEncoder().encode(`${JSON.stringify(request)}\n`);
    await this.#input.write(line).catch(() => {});
    return await this.#answer(milliseconds);
  }

  async #answer(milliseconds: number): Promise<FuzzAnswer | undefined> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), milliseconds);
    const next = this.#lines.next().then(({ value, done }) => done ? undefined : JSON.parse(value));
    try {
      return await Promise.race([next, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#process.status;
    await this.#input.abort().catch(() => {});
    await this.#lines.return(undefined).catch(() => {});
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** What a campaign has seen so far. */
class Findings {
  readonly failures: string[] = [];
  readonly outcomes = new Map<string, number>();
  slowestMs = 0;
  peakBytes = 0;

  add(answer: FuzzAnswer): void {
    for (const [key, count] of Object.entries(answer.outcomes)) {
      this.outcomes.set(key, (this.outcomes.get(key) ?? 0) + count);
    }
    this.slowestMs = Math.max(this.slowestMs, answer.slowestMs);
    this.peakBytes = Math.max(this.peakBytes, answer.peakBytes);
    for (const [index, what] of answer.failures) this.failures.push(`case ${index}: ${what}`);
  }

  report(cases: number): CampaignReport {
    const outcomes = [...this.outcomes].sort(([a], [b]) => a < b ? -1 : 1);
    return {
      cases,
      failures: this.failures,
      figures: {
        "longest case": `${this.slowestMs.toFixed(0)} ms`,
        "most memory": `${(this.peakBytes / 1e6).toFixed(0)} MB`,
        outcomes: outcomes.map(([key, count]) => `${key} ${count}`).join(", "),
      },
    };
  }
}

/** Longest wait for some cases, few of which take long. */
function patience({ count }: FuzzRequest): number {
  return 5000 + 60 * count;
}

/** Tries half of the cases and then the others, each in a process of its own, until the one that never ends is alone. */
async function tryApart(request: FuzzRequest, findings: Findings): Promise<void> {
  const { seed, first, count } = request;
  if (count === 1) return await tryAlone(request, findings);
  const half = count >> 1;
  for (
    const part of [{ seed, first, count: half }, { seed, first: first + half, count: count - half }]
  ) {
    await using child = await Child.start();
    const answer = await child.try(part, patience(part));
    if (answer === undefined) await tryApart(part, findings);
    else await addAnswer(answer, { request: part, findings });
  }
}

/** Counts an answer; suspects are tried alone first. */
async function addAnswer(
  answer: FuzzAnswer,
  { request, findings }: { readonly request: FuzzRequest; readonly findings: Findings },
): Promise<void> {
  findings.add(answer);
  for (const first of answer.suspects) await tryAlone({ ...request, first, count: 1 }, findings);
}

/** Tries one case, and once more if it breaks a limit: the machine may have been busy. */
async function tryAlone(request: FuzzRequest, findings: Findings): Promise<void> {
  let what = "";
  for (let attempt = 0; attempt < 2; attempt++) {
    await using child = await Child.start();
    const answer = await child.try(request, patience(request));
    if (answer?.suspects.length === 0) return findings.add(answer);
    what = answer === undefined
      ? "does not end, or ends its process"
      : "takes too long or too much";
  }
  findings.failures.push(`case ${request.first}: ${what}`);
}

async function fuzz(run: CampaignRun): Promise<CampaignReport> {
  const { seed } = run;
  const findings = new Findings();
  let child = await Child.start();
  let cases = 0;
  try {
    while (run.goesOn(cases) && findings.failures.length < MOST_FAILURES) {
      let count = 1;
      while (count < CASES_AT_ONCE && run.goesOn(cases + count)) count++;
      const request = { seed, first: cases, count };
      const answer = await child.try(request, patience(request));
      if (answer === undefined) await tryApart(request, findings);
      else await addAnswer(answer, { request, findings });
      if (answer?.suspects.length !== 0 || child.cases >= CASES_OF_A_PROCESS) {
        await child[Symbol.asyncDispose]();
        child = await Child.start();
        run.say(`${cases + count} cases, ${findings.failures.length} failed`);
      }
      cases += count;
    }
  } finally {
    await child[Symbol.asyncDispose]();
  }
  return findings.report(cases);
}

/** Damaged files of six kinds. */
export const campaign: Campaign = {
  name: "fuzz",
  summary:
    "Load damaged files of six kinds, each within 2 s and 300 MB, to success or a clear error",
  count: 5000,
  run: fuzz,
};
