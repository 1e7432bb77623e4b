/**
 * The engine of the toolkit: its devices, its models, the datasets of a folder.
 *
 * @module
 */

import { embeddedPair, verifyEmbedded } from "../data/embedded.ts";
import { UsageError } from "../core/check.ts";
import type { Backend, DeviceInfo } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import configuration from "../deno.json" with { type: "json" };
import type { DatasetName, ExperimentText, ModelRole } from "../experiments/experiment.ts";
import type { Environment } from "../experiments/runner/record.ts";
import type { Engine, EngineModel, EngineOptions } from "./engine.ts";
import { LabModel } from "./lab_model.ts";
import { LabPolicies } from "./lab_policies.ts";
import { datasetTexts } from "./lab_texts.ts";

/**
 * Opens a device; models and datasets are opened when they are asked for.
 *
 * @param options Device, data folder, progress.
 * @returns The engine; disposing it frees its models and its device.
 * @throws {GpuError} If the device asked for is not there.
 */
export async function openLabEngine(options: EngineOptions): Promise<Engine> {
  await using stack = new AsyncDisposableStack();
  const backend = options.device as Backend | "auto";
  const device = stack.use(await openDevice({ backend }));
  const owned = stack.move();
  return {
    environment: environmentOf(device.info),
    modules: [new URL(import.meta.resolve("./lab_model.ts"))],
    policies: new LabPolicies(),
    policyModules: [new URL(import.meta.resolve("./lab_policies.ts"))],
    async openModel(role: ModelRole, reference?: string): Promise<EngineModel> {
      if (reference === undefined && role !== "other") await verifyEmbedded(role);
      const model = await LabModel.open({
        reference: reference ?? embeddedReference(role),
        ...(reference === undefined && { name: `micro-world ${role}` }),
        device,
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      return owned.use(model);
    },
    texts: (name: DatasetName, limit: number): Promise<readonly ExperimentText[]> =>
      datasetTexts(name, limit, options.dataFolder),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function embeddedReference(role: ModelRole): string {
  if (role !== "other") return embeddedPair()[role];
  throw new UsageError(
    "Cannot open the other model: --other must name a file, folder or hub model: current value is none",
  );
}

function environmentOf(info: DeviceInfo): Environment {
  const { os, arch } = Deno.build;
  return {
    device: info.backend,
    adapter: info.description,
    isSoftware: info.isSoftware,
    versions: { [configuration.name]: configuration.version, ...Deno.version },
    system: `${os} ${arch}`,
  };
}
