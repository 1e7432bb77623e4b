/**
 * Choice of tokens on the device: ranks the helper's scores and writes the lists that attention reads, so that nothing
 * waits for the host between the small model's step and the large one's.
 *
 * @module
 */

import type { TierCounts } from "../../cache/budget.ts";
import type { Selection } from "../../cache/policy.ts";
import { COMBINES, type ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Device, DeviceBuffer, Recording } from "../../gpu/device.ts";
import { planBySaliencyCommand } from "../../kernels/plan_by_saliency.ts";
import { readList } from "../../kernels/selection_list.ts";
import { type LaneSet, plansBefore } from "./sequence_settings.ts";
import type { PolicyShape, PolicyStep } from "./buffers.ts";
import type { StoreKind } from "../../cache/kv_store.ts";

/**
 * Tells whether a session chooses tokens on the device.
 *
 * It does if every sequence has a helper whose scores, as they are, rank the tokens anew at every step before its
 * attention, any token may be chosen, the earlier of two equal ones first, and no token has to be loaded for it.
 *
 * @param lanes The sequences.
 * @param store Where tokens are kept.
 * @returns Whether all of that holds; the host chooses otherwise.
 */
export function plansOnDevice({ lanes }: LaneSet, store: StoreKind): boolean {
  return store === "resident" && lanes.every(({ policy }) => isStandard(policy));
}

function isStandard(policy: ResolvedPolicy): boolean {
  const { scores, candidates, ties, interval, normalise, ranked, weights, plan, due } = policy;
  return scores === "helper" && plansBefore(policy) && candidates === "all" && ties === "earlier" &&
    interval === 1 && normalise === "none" && ranked === "older" &&
    weights === "query_head" &&
    plan === undefined && due === undefined;
}

/** Ranks on the device. Disposing it frees its buffer and recording. */
export class DevicePlanner implements Disposable {
  readonly #device: Device;
  readonly #shape: PolicyShape;
  readonly #lists: DeviceBuffer;
  readonly #budgets: DeviceBuffer;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #recording: Recording;

  private constructor(
    { forward: { device }, shape, buffers }: PolicyStep,
    budgets: DeviceBuffer,
    recording: Recording,
  ) {
    this.#device = device;
    this.#shape = shape;
    this.#lists = buffers.lists;
    this.#budgets = budgets;
    this.#words = new Uint32Array(budgets.byteLength / 4);
    this.#recording = recording;
  }

  /**
   * Records the choice.
   *
   * @param step Large model, buffers and sizes of the policies, the sequences.
   * @returns The planner; lists say from now on how each sequence's kept and marginal tokens join.
   */
  static async create(step: PolicyStep): Promise<DevicePlanner> {
    const { forward: { device, config, workspace: { state } }, shape, buffers } = step;
    const { units, sequences } = shape;
    using stack = new DisposableStack();
    const budgets = stack.use(
      device.createBuffer("budgets of a step", 16 * units.total * sequences),
    );
    const command = planBySaliencyCommand({ ...buffers, state, budgets }, {
      ...shape,
      units: units.total,
      unitHeads: units.heads,
      unitsPerLayer: units.perLayer,
      kvHeads: config.kvHeads,
    });
    const recording = await device.record("choice of tokens", [command]);
    writeCombines(step);
    stack.move();
    return new DevicePlanner(step, budgets, recording);
  }

  /**
   * Chooses the tokens of all sequences, once the device has their scores.
   *
   * @param counts Tokens of each tier, [sequence][layer].
   */
  run(counts: readonly (readonly TierCounts[])[]): void {
    const { perLayer } = this.#shape.units;
    let word = 0;
    for (const layers of counts) {
      for (const { sink, recent, critical, marginal } of layers) {
        for (let unit = 0; unit < perLayer; unit++) {
          this.#words[word++] = sink;
          this.#words[word++] = recent;
          this.#words[word++] = critical;
          this.#words[word++] = marginal;
        }
      }
    }
    this.#device.write(this.#budgets, 0, this.#words);
    this.#device.submit(this.#recording);
  }

  /**
   * Reads what was chosen last.
   *
   * @returns Tokens of each list, [sequence][list unit].
   * @throws {RangeError} If a score was not a number.
   */
  async read(): Promise<Selection[][]> {
    const { units, listWords, sequences } = this.#shape;
    const words = new Uint32Array(await this.#device.read(this.#lists));
    return Array.from(
      { length: sequences },
      (_, sequence) =>
        Array.from({ length: units.total }, (_, unit) => {
          const first = (sequence * units.total + unit) * listWords;
          const list = readList(words.subarray(first, first + listWords), units.heads);
          if (list) return { kept: list.kept, marginal: list.marginal };
          throw new RangeError(
            "Cannot rank tokens: saliency must be a number: current value is NaN",
          );
        }),
    );
  }

  /** Frees buffer and recording. */
  [Symbol.dispose](): void {
    this.#recording[Symbol.dispose]();
    this.#budgets[Symbol.dispose]();
  }
}

/** Writes what the choice leaves as it is. */
function writeCombines({ forward: { device }, shape, buffers, lanes }: PolicyStep): void {
  const { units, listWords } = shape;
  lanes.lanes.forEach(({ policy }, sequence) => {
    const lists = new Uint32Array(units.total * listWords);
    for (let unit = 0; unit < units.total; unit++) {
      lists[unit * listWords + 3] = COMBINES.indexOf(policy.combine);
    }
    device.write(buffers.lists, lists.byteLength * sequence, lists);
  });
}
