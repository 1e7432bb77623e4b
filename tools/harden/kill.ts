/**
 * Kills a command again and again, at any moment and at any step of writing, and lets it continue.
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

/** A command that continues where it was stopped, and what it leaves in the folder `results`. */
export interface KilledCommand {
  /** Its words. */
  readonly words: readonly string[];
  /**
   * What is finished: pieces by name, each with what would be another if the piece were written again.
   *
   * @param folder The folder `results`.
   */
  readonly finished: (folder: string) => Promise<Map<string, unknown>>;
  /** The part of a file that is the same in every run; nothing if there is none. */
  readonly stable: (name: string, text: string) => string;
}

/** Cheap experiments of the embedded pair: numbers alone, and traces of both models. */
const REPRODUCE: KilledCommand = {
  words: ["reproduce", "arithmetic", "table9"],
  async finished(folder) {
    const found = new Map<string, number | null>();
    for await (const path of filesBelow(folder)) {
      const name = relative(folder, path);
      if (/^(\.cache\/..\/[0-9a-f]{64}|smoke\/\w+\.json)$/.test(name)) {
        found.set(name, (await Deno.stat(path)).ino);
      }
    }
    return found;
  },
  stable: (name, text) =>
    /\.cache\/|plotly|report\.html$/.test(name)
      ? ""
      : text.replaceAll(/"(?:startedAt|seconds|content)": .*/g, ""),
};

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const LAUNCH = ["run", "-A", pathOf("../launch.ts")];
const DIRECT = ["run", "-A", "--preload", pathOf("kill_at.ts"), pathOf("../../cli.ts")];

/** How a run ended. */
interface Ending {
  readonly isKilled: boolean;
  readonly code: number;
  readonly error: string;
  readonly milliseconds: number;
}

/** A folder in which the command runs, with its results and temporary files. */
class Place implements AsyncDisposable {
  readonly #folder: string;
  readonly #command: KilledCommand;

  private constructor(folder: string, command: KilledCommand) {
    this.#folder = folder;
    this.#command = command;
  }

  static async create(command: KilledCommand): Promise<Place> {
    const place = new Place(await Deno.makeTempDir({ prefix: "harden-kill-" }), command);
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
      args: [...args, ...this.#command.words],
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

  /** What is finished. */
  async finished(): Promise<Map<string, unknown>> {
    return await this.#command.finished(this.path("results"));
  }

  /** All that a run leaves, as texts that do not depend on when it ran; unfinished files included. */
  async content(): Promise<Record<string, string>> {
    const content: Record<string, string> = {};
    for await (const path of filesBelow(this.path("results"))) {
      const name = relative(this.#folder, path);
      const text = name.endsWith(".png") ? "" : await Deno.readTextFile(path);
      content[name] = this.#command.stable(name, text);
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

/** What an undisturbed run leaves, takes and writes. */
interface Reference {
  readonly content: Readonly<Record<string, string>>;
  readonly milliseconds: number;
  readonly steps: number;
}

async function undisturbed(command: KilledCommand): Promise<Reference> {
  await using place = await Place.create(command);
  const { code, error } = await place.run(DIRECT, { KILL_STEPS: place.path("steps") });
  if (code !== 0) throw new Error(`${command.words[0]} must work undisturbed: ${error}`);
  const steps = Number(await Deno.readTextFile(place.path("steps")));
  await using second = await Place.create(command);
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
function lost(before: Map<string, unknown>, after: Map<string, unknown>): string[] {
  return [...before].filter(([name, id]) => after.get(name) !== id).map(([name]) => name);
}

/** What differs from an undisturbed run. */
function differences(content: Record<string, string>, { content: wanted }: Reference): string[] {
  const names = new Set([...Object.keys(content), ...Object.keys(wanted)]);
  return [...names].filter((name) => content[name] !== wanted[name]);
}

/** Kills until a run gets through, and says what went wrong. */
async function chain(
  command: KilledCommand,
  { run, kills, reference }: {
    readonly run: CampaignRun;
    kills: number;
    readonly reference: Reference;
  },
) {
  await using place = await Place.create(command);
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

/**
 * Kills a command until the run is over.
 *
 * @param command What is killed.
 * @param run How long it goes on.
 */
export async function killCommand(
  command: KilledCommand,
  run: CampaignRun,
): Promise<CampaignReport> {
  const reference = await undisturbed(command);
  const failures: string[] = [];
  let kills = 0;
  let chains = 0;
  while (run.goesOn(kills)) {
    const ended = await chain(command, { run, kills, reference });
    kills = ended.kills;
    failures.push(...ended.failures);
    chains++;
    run.say(
      `${
        command.words[0]
      }: ${kills} kills, ${chains} runs that got through, ${failures.length} failed`,
    );
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
  run: (run) => killCommand(REPRODUCE, run),
};
