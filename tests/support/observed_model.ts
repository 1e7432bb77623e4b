/**
 * Models whose commands are noted, for tests of what runs and what does not.
 *
 * @module
 */

import type { Command, Device } from "../../gpu/device.ts";
import type { Model } from "../../models/load.ts";

/**
 * Notes what a model records.
 *
 * @returns The model on a device that notes, and the commands recorded on it so far.
 */
export function observed(model: Model): { readonly model: Model; readonly commands: Command[] } {
  const commands: Command[] = [];
  const device = new Proxy(model.device, {
    get(target, name) {
      if (name === "record") {
        return (label: string, list: readonly Command[]) => {
          commands.push(...list);
          return target.record(label, list);
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  }) as Device;
  return { model: { ...model, device }, commands };
}

/**
 * Walks through a value.
 *
 * @returns The value and everything that it holds.
 */
export function* partsOf(value: unknown, depth = 6): Generator<unknown> {
  yield value;
  if (depth === 0 || typeof value !== "object" || value === null) return;
  for (const part of Object.values(value)) yield* partsOf(part, depth - 1);
}
