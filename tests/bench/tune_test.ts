import { assert, assertEquals, assertRejects } from "@std/assert";
import { tune } from "../../bench/tune.ts";
import { LabError, RequirementError, UsageError } from "../../core/check.ts";
import {
  attentionBucket,
  attentionTileName,
  attentionTiles,
  type AttentionUse,
  chooseAttention,
} from "../../kernels/attention_tile.ts";
import { decodeSplits } from "../../kernels/flash_attention.ts";
import { readShapes } from "../../experiments/runner/tuned_shapes.ts";
import { tileName } from "../../kernels/matmul_tile.ts";
import {
  type AdapterFeatures,
  chooseMatmul,
  MATMUL_TILES,
  productTiles,
} from "../../kernels/shapes.ts";
import { hasGpu } from "../support/gpu.ts";

/** Options for products and attention that a software adapter computes in a moment. */
function small(options: Readonly<Record<string, string>>): string[] {
  const products = { formats: "q4k", outputs: "64", columns: "256", megabytes: "0" };
  const all = { ...products, only: "products", "head-dims": "16", tokens: "130", ...options };
  return Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]);
}

Deno.test({
  name: "tune() times the tiles of GPUs, and what it writes decides",
  ignore: !hasGpu,
  async fn() {
    const out = await Deno.makeTempFile();
    const { path, shapes } = await tune(small({ shapes: "wide", rows: "1,8", out }));
    assertEquals(path, out);
    const bucket = "q4k, 8 rows, 2^6 outputs";
    assertEquals(Object.keys(shapes.products), ["q4k, 1 rows, 2^6 outputs", bucket]);
    const features = { isSoftware: true, subgroupSize: 8, shapes: (await readShapes(out))! };
    const times = shapes.milliseconds[bucket]!;
    assertEquals(Object.keys(times), productTiles(features, { rows: 8 }).map(tileName));
    const winner = shapes.products[bucket]!;
    assert(Object.values(times).every((ms) => ms >= times[winner]! && ms > 0));
    const size = { format: "q4k", rows: 5, weightRows: 64 };
    assertEquals(tileName(chooseMatmul(features, size)), winner);
    // The slower one would have been chosen, had it been the faster one.
    const other = MATMUL_TILES.find((tile) =>
      tileName(tile) in times && tileName(tile) !== winner
    )!;
    const swapped = { kind: "wide", products: { [bucket]: tileName(other) } };
    assertEquals(chooseMatmul({ ...features, shapes: swapped }, size), other);
    await Deno.remove(out);
  },
});

Deno.test({
  name: "tune() times attention with other lanes and splits, and what it writes decides",
  ignore: !hasGpu,
  async fn() {
    const out = await Deno.makeTempFile();
    const { shapes } = await tune(small({ shapes: "wide", only: "attention", out }));
    const uses = (["decode", "selected", "prompt"] as const).map((phase) => ({
      phase,
      headDim: 16,
    }));
    assertEquals(shapes.products, {});
    assertEquals(Object.keys(shapes.attention), uses.map(attentionBucket));
    const features = { isSoftware: true, subgroupSize: 8, shapes: (await readShapes(out))! };
    for (const use of uses) {
      const times = shapes.milliseconds[attentionBucket(use)]!;
      assertEquals(Object.keys(times), attentionTiles(features, use).map(attentionTileName));
      const winner = shapes.attention[attentionBucket(use)]!;
      assert(Object.values(times).every((ms) => ms >= times[winner]! && ms > 0));
      assertEquals(attentionTileName(chooseAttention(features, use)!), winner);
    }
    await Deno.remove(out);
  },
});

Deno.test("attention takes the tile that a stored file says was fastest", () => {
  const use = { phase: "decode", headDim: 128 } as const;
  const usual = "128 lanes, splits of 64 keys";
  const fastest = "256 lanes, splits of 1024 keys";
  const gpu = { isSoftware: false, subgroupSize: 32, maxWorkgroupBytes: 49152 };
  const tuned = { ...gpu, shapes: { attention: { [attentionBucket(use)]: fastest } } };
  const chosen = (features: AdapterFeatures, other: Partial<AttentionUse> = {}) =>
    attentionTileName(chooseAttention(features, { ...use, ...other })!);
  assertEquals([chosen(gpu), chosen(tuned)], [usual, fastest]);
  const capacity = 8192;
  assertEquals(decodeSplits(gpu, { headDim: 128, capacity }), 32);
  assertEquals(decodeSplits(tuned, { headDim: 128, capacity }), 8);
  // Neither for other heads and prompts, nor where workgroup memory is too small, nor on software adapters.
  assertEquals(chosen(tuned, { headDim: 64 }), usual);
  assertEquals(chosen(tuned, { phase: "prompt" }), usual);
  assertEquals(chosen({ ...tuned, maxWorkgroupBytes: 12288 }), usual);
  assertEquals(chooseAttention({ ...tuned, isSoftware: true }, use), undefined);
  assert(attentionTiles(gpu, { ...use, headDim: 256 }).length > 0);
});

Deno.test({
  name: "tune() refuses what cannot be timed, and writes nothing then",
  ignore: !hasGpu,
  async fn() {
    const out = `${await Deno.makeTempDir()}/shapes.json`;
    const wrong = [
      { only: "norms" },
      { rows: "0" },
      { formats: "q9" },
      { columns: "100" },
      {
        shapes: "tuned",
      },
      { seconds: "0" },
      { tokens: "x" },
      { shapes: "wide,software" },
      { out: "/proc/no/shapes" },
    ];
    for (const options of wrong) {
      await assertRejects(() => tune(small({ shapes: "wide", out, ...options })), LabError);
    }
    await assertRejects(() => tune(["--head-dims", "64,5"]), RequirementError, "headDim");
    await assertRejects(
      () => tune(["--row=1"]),
      UsageError,
      "Cannot tune: options must be among --only, --formats, --rows,",
    );
    const single = small({ shapes: "software8", out });
    await assertRejects(() => tune(single), RequirementError, "software8 has one for each");
    await assertRejects(() => Deno.stat(out), Deno.errors.NotFound);
    await Deno.remove(out.replace("/shapes.json", ""));
  },
});
