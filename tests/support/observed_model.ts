/**
 * Models whose commands are noted, for tests of what runs and what does not.
 *
 * @module
 */

import type { Command, Device } from "../../gpu/device.ts";
import type { Model } from "../../models/load.ts";

/**
 * Notes what a model asks of its device.
 *
 * @returns The model on a device that notes, the commands recorded on it so far, and the number of calls of a method.
 */
export function observed(model: Model): {
  readonly model: Model;
  readonly commands: Command[];
  readonly calls: (method: keyof Device) => number;
} {
  const commands: Command[] = [];
  const counts = new Map<PropertyKey, number>();
  const device = new Proxy(model.device, {
    get(target, name) {
      if (name === "record") {
        return (label: string, list: readonly Command[]) => {
          commands.push(...list);
          return target.record(label, list);
        };
      }
      const value = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...parts: unknown[]) => {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        return Reflect.apply(value, target, parts);
      };
    },
  }) as Device;
  return { model: { ...model, device }, commands, calls: (method) => counts.get(method) ?? 0 };
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
