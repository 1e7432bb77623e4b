/**
 * Selections of one sequence from step to step: chosen on the host, or on the device.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { CacheBudget, CountRequest, TierCounts } from "../../cache/budget.ts";
import { layerSlots } from "../../cache/full_cache.ts";
import { checkCounts, checkPlan } from "../../cache/plan_check.ts";
import { planBySaliency, planOverAll, type Selection } from "../../cache/policy.ts";
import { fullLayerBudget, fullLayerPlace } from "../../cache/windowed_layers.ts";
import { basedOn, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { perRow } from "../../analysis/row_means.ts";
import type { HeadGroups } from "./head_groups.ts";
import { joinWord } from "./lists.ts";
import { restSource } from "./rest.ts";
import type { Device, DeviceBuffer, Recording } from "../../gpu/device.ts";
import { planBySaliencyCommand } from "../../kernels/plan_by_saliency.ts";
import { readList } from "../../kernels/selection_list.ts";
import { isDeviceScore, plansBefore } from "./sequence_settings.ts";
import type { PolicyShape, PolicyStep } from "./buffers.ts";
import type { StoreKind } from "../../cache/kv_store.ts";

/** How the tokens of a sequence are chosen. */
export interface PlannerOptions {
  /** The rule. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** How heads are grouped. */
  readonly groups: HeadGroups;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Elements of a head; needed where a budget also pays for an index of keys. */
  readonly headDim?: number;
}

/** Scores of all head groups, [groups, stride]; a row is long enough for the tokens that are ranked. */
interface GroupScores {
  /** The scores. */
  readonly values: Float32Array;
  /** Length of a row. */
  readonly stride: number;
  /** First query whose attention is in the scores; 0 if left out. */
  readonly firstRow?: number;
}

/** Holds the selections of one sequence and chooses them again. */
export class SelectionPlanner {
  readonly #options: PlannerOptions;
  readonly #layers: number;
  #selections: Selection[] = [];
  #plannedTokens = 0;
  #churn = 0;
  /** What a plan that goes layer by layer began with: the selections before it, and tokens of each tier, [layers]. */
  #begun: { readonly before: readonly Selection[]; readonly tiers: readonly TierCounts[] } = {
    before: [],
    tiers: [],
  };

  /** Starts with nothing kept. */
  constructor(options: PlannerOptions) {
    this.#options = options;
    this.#layers = options.groups.total / options.groups.perLayer;
  }

  /** Takes over the state of another planner with the same options. */
  copyFrom(other: SelectionPlanner): void {
    this.#selections = other.#selections;
    this.#plannedTokens = other.#plannedTokens;
    this.#churn = other.#churn;
  }

  /** Remembers what is kept and when it was chosen; the result puts that back. */
  mark(): () => void {
    const [selections, tokens, churn] = [this.#selections, this.#plannedTokens, this.#churn];
    return () => {
      this.#selections = selections;
      this.#plannedTokens = tokens;
      this.#churn = churn;
    };
  }

  /** Current selections, one per head group. */
  get selections(): readonly Selection[] {
    return this.#selections;
  }

  /** Share of the newest plan's tokens that were not selected before, mean over head groups. */
  get churn(): number {
    return this.#churn;
  }

  /** Keeps every token. */
  reset(tokens: number): void {
    const kept = Uint32Array.from({ length: tokens }, (_, token) => token);
    this.keep(new Array<Uint32Array>(this.#options.groups.total).fill(kept));
  }

  /** Keeps given tokens, ascending, of each head group. */
  keep(kept: readonly Uint32Array[]): void {
    const valueOnly = new Uint32Array(0);
    this.#selections = kept.map((positions) => ({ full: positions, valueOnly }));
    this.#plannedTokens = 0;
  }

  /** Adds the newest token to every selection. */
  append(token: number): void {
    this.#selections = this.#selections.map(({ full, valueOnly }) => {
      const longer = new Uint32Array(full.length + 1);
      longer.set(full);
      longer[full.length] = token;
      return { full: longer, valueOnly };
    });
  }

  /** Whether the policy chooses again at a length, or only adds the newest token. */
  shouldPlanAt(tokens: number): boolean {
    const { policy } = this.#options;
    if (tokens < policy.minimumTokens) return false;
    if (policy.shouldPlan) return policy.shouldPlan(this.#request(tokens, 0));
    return this.#plannedTokens < policy.minimumTokens || policy.change > 0 ||
      this.#hasWaited(tokens);
  }

  /** Tokens of each tier that a layer keeps at a length. */
  counts(tokens: number, layer: number): TierCounts {
    return this.#options.policy.counts(this.#request(tokens, layer));
  }

  /** Newest rows of attention that a layer ranks by at a length; 0 if the policy's score uses no window of them. */
  rows(tokens: number, layer: number): number {
    const { policy } = this.#options;
    const request = this.#request(tokens, layer);
    const budget = basedOn(policy.base, request);
    return policy.score?.rows?.({ ...request, budget }) ?? 0;
  }

  /**
   * Counts what every layer keeps at a length.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @returns Tokens of each tier, [layers].
   * @throws {RequirementError} If the policy breaks its budget.
   */
  tiers(tokens: number): TierCounts[] {
    const { policy, budget, promptTokens } = this.#options;
    const layers = Array.from({ length: this.#layers }, (_, layer) => this.counts(tokens, layer));
    const left = fullLayerBudget(policy, { budget, tokens, promptTokens });
    const granted = basedOn(policy.base, { budget: left, promptTokens });
    const isBudgeted = (_: TierCounts, layer: number) => policy.windows?.[layer] === undefined;
    checkCounts(layers.filter(isBudgeted), { policy, budget: granted, tokens });
    return layers;
  }

  /**
   * Records what was chosen on the device.
   *
   * @param selections Tokens of each head group.
   * @param isPlan Whether they were ranked; if not, all tokens are kept and churn does not change.
   */
  take(selections: readonly Selection[], isPlan: boolean): void {
    if (isPlan) this.#churn = meanChurn(this.#selections, selections);
    this.#selections = [...selections];
  }

  /**
   * Chooses the tokens of every head group.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param scores Scores of all head groups.
   */
  plan(tokens: number, scores: GroupScores): void {
    const { policy, groups } = this.#options;
    const before = this.#selections;
    const layers = this.tiers(tokens);
    const after = Array.from({ length: groups.total }, (_, group) => {
      const first = group * scores.stride;
      const raw = scores.values.subarray(first, first + tokens);
      const saliency = policy.normalise === "rows" ? perRow(raw, scores.firstRow) : raw;
      const counts = layers[Math.floor(group / groups.perLayer)]!;
      return this.#choose({ group, tokens, saliency }, counts);
    });
    const isKept = policy.change > 0 && before.length > 0 && !this.#hasWaited(tokens) &&
      meanChange(before, after) <= policy.change;
    this.#churn = isKept ? 0 : meanChurn(before, after);
    if (isKept) return this.append(tokens - 1);
    this.#selections = after;
    this.#plannedTokens = tokens;
  }

  /**
   * Chooses the tokens of one layer's head groups; the layers of a plan follow each other from the first to the last.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param layer The layer.
   * @param scores Scores of its head groups.
   */
  planLayer(tokens: number, layer: number, { values, stride }: GroupScores): void {
    const { groups: { perLayer } } = this.#options;
    if (layer === 0) this.#begun = { before: this.#selections, tiers: this.tiers(tokens) };
    const { before, tiers } = this.#begun;
    const counts = tiers[layer]!;
    const first = layer * perLayer;
    const after = Array.from({ length: perLayer }, (_, k) => {
      const saliency = values.subarray(k * stride, k * stride + tokens);
      return this.#choose({ group: first + k, tokens, saliency }, counts);
    });
    this.#selections = this.#selections.toSpliced(first, perLayer, ...after);
    if (layer < this.#layers - 1) return;
    this.#churn = meanChurn(before, this.#selections);
    this.#plannedTokens = tokens;
  }

  #request(tokens: number, layer: number): CountRequest {
    const { policy, budget, promptTokens, headDim } = this.#options;
    const sizes = { tokens, promptTokens, layer, layers: this.#layers };
    return { ...policy, budget, ...sizes, ...(headDim !== undefined && { headDim }) };
  }

  /** Whether the newest plan is an interval old. */
  #hasWaited(tokens: number): boolean {
    return tokens - this.#plannedTokens >= this.#options.policy.interval;
  }

  #choose(
    { group, tokens, saliency }: {
      readonly group: number;
      readonly tokens: number;
      readonly saliency: Float32Array;
    },
    counts: TierCounts,
  ): Selection {
    const { policy, budget, promptTokens, groups } = this.#options;
    const held = this.#selections[group]?.full ?? new Uint32Array(0);
    const isHeld = policy.candidates === "kept" ? tokenFlags(held, tokens) : undefined;
    const view = {
      tokens,
      saliency,
      ties: policy.ties,
      ...(isHeld && { isOpen: (token: number) => isHeld[token] === 1 }),
    };
    const layer = Math.floor(group / groups.perLayer);
    if (!policy.plan || policy.windows?.[layer] !== undefined) {
      const left = isHeld ? withoutLostSinks(counts, isHeld) : counts;
      return policy.ranked === "all" ? planOverAll(view, left) : planBySaliency(view, left);
    }
    const { minimumTokens } = policy;
    const all = { budget, promptTokens, layer, layers: this.#layers, minimumTokens, tokens };
    const place = fullLayerPlace(policy, all);
    const selection = policy.plan({ ...view, ...place, held }, counts);
    checkPlan(selection, { policy, tokens, counts, held, place: placeOf(group, this.#options) });
    return selection;
  }
}

/** A sink that a smaller budget dropped for good cannot return, so that a ranked token takes its place. */
function withoutLostSinks(counts: TierCounts, isHeld: Uint8Array): TierCounts {
  const firstLost = isHeld.indexOf(0);
  const sink = firstLost < 0 ? counts.sink : Math.min(counts.sink, firstLost);
  return { ...counts, sink, critical: counts.critical + counts.sink - sink };
}

/** Layer and head of a head group, in words. */
function placeOf(group: number, { groups, policy }: PlannerOptions): string {
  const layer = `layer ${Math.floor(group / groups.perLayer)}`;
  if (policy.granularity === "layer") return layer;
  const heads = policy.granularity === "query_head" ? "query head" : "KV head";
  return `${layer}, ${heads} ${group % groups.perLayer}`;
}

function tokenFlags(held: Uint32Array, tokens: number): Uint8Array {
  const flags = new Uint8Array(tokens);
  for (const token of held) flags[token] = 1;
  return flags;
}

/** Share of the larger of two selections that the other one lacks, mean over head groups. */
function meanChange(before: readonly Selection[], after: readonly Selection[]): number {
  let sum = 0;
  after.forEach((selection, group) => {
    const earlier = before[group]!;
    const shared = sharedTokens(earlier.full, selection.full) +
      sharedTokens(earlier.valueOnly, selection.valueOnly);
    const size = ({ full, valueOnly }: Selection) => full.length + valueOnly.length;
    sum += 1 - shared / Math.max(1, size(earlier), size(selection));
  });
  return sum / after.length;
}

/** Tokens that two ascending lists share. */
function sharedTokens(first: Uint32Array, second: Uint32Array): number {
  let [shared, index] = [0, 0];
  for (const token of first) {
    while (index < second.length && second[index]! < token) index++;
    if (second[index] === token) shared++;
  }
  return shared;
}

function meanChurn(before: readonly Selection[], after: readonly Selection[]): number {
  if (before.length === 0) return 0;
  let sum = 0;
  after.forEach(({ full, valueOnly }, group) => {
    const last = Math.max(full.at(-1) ?? 0, before[group]!.full.at(-1) ?? 0);
    const held = new Uint8Array(last + 1);
    for (const token of before[group]!.full) held[token] = 1;
    for (const token of before[group]!.valueOnly) held[token] = 1;
    let entered = 0;
    for (const token of full) entered += 1 - held[token]!;
    for (const token of valueOnly) entered += 1 - held[token]!;
    sum += entered / (full.length + valueOnly.length);
  });
  return sum / after.length;
}

/**
 * Tells whether a session chooses tokens on the device; the host chooses otherwise.
 *
 * The device does if, in every sequence, unmodified scores of the small model, or an index of the layer's keys, rank the
 * tokens before each step, any token may be chosen, the earlier of two equal ones first, and no chosen token has to be
 * loaded.
 */
export function plansOnDevice(
  { settings }: { readonly settings: readonly { readonly policy: ResolvedPolicy }[] },
  store: StoreKind,
): boolean {
  return store === "resident" && settings.every(({ policy }) => isStandard(policy));
}

function isStandard(policy: ResolvedPolicy): boolean {
  const { candidates, ties, interval, normalise, ranked, weights, plan, shouldPlan, index } =
    policy;
  return (isDeviceScore(policy) || index !== undefined) && plansBefore(policy) &&
    candidates === "all" &&
    ties === "earlier" &&
    interval === 1 && normalise === "none" && ranked === "older" &&
    weights === "query_head" &&
    plan === undefined && shouldPlan === undefined;
}

/** Chooses tokens on the device. Disposing it frees its buffer and recording. */
export class DevicePlanner implements Disposable {
  readonly #device: Device;
  readonly #shape: PolicyShape;
  readonly #lists: DeviceBuffer;
  readonly #budgets: DeviceBuffer;
  readonly #owned: DisposableStack;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #recordings: readonly Recording[];

  private constructor(
    { forward: { device }, shape, buffers }: PolicyStep,
    { budgets, recordings, owned }: {
      readonly budgets: DeviceBuffer;
      readonly recordings: readonly Recording[];
      readonly owned: DisposableStack;
    },
  ) {
    this.#device = device;
    this.#shape = shape;
    this.#lists = buffers.lists;
    this.#budgets = budgets;
    this.#words = new Uint32Array(budgets.byteLength / 4);
    this.#recordings = recordings;
    this.#owned = owned;
  }

  /** Tokens of each tier that the next choice takes, u32 [sequences, groups, 4]. */
  get budgets(): DeviceBuffer {
    return this.#budgets;
  }

  /**
   * Records the choice, unless the layers of the large model's step make it (D-33).
   *
   * @param step Large model, buffers and sizes of the policies, the sequences.
   * @returns The planner; the lists already say how each sequence combines full and marginal tokens.
   */
  static async create(step: PolicyStep): Promise<DevicePlanner> {
    const { forward: { device, config, workspace: { state } }, shape, buffers } = step;
    const { groups, sequences } = shape;
    using stack = new DisposableStack();
    const budgets = stack.use(
      device.createBuffer("budgets of a step", 16 * groups.total * sequences),
    );
    writeCombines(step);
    if (step.ranking) {
      return new DevicePlanner(step, { budgets, recordings: [], owned: stack.move() });
    }
    const slots = slotsBuffer(step.forward);
    if (slots) stack.use(slots);
    const names = { ...buffers, state, budgets, ...(slots && { slots }) };
    const command = planBySaliencyCommand(device.info, names, {
      ...shape,
      groups: groups.total,
      groupHeads: groups.heads,
      groupsPerLayer: groups.perLayer,
      kvHeads: config.kvHeads,
    });
    const recording = stack.use(await device.record("choice of tokens", [command]));
    return new DevicePlanner(step, { budgets, recordings: [recording], owned: stack.move() });
  }

  /**
   * Prepares to choose the tokens of all sequences.
   *
   * @param counts Tokens of each tier, [sequence][layer].
   * @returns What to submit, once, after the device has their scores; nothing where the large model's step chooses.
   */
  prepare(counts: readonly (readonly TierCounts[])[]): readonly Recording[] {
    const { perLayer } = this.#shape.groups;
    let word = 0;
    for (const layers of counts) {
      for (const { sink, recent, critical, marginal } of layers) {
        for (let group = 0; group < perLayer; group++) {
          this.#words[word++] = sink;
          this.#words[word++] = recent;
          this.#words[word++] = critical;
          this.#words[word++] = marginal;
        }
      }
    }
    this.#device.write(this.#budgets, 0, this.#words);
    return this.#recordings;
  }

  /**
   * Reads the newest choice.
   *
   * @returns Tokens of each list, [sequence][list group].
   * @throws {RequirementError} If a score was not a number.
   */
  async read(): Promise<Selection[][]> {
    const { groups, listWords, sequences } = this.#shape;
    const words = new Uint32Array(await this.#device.read(this.#lists));
    return Array.from(
      { length: sequences },
      (_, sequence) =>
        Array.from({ length: groups.total }, (_, group) => {
          const first = (sequence * groups.total + group) * listWords;
          const list = readList(words.subarray(first, first + listWords), groups.heads);
          if (list) return { full: list.full, valueOnly: list.valueOnly };
          throw new RequirementError({
            action: "rank tokens",
            requirement: "saliency must be a number",
            current: NaN,
          });
        }),
    );
  }

  /** Frees buffers and recording. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** Slots of a KV head in each layer, u32 [layers]; undefined where all of them have one for every position. */
function slotsBuffer(
  { device, cache: { shape } }: PolicyStep["forward"],
): DeviceBuffer | undefined {
  if (!shape.rings) return undefined;
  const slots = Uint32Array.from({ length: shape.layers }, (_, layer) => layerSlots(shape, layer));
  const buffer = device.createBuffer("slots of each layer", slots.byteLength);
  device.write(buffer, 0, slots);
  return buffer;
}

/** Writes the words of the lists that the choice does not change. */
function writeCombines({ forward: { device }, shape, buffers, batch }: PolicyStep): void {
  const { groups, listWords } = shape;
  batch.settings.forEach(({ policy }, sequence) => {
    const lists = new Uint32Array(groups.total * listWords);
    for (let group = 0; group < groups.total; group++) {
      lists[group * listWords + 3] = joinWord({
        combine: policy.combine,
        isRestWeighed: restSource(policy) === "row",
      });
    }
    device.write(buffers.lists, lists.byteLength * sequence, lists);
  });
}
