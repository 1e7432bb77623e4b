/**
 * Commands in unusual surroundings: variables, folders, names, drivers.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../../tests/support/model_writer.ts";
import type { Campaign, CampaignReport, CampaignRun } from "./campaign.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PROMPT = "Uma has the harp. It was late. Zoe lives in Crag.\nReport from Uma: ".repeat(12);
const LIMIT_MS = 180_000;

/** Folders whose names are hard on shells, flags and encodings. */
const NAMES: readonly string[] = [
  ...["plain", "two words", 'it\'s "quoted"', "a,b;c", "ünïcode 中文 🦜", "-dash", "$HOME", "100%"],
  ...["tab\there", "dots..", "#hash?"],
];

/** Variables of a process, where undefined removes one. */
type Variables = Readonly<Record<string, string | undefined>>;

/** Variables under which everything works as ever. */
const HARMLESS: readonly Variables[] = [
  { HOME: undefined },
  { HOME: "/nonexistent" },
  { HOME: "" },
  { LANG: "C", LC_ALL: "C" },
  { LANG: "tr_TR.UTF-8", LC_ALL: "tr_TR.UTF-8" },
  { LANG: "de_DE.ISO-8859-1", TZ: "Pacific/Chatham" },
  { XDG_RUNTIME_DIR: undefined },
  { XDG_CACHE_HOME: "relative", HF_HOME: "also relative" },
  { PATH: undefined },
  { CI: "1", TERM: "dumb" },
  // No driver: the software adapter is one as well.
  { VK_DRIVER_FILES: "/nonexistent", VK_ICD_FILENAMES: "/nonexistent" },
];

/** A command line in a folder, and how it must end. */
interface Situation {
  readonly what: string;
  readonly words: readonly string[];
  readonly cwd: string;
  readonly env: Variables;
  /** Whether it must fail with one message; else it must write what it writes elsewhere. */
  readonly fails?: boolean;
}

function situations(folder: string): Situation[] {
  const generate = ["generate", "--large", "model", "--small", "model", "--max-new", "4"];
  const match = ["match", "--large", "model", "--small", "model", "--text", "prompt.txt", "--out"];
  const device = ["--device", "reference"];
  const env = {};
  const usual: Situation[] = NAMES.map((name) => ({
    what: `in a folder called ${name}`,
    words: [...generate, "--prompt", "./prompt.txt", ...device],
    cwd: `${folder}/${name}`,
    env,
  }));
  const paths: Situation[] = NAMES.map((name) => ({
    what: `with paths through a folder called ${name}`,
    words: [...generate, "--prompt", "prompt.txt", ...device].map((word) =>
      /^(model|prompt\.txt)$/.test(word) ? `${folder}/${name}/${word}` : word
    ),
    cwd: folder,
    env,
  }));
  const variables: Situation[] = HARMLESS.map((env) => ({
    what: `with ${JSON.stringify(env)}`,
    words: [...generate, "--prompt", "prompt.txt", ...("VK_DRIVER_FILES" in env ? [] : device)],
    cwd: `${folder}/plain`,
    env,
  }));
  const broken: Situation[] = [
    { what: "out below a file", words: [...match, "prompt.txt/x.json", ...device], cwd: "", env },
    { what: "out where nothing may be written", words: [...match, "/proc/x.json"], cwd: "", env },
    { what: "a model that is not there", words: ["info", "none here"], cwd: "", env },
    {
      what: "a model of the hub without a home",
      words: ["info", "hf:org/tiny"],
      cwd: "",
      env: { HOME: undefined, HF_HOME: undefined, HF_HUB_OFFLINE: "1" },
    },
    {
      what: "a hub without a network",
      words: ["info", "hf:org/tiny"],
      cwd: "",
      env: { HF_HOME: `${folder}/cache`, HF_ENDPOINT: "http://127.0.0.1:9" },
    },
  ];
  const failing = broken.map((one) => ({ ...one, cwd: `${folder}/plain`, fails: true }));
  return [...usual, ...paths, ...variables, ...failing];
}

/** Flags with which deno.json starts the launcher. */
async function launcherFlags(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  return tasks.generate.command.split(" ").slice(2, -2);
}

async function runCommand({ words, cwd, env }: Situation): Promise<Deno.CommandOutput> {
  const given = { ...Deno.env.toObject(), SMALLKV_INSTALL: "0", NO_COLOR: "1", ...env };
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return await new Deno.Command(Deno.execPath(), {
    args: ["run", ...await launcherFlags(), `${ROOT}tools/launch.ts`, ...words],
    cwd,
    clearEnv: true,
    env: Object.fromEntries(set as [string, string][]),
    stdin: "null",
    signal: AbortSignal.timeout(LIMIT_MS),
  }).output();
}

/** What is wrong, if anything. */
async function faultOf(situation: Situation, expected: string): Promise<string | undefined> {
  const { code, stdout, stderr } = await runCommand(situation);
  const out = new TextDecoder().decode(stdout);
  const error = new TextDecoder().decode(stderr);
  if (/^\s+at |Uncaught|Internal error/m.test(error)) return `stack of calls: ${error}`;
  if (situation.fails) {
    const lines = error.split("\n").filter((line) => line.startsWith("Cannot "));
    return code === 1 && lines.length === 1 ? undefined : `exit code ${code}: ${error}`;
  }
  if (code !== 0) return `exit code ${code}: ${error}`;
  return out === expected
    ? undefined
    : `wrote ${JSON.stringify(out)}, not ${JSON.stringify(expected)}`;
}

async function prepare(folder: string): Promise<void> {
  for (const name of NAMES) {
    const model = `${folder}/${name}/model`;
    await Deno.mkdir(model, { recursive: true });
    for await (const file of Deno.readDir(`${ROOT}data/embedded/small`)) {
      await Deno.copyFile(`${ROOT}data/embedded/small/${file.name}`, `${model}/${file.name}`);
    }
    await Deno.writeTextFile(`${folder}/${name}/prompt.txt`, PROMPT);
  }
}

async function runEnvironment(run: CampaignRun): Promise<CampaignReport> {
  await using folder = await temporaryFolder();
  await prepare(folder.path);
  const all = situations(folder.path);
  const { stdout } = await runCommand(all[0]!);
  const expected = new TextDecoder().decode(stdout);
  const failures: string[] = expected.trim() === "" ? ["0: the first command writes nothing"] : [];
  let cases = 0;
  for (; run.goesOn(cases); cases++) {
    // Without a count, each once; a short run sees a few of each kind.
    const situation = all[cases * 7 % all.length]!;
    const fault = await faultOf(situation, expected);
    if (fault !== undefined) failures.push(`${cases} (${situation.what}): ${fault}`);
    if (cases % 8 === 7) run.say(`environment: ${cases + 1} cases`);
  }
  return { cases, failures };
}

/** Commands in unusual surroundings. */
export const campaign: Campaign = {
  name: "environment",
  summary: "Commands work the same whatever variables, folders and names surround them",
  count: 38,
  run: runEnvironment,
};
