/**
 * Opens what commands and experiments run on: a device, the models of a pair by role, the datasets of a folder.
 *
 * @module
 */

import { RequirementError, UsageError } from "../../core/check.ts";
import { bbh } from "../../data/bbh.ts";
import type { Dataset } from "../../data/dataset.ts";
import { embeddedPair, verifyEmbedded } from "../../data/embedded.ts";
import { gsm8k } from "../../data/gsm8k.ts";
import { microworld } from "../../data/microworld.ts";
import { mmlu } from "../../data/mmlu.ts";
import { mtBench } from "../../data/mt_bench.ts";
import { wikitext2 } from "../../data/wikitext2.ts";
import configuration from "../../deno.json" with { type: "json" };
import { dataPlace } from "../../evaluation/questions.ts";
import {
  type ActivationBits,
  askedActivationBits,
  type Backend,
  type Device,
} from "../../gpu/device.ts";
import { driverEntry } from "../../gpu/driver.ts";
import { checkHeeded, openDevice } from "../../gpu/open_device.ts";
import { shapesName } from "../../kernels/shapes.ts";
import type { DatasetName, ExperimentModel, ExperimentText, ModelRole } from "../experiment.ts";
import { checkoutCommit } from "./commit.ts";
import { openLabModel } from "./lab_model.ts";
import type { Environment } from "./record.ts";
import { readShapes } from "./tuned_shapes.ts";

/** How an engine is opened. */
export interface EngineOptions {
  /** Back end, or a device that the caller owns; if left out, a GPU if there is one, else the processor. */
  readonly device?: Device | Backend | "auto";
  /** Threads of the CPU device; its default if left out. */
  readonly threads?: number;
  /** `auto`, `tuned`, a kind of the table of shapes, or a file of `deno task tune`; `auto` if left out. */
  readonly shapes?: string;
  /** Bits to which the device rounds activations; its default if left out. */
  readonly activationBits?: ActivationBits;
  /** Folder of the datasets; else `SMALLKV_DATA`, else the cache, which downloads what it lacks. */
  readonly dataFolder?: string;
  /** Told once of each dataset that is downloaded: its license and where it comes from. */
  readonly onNotice?: (notice: string) => void;
  /** Told what is loaded, with the share that is done. */
  readonly onProgress?: (detail: string, share: number) => void;
  /** Called for every oddity of a model's files that does not keep it from running. */
  readonly onWarning?: (warning: string) => void;
}

/** A device with models. */
export interface Engine extends AsyncDisposable {
  /** Device and versions. */
  readonly environment: Environment;
  /**
   * Opens a model; its weights are loaded when it is first run.
   *
   * @param role Which model of a pair; decides the default.
   * @param reference File, folder or `hf:` name; the embedded model of that role if left out.
   */
  openModel(role: ModelRole, reference?: string): Promise<ExperimentModel>;
  /** Texts of a dataset in a fixed order, at most `limit`. */
  texts(name: DatasetName, limit: number): Promise<readonly ExperimentText[]>;
}

/** Opens an engine; tests put fakes here. */
export type OpenEngine = (options: EngineOptions) => Promise<Engine>;

/** Every dataset by name. */
export const DATASETS: Readonly<Record<DatasetName, Dataset>> = {
  microworld,
  wikitext2,
  bbh,
  gsm8k,
  mmlu,
  mt_bench: mtBench,
};

/**
 * Opens a device; models and datasets are opened on request.
 *
 * @param options Device, data folder, progress.
 * @returns The engine; disposing it frees its models, and its device if it opened one.
 * @throws {GpuError} If the device asked for is not there.
 * @throws {RequirementError} If the device would pass over an option.
 */
export async function openEngine(
  options: EngineOptions = {},
): Promise<Engine & { readonly device: Device }> {
  const { device: wanted = "auto", threads, activationBits, onProgress, onWarning } = options;
  const backend = typeof wanted === "string" ? wanted : wanted.info.backend;
  const given = {
    ...(threads !== undefined && { threads }),
    ...(activationBits !== undefined && { activationBits }),
    ...((options.shapes ?? "auto") !== "auto" && { shapes: {} }),
  };
  if (typeof wanted !== "string") refuseDeviceOptions(Object.keys(given));
  if (backend !== "auto") checkHeeded(backend, given);
  const shapes = await readShapes(options.shapes ?? "auto", backend);
  await using stack = new AsyncDisposableStack();
  const device = typeof wanted === "string"
    ? stack.use(await openDevice({ backend: wanted, ...given, ...(shapes && { shapes }) }))
    : wanted;
  checkHeeded(device.info.backend, given); // the one that auto has taken
  const owned = stack.move();
  return {
    device,
    environment: environmentOf(device),
    async openModel(role, reference) {
      if (reference === undefined && role !== "other") await verifyEmbedded(role);
      const model = await openLabModel({
        reference: reference ?? embeddedReference(role),
        ...(reference === undefined && { name: `micro-world ${role}` }),
        device,
        ...(onProgress && { onProgress }),
        ...(onWarning && { onWarning }),
      });
      return owned.use(model);
    },
    async texts(name, limit) {
      const dataset = DATASETS[name];
      return await dataset.texts(await dataPlace(dataset.files, options), limit);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A device that is open already keeps what it was opened with. */
function refuseDeviceOptions(given: readonly string[]): void {
  if (given.length === 0) return;
  throw new RequirementError({
    action: "open an engine on a device that is open",
    requirement: "threads, shapes and activationBits must be left out",
    current: given.join(", "),
  });
}

function embeddedReference(role: ModelRole): string {
  if (role !== "other") return embeddedPair()[role];
  throw new UsageError(
    "Cannot open the other model: --other must name a file, folder or hub model: current value is none",
  );
}

function environmentOf({ info }: Device): Environment {
  const commit = checkoutCommit(new URL("../../", import.meta.url));
  const shapes = shapesName(info);
  const activationBits = askedActivationBits(info);
  return {
    device: info.backend,
    adapter: info.description,
    ...driverEntry(info),
    isSoftware: info.isSoftware,
    ...(shapes !== undefined && { shapes }),
    ...(activationBits !== undefined && { activationBits }),
    ...hostEnvironment(),
    ...(commit !== undefined && { commit }),
  };
}

/** Versions and system of this process. */
export function hostEnvironment(): Pick<Environment, "versions" | "system"> {
  const { os, arch } = Deno.build;
  return {
    versions: { [configuration.name]: configuration.version, ...Deno.version },
    system: `${os} ${arch}`,
  };
}
