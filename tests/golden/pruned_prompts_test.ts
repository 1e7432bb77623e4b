import { assert, assertEquals } from "@std/assert";
import { createPolicy } from "../../cache/policy_options.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import type { Backend } from "../../gpu/device.ts";
import { embeddedModel } from "../support/embedded_model.ts";
import { fixture } from "../support/golden.ts";
import { gpuBackend, testBackends } from "../support/gpu.ts";

/**
 * PyramidInfer's pruning against another implementation, in Python (tools/goldens/pruned_prompts.py), in which hidden
 * states of dropped tokens really leave the forward pass: what each layer keeps of the prompt, what is kept of generated
 * tokens, and what is predicted.
 */

/** A policy at a budget, and what it did. */
interface Variant {
  readonly policy: string;
  readonly budget: number;
  /** Positions in each layer's cache after the prompt. */
  readonly prompt: readonly (readonly number[])[];
  /** Positions at a border, which rounding may exchange. */
  readonly near: readonly (readonly number[])[];
  /** Tokens in each layer's cache after each step. */
  readonly held: readonly (readonly number[])[];
  /** Positions after the last step. */
  readonly last: readonly (readonly number[])[];
  /** Log-probability of the prompt's best next token. */
  readonly first: number;
  /** Log-probability of each forced token. */
  readonly logprobs: readonly number[];
}

interface Golden {
  readonly hash: string;
  readonly tokens: readonly number[];
  readonly forced: readonly number[];
  readonly variants: readonly Variant[];
}

/** Largest error of a log-probability. */
const ERROR = 2e-3;

async function readGolden(): Promise<Golden> {
  const file = await Deno.open(fixture("policies/pruned.json.gz"));
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).json();
}

/** Log-probability of a token. */
function logProbability(logits: Float32Array, token: number): number {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
  return logits[token]! - largest - Math.log(sum);
}

async function run(
  { tokens, forced }: Golden,
  { policy, budget }: Variant,
  { backend, store, steps }: {
    readonly backend: Backend;
    readonly store: StoreKind;
    readonly steps: number;
  },
) {
  using session = new PolicySession({ large: await embeddedModel("large", backend) }, {
    policy: createPolicy(policy),
    budget: { ratio: budget },
    capacity: tokens.length + forced.length + 1,
    chunk: 100,
    store,
  });
  const logits: Float32Array[] = [];
  await session.prefill(tokens, { onLogits: (row) => logits.push(row.slice()) });
  const [first] = await session.nextTokens();
  let prompt: number[][] = [];
  const kept: number[][][] = [];
  for (const [step, token] of forced.slice(0, steps).entries()) {
    const report = await session.step({ tokens: [token], logits: true });
    const seen = report.selections[0]!.map((one) => [...one.full]);
    if (step === 0) prompt = seen.map((positions) => positions.slice(0, -1));
    kept.push(report.after![0]!.map((one) => [...one.full]));
    logits.push(report.logits!);
  }
  return { first: first!, prompt, kept, logits };
}

for (const backend of testBackends) {
  for (const store of ["resident", "tiered"] as const) {
    // The reference device takes a second a step.
    if (backend === "reference" && store === "tiered") continue;
    Deno.test(`a pruned prompt keeps what a forward pass without the dropped tokens keeps: ${store} store on ${backend}`, async () => {
      const golden = await readGolden();
      const steps = backend === gpuBackend ? golden.forced.length : 2;
      for (const variant of golden.variants) {
        if (store === "tiered" && variant.budget !== 0.1) continue;
        const title = `${variant.policy} ${variant.budget}`;
        assertEquals(variant.near.flat(), [], "no choice hangs on rounding");
        const { first, prompt, kept, logits } = await run(golden, variant, {
          backend,
          store,
          steps,
        });
        assertEquals(prompt, variant.prompt, title);
        assertEquals(
          kept.map((layers) => layers.map(({ length }) => length)),
          variant.held.slice(0, steps),
          title,
        );
        if (steps === golden.forced.length) assertEquals(kept.at(-1), variant.last, title);
        const expected = [variant.first, ...variant.logprobs.slice(0, steps)];
        [first, ...golden.forced.slice(0, steps)].forEach((token, index) => {
          const actual = logProbability(logits[Math.max(0, index - 1)]!, token);
          const error = Math.abs(actual - expected[index]!);
          assert(
            error < ERROR,
            `${title}, token ${index}: ${actual} instead of ${expected[index]}`,
          );
        });
      }
    });
  }
}
