import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DataError, RequirementError } from "../../../core/check.ts";
import {
  readShapes,
  tunedFolder,
  type TunedShapes,
  tuningKey,
  writeTuned,
} from "../../../experiments/runner/tuned_shapes.ts";
import { adapterSummary } from "../../../gpu/open_device.ts";
import { hasGpu } from "../../support/gpu.ts";

const products = { "q4k, 1 rows, 2^12 outputs": "split_1x2x256" };
const attention = { "decode, 128 elements": "64 lanes, splits of 256 keys" };

async function tuned(): Promise<TunedShapes> {
  const adapter = (await adapterSummary())!;
  return { ...tuningKey(adapter), kind: "wide", products, attention, milliseconds: {} };
}

Deno.test("readShapes() knows the kinds of the table", async () => {
  assertEquals(await readShapes("auto"), undefined);
  assertEquals(await readShapes("wide"), { kind: "wide" });
  assertEquals(await readShapes("software8"), { kind: "software8" });
});

Deno.test({
  name: "readShapes() reads what writeTuned() wrote, in a folder that it makes",
  ignore: !hasGpu,
  async fn() {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/smallkv/tuned/one.json`;
    await writeTuned(path, await tuned());
    assertEquals(await readShapes(path), { kind: "wide", products, attention });
    await Deno.remove(folder, { recursive: true });
  },
});

Deno.test({
  name:
    "readShapes() refuses files of other adapters, drivers, runtimes and kernels, and what is no such file",
  ignore: !hasGpu,
  async fn() {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/shapes.json`;
    const refused = async (text: string, message: string) => {
      await Deno.writeTextFile(path, text);
      await assertRejects(() => readShapes(path), DataError, message);
    };
    const right = await tuned();
    for (const name of ["adapter", "driver", "runtime", "kernels"] as const) {
      const other = JSON.stringify({ ...right, [name]: "another" });
      await refused(other, `${name} must be ${right[name]}, or run deno task tune`);
    }
    const damaged = [
      "",
      "null",
      "[1]",
      JSON.stringify(right).slice(0, -9),
      JSON.stringify({ ...right, kind: "narrow" }),
      JSON.stringify({ ...right, products: { bucket: "split_3x3x3" } }),
      JSON.stringify({ ...right, products: null }),
      JSON.stringify({ ...right, attention: { bucket: "3 lanes, splits of 64 keys" } }),
      JSON.stringify({ ...right, attention: undefined }),
    ];
    for (const text of damaged) await refused(text, "it must be a file of deno task tune");
    await Deno.remove(path);
    await assertRejects(() => readShapes(path), DataError, "current value is no such file");
    await Deno.remove(folder);
  },
});

Deno.test("readShapes() takes no shapes under Dawn that were timed under Deno's WebGPU", async () => {
  assertEquals(await readShapes("wide", "dawn"), { kind: "wide" });
  for (const value of ["tuned", "one.json"]) {
    await assertRejects(
      () => readShapes(value, "dawn"),
      RequirementError,
      "the device must be webgpu, on which deno task tune times them: current value is dawn",
    );
  }
});

Deno.test("tunedFolder() lies in the user's cache folder", () => {
  const envOf = (values: Record<string, string>) => ({ get: (name: string) => values[name] });
  assertEquals(tunedFolder(envOf({ HOME: "/home/me" })), "/home/me/.cache/smallkv/tuned");
  const set = { HOME: "/home/me", XDG_CACHE_HOME: "/var/cache" };
  assertEquals(tunedFolder(envOf(set)), "/var/cache/smallkv/tuned");
  assertThrows(() => tunedFolder(envOf({})), DataError, "HOME or XDG_CACHE_HOME");
});
