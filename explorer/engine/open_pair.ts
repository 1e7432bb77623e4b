/**
 * Opens a pair of models in the page's worker.
 *
 * @module
 */

import { counted } from "../../core/counted.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import { acceptedOptions } from "../../cache/policy_options.ts";
import { DataError, RequirementError } from "../../core/check.ts";
import { evaluationItems, type MicroworldTask } from "../../data/microworld.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import type { Device } from "../../gpu/device.ts";
import { MAX_THREADS } from "../../gpu/cpu_device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { parseHubReference } from "../../models/hub/hub_settings.ts";
import { loadModel, type Model } from "../../models/load.ts";
import { sameVocabulary, type Tokenizer } from "../../models/tokenizer/tokenizer.ts";
import { PASSAGE } from "../../notebooks/passage.ts";
import type {
  BackendChoice,
  DroppedFile,
  Example,
  ModelFacts,
  PairFacts,
  PairSource,
  PolicyFacts,
} from "../messages.ts";
import { type BrowserStorage, ModelStore } from "./model_store.ts";
import type { PageFiles } from "./page_files.ts";

/** Told of what is being done, with the share that is done where it is known. */
export type OnProgress = (stage: string, share?: number) => void;

/** A pair with its device; disposing of it frees both. */
export interface OpenPair extends ModelPair, Disposable {
  /** What the page shows of it. */
  readonly facts: PairFacts;
}

const FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

/** What the embedded pair can do, in the order of the list. */
const EXAMPLES: readonly (readonly [MicroworldTask, string])[] = [
  ["route", "Report a route: who has what, and where"],
  ["qa", "Answer questions about the story"],
  ["roll", "Call the roll"],
  ["list", "List what was named"],
  ["sums", "Add up numbers"],
];

/**
 * Opens a pair.
 *
 * @param source The embedded pair, or files.
 * @param backend Where to compute.
 * @param context Files of the page, and a receiver of progress.
 * @returns The pair.
 * @throws {LabError} If a file is no model, the models do not go together, or the device cannot hold them.
 */
export async function openPair(
  source: PairSource,
  backend: BackendChoice,
  { files, onProgress }: { readonly files: PageFiles; readonly onProgress: OnProgress },
): Promise<OpenPair> {
  using stack = new DisposableStack();
  // An open pair is on its device; a part of it must not answer for one that was not dropped this time.
  files.clear();
  const places = await placesOf(source, files, onProgress);
  const device = stack.use(
    await openDevice({ backend, ...(backend !== "webgpu" && { threads: freeThreads() }) }),
  );
  const load = async (role: string, address: string, knownTokenizer?: Tokenizer) =>
    stack.use(
      await loadModel(address, {
        device,
        // The same vocabulary once is enough: that of a usual model takes tens of megabytes.
        ...(knownTokenizer && { knownTokenizer }),
        onLayer: (done, all) => onProgress(`Loading the ${role} model`, done / all),
      }),
    );
  const large = await load("large", places.large);
  const small = places.small === undefined
    ? undefined
    : await load("small", places.small, large.tokenizer);
  checkTokenizers(large, small);
  const owned = stack.move();
  return {
    large,
    ...(small && { small }),
    facts: factsOf(source, { device, large, ...(small && { small }) }),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** The page needs a core for itself. */
function freeThreads(): number {
  return Math.min(MAX_THREADS, Math.max(1, navigator.hardwareConcurrency - 1));
}

interface Places {
  readonly large: string;
  readonly small?: string;
}

async function placesOf(
  source: PairSource,
  files: PageFiles,
  onProgress: OnProgress,
): Promise<Places> {
  switch (source.kind) {
    case "embedded":
      return await fetchEmbedded(source.address, files, onProgress);
    case "files":
      return addModels(source, files);
    case "hub": {
      const { storage } = navigator as { readonly storage?: BrowserStorage };
      const store = new ModelStore(storage);
      const stored = async (role: string, reference: string) =>
        (await store.files(reference)).map(({ path, file }) => ({
          path: `${role}/${parseHubReference(reference).repository}/${path}`,
          file,
        }));
      const large = await stored("large", source.large);
      const small = source.small === undefined ? undefined : await stored("small", source.small);
      return addModels({ large, ...(small && { small }) }, files);
    }
  }
}

async function fetchEmbedded(
  address: string,
  files: PageFiles,
  onProgress: OnProgress,
): Promise<Places> {
  onProgress("Fetching the embedded pair");
  const roles = ["large", "small"] as const;
  await Promise.all(roles.flatMap((role) =>
    FILES.map(async (name) => {
      const place = `${role}/${name}`;
      const response = await fetch(address + place).catch((cause) => {
        throw new DataError(
          `Cannot fetch the embedded pair: ${place} must be there: ${cause}`,
          { cause },
        );
      });
      if (!response.ok) {
        throw new DataError(
          `Cannot fetch the embedded pair: ${place} must be there: current status is ${response.status}`,
        );
      }
      files.add(place, await response.blob());
    })
  ));
  const folder = (role: string) => files.add(`${role}/`, new Blob());
  return { large: folder("large"), small: folder("small") };
}

function addModels(
  { large, small }: {
    readonly large: readonly DroppedFile[];
    readonly small?: readonly DroppedFile[];
  },
  files: PageFiles,
): Places {
  return { large: addModel(large, files), ...(small && { small: addModel(small, files) }) };
}

/** Adds the files of a model; the address of any GGUF part, or of the folder, stands for all. */
function addModel(model: readonly DroppedFile[], files: PageFiles): string {
  const folder = model[0]!.path.slice(0, model[0]!.path.lastIndexOf("/") + 1) || "model/";
  const addresses = model.map(({ path, file }) =>
    files.add(path.includes("/") || isGguf(path) ? path : folder + path, file)
  );
  const gguf = model.findIndex(({ path }) => isGguf(path));
  return addresses[gguf] ?? files.add(folder, new Blob());
}

function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path);
}

function checkTokenizers(large: Model, small: Model | undefined): void {
  for (const { name, tokenizer } of small ? [large, small] : [large]) {
    if (tokenizer) continue;
    throw new DataError(
      `Cannot open ${name}: it must come with a tokenizer: current value is none`,
    );
  }
  if (!small || sameVocabulary(large.tokenizer!, small.tokenizer!)) return;
  throw new RequirementError({
    action: "open the pair",
    requirement: "both models must have the same vocabulary",
    state: `models are ${large.name} and ${small.name}`,
  });
}

function factsOf(source: PairSource, { device, large, small }: ModelPair & { device: Device }) {
  const { backend, threads = 1 } = device.info;
  const isEmbedded = source.kind === "embedded";
  const names = isEmbedded
    ? undefined
    : { large: nameOf(source, "large"), small: nameOf(source, "small") };
  const contexts = [large, ...(small ? [small] : [])].map(({ config }) => config.contextLength);
  return {
    isEmbedded,
    large: modelFacts(large, names?.large),
    ...(small && { small: modelFacts(small, names?.small) }),
    device: backend === "cpu" ? `CPU, ${counted(threads, "thread")}` : backend,
    contextLength: Math.min(...contexts),
    examples: isEmbedded ? embeddedExamples() : [{ title: "A ferry", prompt: PASSAGE }],
    policies: POLICIES.filter(({ name }) => name !== "full").map(policyFacts)
      .filter(({ usesSmall }) => small !== undefined || !usesSmall),
  } satisfies PairFacts;
}

function modelFacts(
  { name, config: { layers, queryHeads, kvHeads } }: Model,
  file: string = name,
): ModelFacts {
  return { name, file, layers, queryHeads, kvHeads };
}

/** What the library takes for a model; undefined for a folder, whose name it is. */
function nameOf(source: PairSource, role: "large" | "small"): string | undefined {
  if (source.kind === "hub") return source[role];
  if (source.kind === "files") return source[role]?.find(({ path }) => isGguf(path))?.path;
}

function policyFacts(policy: typeof POLICIES[number]): PolicyFacts {
  const { name, summary, saliencySource, candidates } = policy;
  return {
    name,
    summary,
    usesSmall: saliencySource === "small",
    mayReturn: candidates === "all",
    options: acceptedOptions(policy),
  };
}

function embeddedExamples(): Example[] {
  return EXAMPLES.map(([task, title]) => ({
    title,
    prompt: evaluationItems(task, { count: 1 })[0]!.prompt,
  }));
}
