/**
 * The state as the part of an address after `#`, so that a link leads to the same sight.
 *
 * @module
 */

import type { HeadPlace } from "../../analysis/attention_map.ts";
import { type BackendChoice, MAX_POLICIES, PAGE_BACKENDS, type PairSource } from "../messages.ts";
import { optionsOf, optionsText, readOptions } from "./options.ts";
import type { ExplorerState, Setup, View, Wanted } from "./state.ts";

/**
 * Writes what a link needs to lead to the same sight.
 *
 * @returns The address after `#`; a prompt that is an example is named by its number.
 */
export function writeAddress({ pair, setup, run, view }: ExplorerState): string {
  const request = run?.request ?? setup;
  const example = pair.facts?.examples.findIndex(({ prompt }) => prompt === request.prompt) ?? -1;
  const { source } = pair;
  const fields: Record<string, string | undefined> = {
    ...(source?.kind === "hub" && { large: source.large, small: source.small }),
    ...(example >= 0 ? { example: String(example) } : { prompt: request.prompt || undefined }),
    policies: request.policies.join(","),
    options: optionsText(optionsOf(request.options, request.policies)) || undefined,
    budget: String(request.budget),
    reads: request.reads,
    store: request.store === "tiered" ? undefined : request.store,
    new: String(request.newTokens),
    step: String(view.step),
    track: String(view.track),
    place: placeText(view.place),
    tint: view.tint === "tier" ? undefined : view.tint,
    film: view.film === "tiers" ? undefined : view.film,
    measure: view.measure,
    head: view.head && placeText(view.head),
    device: pair.backend === "auto" ? undefined : pair.backend,
  };
  const given = Object.entries(fields).filter((field): field is [string, string] =>
    field[1] !== undefined
  );
  return new URLSearchParams(given).toString();
}

/**
 * Reads such an address; what it does not say, or says wrongly, is left out. Policies that no pair has go with the pair.
 *
 * @param address The part after `#`.
 */
export function readAddress(address: string): Wanted {
  const fields = new URLSearchParams(address);
  const backend = fields.get("device");
  const source = readSource(fields);
  const isKnown = backend !== null && (PAGE_BACKENDS as readonly string[]).includes(backend);
  return {
    setup: readSetup(fields),
    view: readView(fields),
    ...(isKnown && { backend: backend as BackendChoice }),
    ...(source && { source }),
  };
}

/** Models of the hub; files that were dropped have no address. */
function readSource(fields: URLSearchParams): PairSource | undefined {
  const [large, small] = ["large", "small"].map((name) => {
    const text = fields.get(name);
    return text !== null && /^hf:[\w.@/-]{1,300}$/.test(text) ? text : undefined;
  });
  return large === undefined ? undefined : { kind: "hub", large, ...(small && { small }) };
}

function readSetup(fields: URLSearchParams): Partial<Setup> {
  const reads = fields.get("reads");
  const prompt = fields.get("prompt");
  const budget = Number(fields.get("budget"));
  const example = integer(fields, "example", 0);
  const newTokens = integer(fields, "new", 1);
  return {
    ...(prompt && { prompt }),
    ...(example !== undefined && { example }),
    ...(fields.has("policies") && { policies: readPolicies(fields.get("policies")!) }),
    ...(fields.has("options") && { options: readOptions(fields.get("options")!) }),
    ...(fields.get("store") === "resident" && { store: "resident" }),
    ...(budget > 0 && budget <= 1 && { budget }),
    ...((reads === "own" || reads === "full") && { reads }),
    ...(newTokens !== undefined && { newTokens }),
  };
}

function readPolicies(text: string): string[] {
  return [...new Set(text.split(","))].filter((name) => /^[a-z]\w{0,40}$/.test(name))
    .slice(0, MAX_POLICIES);
}

function readView(fields: URLSearchParams): Partial<View> {
  const measure = fields.get("measure");
  const step = integer(fields, "step", 0);
  const track = integer(fields, "track", 0);
  const place = readPlace(fields.get("place"));
  const head = readPlace(fields.get("head"));
  return {
    ...(step !== undefined && { step }),
    ...(track !== undefined && { track }),
    ...(place && { place }),
    ...(head && { head }),
    ...(fields.get("tint") === "saliency" && { tint: "saliency" }),
    ...(fields.get("film") === "needs" && { film: "needs" }),
    ...((measure === "jaccard" || measure === "cosine") && { measure }),
  };
}

function integer(fields: URLSearchParams, name: string, min: number): number | undefined {
  const text = fields.get(name);
  return text !== null && /^\d{1,5}$/.test(text) && Number(text) >= min ? Number(text) : undefined;
}

function placeText({ layer, head }: HeadPlace): string {
  return `${layer}.${head}`;
}

function readPlace(text: string | null): HeadPlace | undefined {
  const [, layer, head] = /^(\d{1,4})\.(\d{1,4})$/.exec(text ?? "") ?? [];
  return layer === undefined ? undefined : { layer: Number(layer), head: Number(head) };
}
