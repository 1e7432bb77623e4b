import { assert, assertEquals } from "@std/assert";
import { klDivergence } from "../../analysis/quality.ts";
import type { Selection } from "../../cache/policy.ts";
import { createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import { matchText } from "../../decoding/scoring/head_matching.ts";
import type { Backend } from "../../gpu/device.ts";
import { loadModel } from "../../models/load.ts";
import { fixture } from "../support/golden.ts";
import { testBackends, testDevice } from "../support/gpu.ts";

/**
 * Decoding under policies against another implementation, in Python (tools/goldens/policies_reference.py): head match,
 * kept tokens of every step, divergence from the full cache, greedy tokens.
 */

/** A policy at a budget, and what it did. */
interface Variant extends PolicyOptions {
  readonly policy: string;
  readonly budget: number;
  readonly tokens: readonly number[];
  readonly gaps: readonly number[];
  readonly kl: readonly number[];
  /** One letter a token, [step][layer][selection]. */
  readonly tiers: readonly (readonly (readonly string[])[])[];
  /** Tokens at a border, which rounding may exchange, as `tiers`. */
  readonly near: readonly (readonly (readonly (readonly number[])[])[])[];
}

/** A prompt for a pair. */
interface Case {
  readonly large: string;
  readonly small: string;
  readonly hashes: readonly string[];
  readonly prompt: readonly number[];
  readonly match: readonly number[];
  /** The first one is the full cache; its tokens are forced on all. */
  readonly variants: readonly Variant[];
}

/** Relative error of a divergence; smaller ones than the floor count as the floor. */
const KL_ERROR = 2e-3;
const KL_FLOOR = 1e-3;
/** Greedy tokens may differ where the runner-up is closer than this. */
const LEAST_GAP = 1e-3;

async function readCase(name: string): Promise<Case> {
  const file = await Deno.open(fixture(`policies/${name}.json.gz`));
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).json();
}

const root = fixture("../../");

async function openPair({ large, small, hashes }: Case, backend: Backend) {
  for (const [index, folder] of [large, small].entries()) {
    const bytes = await Deno.readFile(`${root}${folder}/model.safetensors`);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    assertEquals(hash, hashes[index], `${folder} has changed: run tools/goldens again`);
  }
  const device = await testDevice(backend);
  return {
    large: await loadModel(root + large, { device }),
    small: await loadModel(root + small, { device }),
  };
}

/** What a variant chooses, predicts and keeps. */
async function run(
  pair: ModelPair,
  { prompt }: Case,
  { variant, forced }: { readonly variant: Variant; readonly forced?: readonly number[] },
) {
  const { policy, budget, tokens, gaps: _, kl: __, tiers: ___, near: ____, ...options } = variant;
  using session = new PolicySession(pair, {
    policy: createPolicy(policy, options),
    budget: { ratio: budget },
    capacity: prompt.length + tokens.length + 1,
  });
  const logits: Float32Array[] = [];
  await session.prefill(prompt, { onLogits: (row) => logits.push(row.slice()) });
  const chosen = await session.nextTokens();
  const selections: (readonly Selection[])[] = [];
  for (let step = 0; step < tokens.length - 1; step++) {
    const given = forced && { tokens: [forced[step]!] };
    const report = await session.step({ logits: true, ...given });
    chosen.push(report.chosen[0]!);
    logits.push(report.logits!);
    selections.push(report.selections[0]!);
  }
  return { chosen, logits, selections };
}

function lettersOf({ full, valueOnly }: Selection, length: number): string {
  const letters = new Array<string>(length).fill(".");
  for (const token of full) letters[token] = "k";
  for (const token of valueOnly) letters[token] = "m";
  return letters.join("");
}

/** Tokens in other tiers than expected, those at a border left out; [step, selection, tokens]. */
function misplaced(variant: Variant, selections: readonly (readonly Selection[])[]): unknown[] {
  return variant.tiers.flatMap((layers, step) =>
    layers.flat().flatMap((letters, unit) => {
      const expected = letters.replaceAll(/[cr]/g, "k");
      const actual = lettersOf(selections[step]![unit]!, letters.length);
      const near = variant.near[step]!.flat()[unit]!;
      const tokens = [...expected].flatMap((letter, token) =>
        letter === actual[token] || near.includes(token) ? [] : [token]
      );
      return tokens.length > 0 ? [[step, unit, tokens]] : [];
    })
  );
}

function checkDivergence(actual: readonly number[], expected: readonly number[], name: string) {
  for (const [step, kl] of expected.entries()) {
    const error = Math.abs(actual[step]! - kl) / Math.max(kl, KL_FLOOR);
    assert(error <= KL_ERROR, `${name}, step ${step}: divergence ${actual[step]} instead of ${kl}`);
  }
}

async function checkMatch(pair: Required<ModelPair>, { prompt, match }: Case): Promise<void> {
  if (prompt.length < 100) return;
  const policies = [createPolicy("smallkv")];
  const matches = await matchText({ ...pair, match: {} }, prompt, { policies });
  assertEquals([...matches.get("head")!], match);
}

/** Cases with text, whose greedy tokens say something. */
const WRITTEN = ["recall", "short"];

for (const name of ["grouped", "scaled", "recall", "short"]) {
  for (const backend of testBackends) {
    // The reference device takes a second a step on the larger models.
    if (backend === "reference" && name !== "scaled") continue;
    Deno.test(`PolicySession keeps, predicts and writes what another implementation does: ${name} on ${backend}`, async () => {
      const golden = await readCase(name);
      const pair = await openPair(golden, backend);
      using _large = pair.large;
      using _small = pair.small;
      await checkMatch(pair, golden);
      const forced = golden.variants[0]!.tokens;
      const full = await run(pair, golden, { variant: golden.variants[0]!, forced });
      for (const variant of golden.variants.slice(1)) {
        const { tokens, gaps, kl, tiers: _, near: __, ...setting } = variant;
        const title = JSON.stringify(setting);
        const held = await run(pair, golden, { variant, forced });
        assertEquals(misplaced(variant, held.selections), [], title);
        checkDivergence(
          held.logits.map((row, step) => klDivergence(full.logits[step]!, row)),
          kl,
          title,
        );
        if (!WRITTEN.includes(name)) continue;
        const { chosen } = await run(pair, golden, { variant });
        const doubtful = gaps.findIndex((gap) => gap < LEAST_GAP);
        const end = doubtful < 0 ? tokens.length : doubtful;
        assertEquals(chosen.slice(0, end), tokens.slice(0, end), title);
      }
    });
  }
}
