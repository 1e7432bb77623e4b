/**
 * The process in which damaged files are loaded: it takes runs of cases from its input, one a line, and answers each
 * with a line. What never answers, or answers with too much memory, is for its parent to notice.
 *
 * @module
 */

import { LabError } from "../../core/check.ts";
import { derivedSeed, pick, seededRandom } from "../../core/random.ts";
import { FORMATS } from "./fuzz_formats.ts";

/** Cases to try. */
export interface FuzzRequest {
  /** Seed of all cases. */
  readonly seed: number;
  /** First case. */
  readonly first: number;
  /** Number of cases. */
  readonly count: number;
}

/** What became of them. */
export interface FuzzAnswer {
  /** Cases by what they were and how they ended, as "gguf refused". */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Cases that ended in another error than the toolkit's, with the error. */
  readonly failures: readonly (readonly [number, string])[];
  /** Cases that broke a limit, if only because of what others left behind. */
  readonly suspects: readonly number[];
  /** Longest of the other cases, in milliseconds. */
  readonly slowestMs: number;
  /** Most resident memory after one of them, in bytes. */
  readonly peakBytes: number;
}

/** Time that a case may take, with half a second for a machine that has others to serve. */
const LIMIT_MS = 2500;
/** Resident memory that a case may lead to, in a process of its own. */
const LIMIT_BYTES = 300e6;
const GARBAGE_BYTES = 150e6;

/** Cases under way at a time, since most of a case is waiting for files. */
const AT_A_TIME = 4;

async function tryCases(request: FuzzRequest, folders: readonly string[]): Promise<FuzzAnswer> {
  const run = new CaseRun(request);
  const left = Array.from({ length: request.count }, (_, at) => request.first + at).values();
  await Promise.all(folders.map(async (folder) => {
    for (const index of left) await run.try(index, folder);
  }));
  return run;
}

/** Counts what becomes of cases. */
class CaseRun implements FuzzAnswer {
  readonly outcomes: Record<string, number> = {};
  readonly failures: [number, string][] = [];
  readonly suspects: number[] = [];
  slowestMs = 0;
  peakBytes = 0;
  readonly #seed: number;
  #before = peakOfProcess();

  constructor({ seed }: FuzzRequest) {
    this.#seed = seed;
  }

  async try(index: number, folder: string): Promise<void> {
    const random = seededRandom(derivedSeed(this.#seed, `fuzz ${index}`));
    const format = pick(random, Object.keys(FORMATS));
    const start = performance.now();
    let outcome = "loaded";
    try {
      await FORMATS[format]!({ random, folder: `${folder}/${format}` });
    } catch (error) {
      outcome = "refused";
      const isOurs = error instanceof LabError && error.message.startsWith("Cannot ");
      if (!isOurs) this.failures.push([index, `${format}: ${describe(error)}`]);
    }
    this.#count(index, `${format} ${outcome}`, performance.now() - start);
  }

  #count(index: number, outcome: string, milliseconds: number): void {
    const before = this.#before;
    const peak = this.#before = peakOfProcess();
    const { rss } = Deno.memoryUsage();
    if (milliseconds > LIMIT_MS || rss > LIMIT_BYTES || peak > Math.max(LIMIT_BYTES, before)) {
      this.suspects.push(index);
    } else {
      this.slowestMs = Math.max(this.slowestMs, milliseconds);
      this.peakBytes = Math.max(this.peakBytes, peak > LIMIT_BYTES ? rss : peak);
      this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
    }
    // What a case leaves behind is not the next one's.
    if (peak > before && rss > GARBAGE_BYTES) (globalThis as { gc?: () => void }).gc?.();
  }
}

function describe(error: unknown): string {
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  return text.slice(0, 600).split("\n").slice(0, 5).map((line) => line.trim()).join(" | ");
}

/** Linux remembers the most memory that a process had; elsewhere memory is seen between cases only. */
function peakOfProcess(): number {
  if (Deno.build.os !== "linux") return 0;
  const status = Deno.readTextFileSync("/proc/self/status");
  return 1024 * Number(/^VmHWM:\s*(\d+)/m.exec(status)?.[1] ?? 0);
}

if (import.meta.main) {
  const folders = Array.from({ length: AT_A_TIME }, (_, at) => `${Deno.args[0]}/${at}`);
  // A kind has its own folder, so that no file of one case is read by another.
  for (const folder of folders) {
    for (const format of Object.keys(FORMATS)) {
      Deno.mkdirSync(`${folder}/${format}`, { recursive: true });
    }
  }
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
  let rest = "";
  console.log("{}");
  for await (const part of lines) {
    const requests = (rest + part).split("\n");
    rest = requests.pop()!;
    for (const request of requests) {
      console.log(JSON.stringify(await tryCases(JSON.parse(request), folders)));
    }
  }
}
