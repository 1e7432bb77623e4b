import { assert, assertEquals, assertRejects } from "@std/assert";
import { tune } from "../../bench/tune.ts";
import { LabError, RequirementError } from "../../core/check.ts";
import { readShapes } from "../../experiments/runner/tuned_shapes.ts";
import { tileName } from "../../kernels/matmul_tile.ts";
import { chooseMatmul, MATMUL_TILES, productTiles } from "../../kernels/shapes.ts";
import { hasGpu } from "../support/gpu.ts";

/** Options for products that a software adapter multiplies in a moment. */
function small(options: Readonly<Record<string, string>>): string[] {
  const all = { formats: "q4k", outputs: "64", columns: "256", megabytes: "1", ...options };
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
  name: "tune() refuses what cannot be timed, and writes nothing then",
  ignore: !hasGpu,
  async fn() {
    const out = `${await Deno.makeTempDir()}/shapes.json`;
    const wrong = [{ rows: "0" }, { formats: "q9" }, { columns: "100" }, { shapes: "tuned" }];
    for (const options of wrong) {
      await assertRejects(() => tune(small({ shapes: "wide", ...options, out })), LabError);
    }
    const single = small({ shapes: "software8", out });
    await assertRejects(() => tune(single), RequirementError, "software8 has one for each");
    await assertRejects(() => Deno.stat(out), Deno.errors.NotFound);
    await Deno.remove(out.replace("/shapes.json", ""));
  },
});
