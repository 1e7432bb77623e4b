/**
 * Activations of sessions that never run at the same time, and so need them only once.
 *
 * @module
 */

import type { Device } from "../../gpu/device.ts";
import type { ModelConfig } from "../../models/config.ts";
import {
  type Activations,
  createActivations,
  stridesOf,
  type WorkspaceShape,
} from "../../models/forward/workspace.ts";

interface Shared {
  readonly device: Device;
  /** Everything that sizes depend on. */
  readonly sizes: string;
  readonly activations: Activations;
  /** Sessions that have them. */
  users: number;
}

/**
 * Gives sessions of the same sizes the same activations, which are freed with the last of them.
 *
 * Nothing here keeps two sessions from running at the same time, which would mix up what they compute: whoever
 * runs them sees to it.
 */
export class ActivationPool {
  readonly #all = new Set<Shared>();

  /**
   * Finds activations, or allocates them.
   *
   * @returns Activations; disposing them gives them back.
   * @throws {GpuError} If the device has too little memory.
   */
  take(device: Device, config: ModelConfig, shape: WorkspaceShape): Activations {
    const { queryHeads, kvHeads, headDim } = config;
    const sizes = JSON.stringify([stridesOf(config), queryHeads, kvHeads, headDim, shape]);
    const found = [...this.#all].find((one) => one.device === device && one.sizes === sizes);
    const activations = found?.activations ?? createActivations(device, config, shape);
    const shared = found ?? { device, sizes, activations, users: 0 };
    this.#all.add(shared);
    shared.users++;
    return {
      ...activations,
      [Symbol.dispose]: () => {
        if (--shared.users > 0) return;
        this.#all.delete(shared);
        activations[Symbol.dispose]();
      },
    };
  }
}
