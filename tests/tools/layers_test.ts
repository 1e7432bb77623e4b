import { assertEquals } from "@std/assert";
import plugin from "../../tools/layers.ts";

const root = new URL("../../", import.meta.url).pathname;

function problems(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, `${root}${path}`, source).map(({ id, message }) =>
    `${id}: ${message}`
  );
}

const upward = "layers/one-way: Cannot import models from kernels: imports point down the layer " +
  "list only";

for (
  const [kind, source] of Object.entries({
    import: 'import { x } from "../models/x.ts";',
    "type import": 'import type { X } from "../models/x.ts";',
    "re-export": 'export { x } from "../models/x.ts";',
    "star re-export": 'export * from "../models/x.ts";',
    "dynamic import": 'const x = await import("../models/x.ts");',
    "import type expression": 'let x: import("../models/x.ts").X;',
  })
) {
  Deno.test(`layers rule rejects an upward ${kind}`, () => {
    assertEquals(problems("kernels/x.ts", source), [upward]);
  });
}

Deno.test("layers rule accepts imports from the same layer, a lower one or a package", () => {
  const source = `
    import a from "./a.ts";
    import b from "../core/b.ts";
    import c from "npm:c@1.0.0";
    import d from "./d.wgsl" with { type: "text" };
    import e from "../deno.json" with { type: "json" };
    export const f = 1;`;
  assertEquals(problems("kernels/x.ts", source), []);
});

Deno.test("layers rule keeps layers from importing what lies above them", () => {
  for (
    const path of ["../mod.ts", "../cli.ts", "../tools/x.ts", "../tests/x.ts", "../bench/x.ts"]
  ) {
    assertEquals(problems("experiments/x.ts", `import "${path}";`), [
      "layers/one-way: Cannot import the top from experiments: imports point down the layer list only",
    ]);
  }
  assertEquals(problems("core/x.ts", 'import "@smallkv/lab";').length, 1);
});

Deno.test("layers rule leaves the files above the layers alone", () => {
  assertEquals(problems("tools/x.ts", 'import "../experiments/x.ts";'), []);
  assertEquals(problems("mod.ts", 'export * from "./core/x.ts";'), []);
});

Deno.test("layers rule keeps plug-in files apart and lets them use shared files", () => {
  const source = 'import { x } from "./fig1c.ts"; import type { Y } from "./experiment.ts";';
  assertEquals(problems("experiments/fig1b.ts", source), [
    "layers/plugins-apart: Cannot import ./fig1c.ts: plug-in files of experiments do not import each other",
  ]);
  assertEquals(problems("experiments/experiment.ts", source), []);
  assertEquals(
    problems("models/architectures/llama.ts", 'export * from "./qwen2.ts";').length,
    1,
  );
});

Deno.test("layers rule keeps the folders of decoding in their order", () => {
  const source = 'import { x } from "../engine/x.ts";';
  assertEquals(problems("decoding/scoring/x.ts", source), [
    "layers/folders-one-way: Cannot import engine from scoring: imports point down the folder list of decoding only",
  ]);
  assertEquals(problems("decoding/text/x.ts", source), []);
  assertEquals(problems("decoding/engine/x.ts", 'import "../../cache/x.ts";'), []);
});
