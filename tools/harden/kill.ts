/**
 * Kills `reproduce` again and again, at any moment and at any step of writing, and lets it continue.
 *
 * Nothing that was finished may be lost or measured again, and what is there at the end must be what an undisturbed
 * run leaves.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { join, relative } from "node:path";
import { type Random, randomInteger } from "../../core/random.ts";
import type { Campaign, CampaignReport, CampaignRun } from "./campaign.ts";

/** Cheap experiments of the embedded pair: numbers alone, and traces of both models. */
const COMMAND = ["reproduce", "arithmetic", "table9"];

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const LAUNCH = ["run", "-A", pathOf("../launch.ts"), ...COMMAND];
const DIRECT = ["run", "-A", "--preload", pathOf("kill_at.ts"), pathOf("../../cli.ts"), ...COMMAND];

/** How a run ended. */
interface Ending {
  readonly isKilled: boolean;
  readonly code: number;
  readonly error: string;
  readonly milliseconds: number;
}

/** A folder in which `reproduce` runs, with its results and temporary files. */
class Place implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<Place> {
    const place = new Place(await Deno.makeTempDir({ prefix: "harden-kill-" }));
    await Deno.mkdir(place.path("tmp"));
    return place;
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Runs the command and, after a time, kills it with all its children. */
  async run(args: readonly string[], env: Record<string, string>, killAfter = Infinity) {
    const start = performance.now();
    const child = new Deno.Command(Deno.execPath(), {
      args: [...args],
      cwd: this.#folder,
      env: { ...env, TMPDIR: this.path("tmp"), SMALLKV_CHROMIUM: "none", NO_COLOR: "1" },
      stdout: "null",
      stderr: "piped",
      detached: true,
    }).spawn();
    const timer = Number.isFinite(killAfter)
      ? setTimeout(() => killGroup(child.pid), killAfter)
      : undefined;
    const { code, signal, stderr } = await child.output();
    clearTimeout(timer);
    const ending: Ending = {
      isKilled: signal === "SIGKILL",
      code,
      error: new TextDecoder().decode(stderr),
      milliseconds: performance.now() - start,
    };
    return ending;
  }

  /** Whole files of results and work units, each with the number that a file written again would not have. */
  async finished(): Promise<Map<string, number | null>> {
    const found = new Map<string, number | null>();
    for await (const path of filesBelow(this.path("results"))) {
      const name = relative(this.#folder, path);
      if (!isMeasured(name)) continue;
      found.set(name, (await Deno.stat(path)).ino);
    }
    return found;
  }

  /** All that a run leaves, as texts that do not depend on when it ran; unfinished files included. */
  async content(): Promise<Record<string, string>> {
    const content: Record<string, string> = {};
    for await (const path of filesBelow(this.path("results"))) {
      const name = relative(this.#folder, path);
      const text = /\.cache\/|plotly/.test(name) ? "" : await Deno.readTextFile(path);
      content[name] = withoutTimes(name, text);
    }
    for await (const { name } of Deno.readDir(this.path("tmp"))) content[`tmp/${name}`] = "";
    return content;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

function killGroup(id: number): void {
  try {
    Deno.kill(-id, "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

async function* filesBelow(folder: string): AsyncGenerator<string> {
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(() => []);
  for (const { name, isDirectory } of entries) {
    if (isDirectory) yield* filesBelow(join(folder, name));
    else yield join(folder, name);
  }
}

/** Whether a file is a result or a work unit. */
function isMeasured(name: string): boolean {
  return /^results\/(\.cache\/..\/[0-9a-f]{64}|smoke\/\w+\.json)$/.test(name);
}

function withoutTimes(name: string, text: string): string {
  if (name.endsWith("report.html")) return "";
  return text.replaceAll(/"(?:startedAt|seconds|content)": .*/g, "");
}

/** What an undisturbed run leaves, takes and writes. */
interface Reference {
  readonly content: Readonly<Record<string, string>>;
  readonly milliseconds: number;
  readonly steps: number;
}

async function undisturbed(): Promise<Reference> {
  await using place = await Place.create();
  const { code, error } = await place.run(DIRECT, { KILL_STEPS: place.path("steps") });
  if (code !== 0) throw new Error(`reproduce must work undisturbed: ${error}`);
  const steps = Number(await Deno.readTextFile(place.path("steps")));
  await using second = await Place.create();
  const { milliseconds } = await second.run(LAUNCH, {});
  return { content: await second.content(), milliseconds, steps };
}

/** Half of the runs are killed from outside with their children, half end themselves while they write. */
async function killedRun(place: Place, random: Random, reference: Reference) {
  if (random() < 0.5) {
    return await place.run(LAUNCH, {}, random() * reference.milliseconds);
  }
  const step = randomInteger(random, reference.steps) + 1;
  return await place.run(DIRECT, { KILL_AT: String(step) });
}

/** What was there before a run and is gone or written again. */
function lost(before: Map<string, number | null>, after: Map<string, number | null>): string[] {
  return [...before].filter(([name, id]) => after.get(name) !== id).map(([name]) => name);
}

/** What differs from an undisturbed run. */
function differences(content: Record<string, string>, { content: wanted }: Reference): string[] {
  const names = new Set([...Object.keys(content), ...Object.keys(wanted)]);
  return [...names].filter((name) => content[name] !== wanted[name]);
}

/** Kills until a run gets through, and says what went wrong. */
async function chain(run: CampaignRun, kills: number, reference: Reference) {
  await using place = await Place.create();
  const failures: string[] = [];
  const first = kills;
  while (true) {
    const before = await place.finished();
    const isLast = !run.goesOn(kills);
    const ending = isLast
      ? await place.run(LAUNCH, {})
      : await killedRun(place, run.random(kills), reference);
    const gone = lost(before, await place.finished());
    if (gone.length > 0) failures.push(`kill ${kills}: written again or lost: ${gone.join(", ")}`);
    if (ending.isKilled) {
      kills++;
      continue;
    }
    if (ending.code !== 0) failures.push(`after kill ${kills}: ${ending.error.trim()}`);
    // A run without the launcher leaves its temporary folders to the next one with it.
    if (!isLast) await place.run(LAUNCH, {});
    const differ = differences(await place.content(), reference);
    if (differ.length > 0) {
      failures.push(`kills ${first} to ${kills}: differ: ${differ.join(", ")}`);
    }
    return { kills, failures };
  }
}

async function runCampaign(run: CampaignRun): Promise<CampaignReport> {
  const reference = await undisturbed();
  const failures: string[] = [];
  let kills = 0;
  let chains = 0;
  while (run.goesOn(kills)) {
    const ended = await chain(run, kills, reference);
    kills = ended.kills;
    failures.push(...ended.failures);
    chains++;
    run.say(`kill: ${kills} kills, ${chains} runs that got through, ${failures.length} failed`);
  }
  const figures = {
    "runs that got through": String(chains),
    "steps of writing in a run": String(reference.steps),
  };
  return { cases: kills, failures, figures };
}

/** Kills `reproduce` at any moment and at the n-th step of writing. */
export const campaign: Campaign = {
  name: "kill",
  summary: "kills reproduce at any moment and any step of writing; nothing finished may be lost",
  count: 200,
  run: runCampaign,
};
