/**
 * A hub that lies, then an honest one with the same cache.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { LabError } from "../../core/check.ts";
import { pick, type Random } from "../../core/random.ts";
import { openModelFiles } from "../../models/open.ts";
import {
  type HubOptions,
  type ServedRepository,
  startHub,
} from "../../tests/support/hub_server.ts";
import { encodeSafetensors, temporaryFolder } from "../../tests/support/model_writer.ts";
import { COMMIT, encode, gguf, list, single, weights } from "../../tests/support/tiny_hub.ts";
import type { Campaign, CampaignReport, CampaignRun } from "./campaign.ts";
import { hostileNames, type Lie, LIES, partOf } from "./hub_lies.ts";

/** Longest silence that a client waits for while the hub lies, longer where the machine was too busy for the lie. */
const SILENCES_MS = [150, 600, 2400];
const EARLY = "failed before the lie was told";
const LIMIT_MS = 30_000;
const AT_A_TIME = 4;
const REFERENCE = "hf:org/tiny";
const TOKEN = "secret";

const half = weights.length >> 1;
const REPOSITORIES: readonly ServedRepository[] = [
  { commit: COMMIT, files: { ...single.files, "generation_config.json": encode({}) } },
  {
    commit: COMMIT,
    files: {
      "config.json": single.files["config.json"]!,
      "model.safetensors.index.json": encode({
        weight_map: Object.fromEntries(
          weights.map(({ name }, at) => [name, `part-${at < half ? 0 : 1}.safetensors`]),
        ),
      }),
      "part-0.safetensors": encodeSafetensors(weights.slice(0, half)),
      "part-1.safetensors": encodeSafetensors(weights.slice(half)),
    },
  },
  { commit: COMMIT, files: { "sub/tiny.gguf": gguf } },
];
/** Files without which the model cannot be opened. */
const REQUIRED = /^(config\.json|.*\.(gguf|safetensors|index\.json))$/;

/** A case. */
interface Scenario {
  readonly repository: ServedRepository;
  readonly lie: Lie;
  /** File that it is about. */
  readonly file: string;
  /** Whether the hub does not list files. */
  readonly hasNoList: boolean;
  readonly random: Random;
}

function drawScenario(random: Random): Scenario {
  const repository = pick(random, REPOSITORIES);
  const required = Object.keys(repository.files).filter((name) => REQUIRED.test(name));
  const isFitting = ({ about, files = {} }: Lie) =>
    required.some((name) => about?.test(name) ?? true) &&
    Object.keys(files).every((name) => required.includes(name));
  const lie = pick(random, LIES.filter(isFitting));
  const file = pick(random, required.filter((name) => lie.about?.test(name) ?? true));
  const isListNeeded = lie.part === "list" || "sub/tiny.gguf" in repository.files;
  return { repository, lie, file, random, hasNoList: !isListNeeded && random() < 0.3 };
}

function describe({ lie, file, hasNoList }: Scenario): string {
  const part = lie.part === undefined ? "files" : `${lie.part} of ${file}`;
  return `${part}: ${lie.what}${hasNoList ? ", no list" : ""}`;
}

/** A lie under way; disposed before its hub, since it may be silent until then. */
interface Liar extends Disposable {
  readonly tell: NonNullable<HubOptions["lie"]>;
  /** How often the lie was told. */
  readonly told: number;
}

function liar(scenario: Scenario, escape: string): Liar {
  const { lie, file, random } = scenario;
  const end = new AbortController();
  let times = 0;
  const change: Liar["tell"] = async (request, honest, path) => {
    const part = partOf(request, path);
    const isAbout = part === lie.part && (part === "list" || path.endsWith(`/${file}`));
    const isEmpty = part === "body" && ![200, 206].includes(honest.status);
    if (!isAbout || isEmpty || lie.tell === undefined) return honest;
    const names = hostileNames(escape);
    const name = pick(random, part === "list" ? names : names.slice(0, -1));
    return await lie.tell(honest, { request, random, name, times: times++, over: end.signal });
  };
  return {
    tell: change,
    get told() {
      return lie.tell === undefined ? 1 : times;
    },
    [Symbol.dispose]: () => end.abort(),
  };
}

/** Opens the model while the hub lies; what is wrong with the outcome, if anything. */
async function meetLiar(
  scenario: Scenario,
  place: { readonly cacheFolder: string; readonly escape: string; readonly silenceMs: number },
): Promise<string | undefined> {
  const { cacheFolder, escape, silenceMs } = place;
  const { repository, lie: { files = {} }, random, hasNoList } = scenario;
  const changed = Object.entries(files).map(([name, write]) => [name, write(random)]);
  const served = { ...repository, files: { ...repository.files, ...Object.fromEntries(changed) } };
  const lie = liar(scenario, escape);
  await using hub = startHub({ "org/tiny": served }, { token: TOKEN, lie: lie.tell });
  using _end = lie;
  hub.faults.hasNoList = hasNoList;
  const begin = performance.now();
  try {
    await using _files = await openModelFiles(REFERENCE, {
      endpoint: hub.endpoint,
      cacheFolder,
      token: TOKEN,
      isOffline: false,
      silenceMs,
    });
    return "the model opened";
  } catch (error) {
    if (!(error instanceof LabError)) return `foreign error ${(error as Error).stack}`;
    if (performance.now() - begin > LIMIT_MS) return `took more than ${LIMIT_MS / 1000} s`;
    if (lie.told === 0) return `${EARLY}: ${error.message}`;
    return undefined;
  }
}

async function meetHonest({ repository }: Scenario, cacheFolder: string): Promise<void> {
  await using hub = startHub({ "org/tiny": repository }, { token: TOKEN });
  const options = { endpoint: hub.endpoint, cacheFolder, token: TOKEN, isOffline: false };
  await using files = await openModelFiles(REFERENCE, options);
  const snapshot = `${cacheFolder}/models--org--tiny/snapshots/${COMMIT}`;
  for (const name of Object.keys(repository.files).filter((name) => REQUIRED.test(name))) {
    assertEquals(await Deno.readFile(`${snapshot}/${name}`), repository.files[name], name);
  }
  assertEquals(files.files.every(({ location }) => location.startsWith(snapshot)), true);
}

async function tryScenario(scenario: Scenario): Promise<string | undefined> {
  await using folder = await temporaryFolder();
  // Deep enough that names with a few steps up stay in the temporary folder, where they are seen.
  const cacheFolder = `${folder.path}/1/2/3/4/5/cache`;
  const place = { cacheFolder, escape: `${folder.path}/escape` };
  let fault: string | undefined = EARLY;
  for (const silenceMs of SILENCES_MS) {
    if (fault?.startsWith(EARLY)) fault = await meetLiar(scenario, { ...place, silenceMs });
  }
  if (fault !== undefined) return fault;
  const outside = (await list(folder.path)).filter((name) => !name.startsWith("1/2/3/4/5/cache/"));
  if (outside.length > 0) return `wrote outside the cache: ${outside.join(", ")}`;
  try {
    await meetHonest(scenario, cacheFolder);
  } catch (error) {
    return `an honest hub does not succeed afterwards: ${(error as Error).message}`;
  }
}

async function runHub(run: CampaignRun): Promise<CampaignReport> {
  const failures: string[] = [];
  let cases = 0;
  let longest = 0;
  const work = async () => {
    while (run.goesOn(cases)) {
      const number = cases++;
      const scenario = drawScenario(run.random(number));
      const begin = performance.now();
      const fault = await tryScenario(scenario);
      longest = Math.max(longest, performance.now() - begin);
      if (fault !== undefined) failures.push(`${number} (${describe(scenario)}): ${fault}`);
      if (number % 20 === 19) run.say(`hub: ${number + 1} cases`);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  return { cases, failures, figures: { "longest case": `${(longest / 1000).toFixed(1)} s` } };
}

/** A hub that lies, then an honest one with the same cache. */
export const campaign: Campaign = {
  name: "hub",
  summary: "A hub that lies ends in an error, writes nothing outside the cache, and leaves no harm",
  count: 200,
  run: runHub,
};
