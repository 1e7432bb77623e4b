/**
 * Commands with the permissions that they need, and with one of them missing.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { pick, type Random } from "../../core/random.ts";
import { findChromium } from "../../experiments/figures/chromium.ts";
import { serveFolders } from "../../tests/support/file_server.ts";
import { startHub } from "../../tests/support/hub_server.ts";
import { temporaryFolder } from "../../tests/support/model_writer.ts";
import { permissionFlags } from "../permissions.ts";
import type { Campaign, CampaignReport, CampaignRun } from "./campaign.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url)).replace(/[/\\]$/, "");
const MODEL = `${ROOT}/data/embedded/small`;
const PROMPT = "Uma has the harp. It was late. Zoe lives in Crag.\nReport from Uma: ".repeat(12);
const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** A question of permissions waits for an answer: nothing here may take this long. */
const LIMIT_MS = 180_000;

/** Where a command line finds what it names. */
interface Place {
  /** Folder that holds `prompt.txt`, and gets what is written. */
  readonly folder: string;
  /** Address of a server that has the model at `/model`. */
  readonly address: string;
}

/** Command lines, each with what it needs. */
const COMMAND_LINES: readonly ((place: Place) => string[])[] = [
  () => ["info"],
  () => ["info", MODEL],
  ({ address }) => ["info", `${address}/model/`],
  () => ["info", "hf:org/tiny"],
  () => ["generate", "--max-new", "2", "--device", "reference", "--prompt", "Uma, has", "--json"],
  ({ folder }) => [
    ...["match", "--device", "reference", "--text", `${folder}/prompt.txt`],
    ...["--out", `${folder}/new/match.json`],
  ],
  ({ folder }) => [
    ...["extract", "--model", MODEL, "--device", "reference", "--accumulated"],
    ...["--text", `${folder}/prompt.txt`, "--out", `${folder}/out.safetensors`],
  ],
  (
    { folder },
  ) => ["reproduce", "arithmetic", "--device", "reference", "--out", `${folder}/results`],
];

/** What ran, and how it ended. */
interface Outcome {
  readonly code: number;
  readonly error: string;
}

async function runCommand(
  flags: readonly string[],
  words: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Outcome> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, `${ROOT}/cli.ts`, ...words],
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const { code, stderr } = await command.output();
  return { code, error: new TextDecoder().decode(stderr) };
}

/** What is wrong with the outcome, if anything: a missing permission is one line, or makes no difference. */
function faultOf({ code, error }: Outcome, missing: string | undefined): string | undefined {
  if (/^\s+at |Uncaught|[Ii]nternal error/m.test(error)) return `stack of calls: ${error}`;
  if (code === 0) return undefined;
  if (missing === undefined) return `exit code ${code}: ${error}`;
  const lines = error.split("\n").filter((line) => line.startsWith("Cannot "));
  return code === 1 && lines.length === 1 ? undefined : `exit code ${code}: ${error}`;
}

async function tryCase(random: Random, index: number): Promise<[string, string | undefined]> {
  await using folder = await temporaryFolder();
  await using server = serveFolders({ model: MODEL });
  const names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
  const files = await Promise.all(
    names.map(async (name) => [name, await Deno.readFile(`${MODEL}/${name}`)] as const),
  );
  await using hub = startHub({ "org/tiny": { commit: COMMIT, files: Object.fromEntries(files) } });
  await Deno.writeTextFile(`${folder.path}/prompt.txt`, PROMPT);
  const place = { folder: folder.path, address: server.address };
  const [command, ...words] = COMMAND_LINES[index % COMMAND_LINES.length]!(place);
  const env = { HF_HOME: `${folder.path}/hub`, HF_ENDPOINT: hub.endpoint };
  const surroundings = { command: command!, words, root: ROOT, exitFile: `${folder.path}/exit` };
  const chromium = command === "reproduce" ? await findChromium() : undefined;
  const flags = permissionFlags({ ...surroundings, chromium, env: new Map(Object.entries(env)) });
  // The first round leaves all flags in place.
  const isWhole = index < COMMAND_LINES.length;
  const missing = isWhole
    ? undefined
    : pick(random, flags.filter((flag) => flag !== "--no-prompt"));
  const outcome = await runCommand(
    flags.filter((flag) => flag !== missing),
    [command!, ...words],
    env,
  );
  return [
    `${command} ${words.join(" ").slice(0, 60)} without ${missing ?? "nothing"}`,
    faultOf(outcome, missing),
  ];
}

async function runPermissions(run: CampaignRun): Promise<CampaignReport> {
  const failures: string[] = [];
  let cases = 0;
  for (; run.goesOn(cases); cases++) {
    const [what, fault] = await tryCase(run.random(cases), cases);
    if (fault !== undefined) failures.push(`${cases} (${what}): ${fault}`);
    if (cases % 8 === 7) run.say(`permissions: ${cases + 1} cases`);
  }
  return { cases, failures };
}

/** Commands with the permissions that they need, and with one of them missing. */
export const campaign: Campaign = {
  name: "permissions",
  summary:
    "Commands run with their permissions; a missing one is one clear error, never a question",
  count: 80,
  run: runPermissions,
};
