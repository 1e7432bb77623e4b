import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Choice } from "../../cache/choice.ts";
import { POLICY_CHOICES } from "../../cache/options.ts";
import { staleDocuments, staleIndexes } from "../../tools/index.ts";

/** Makes a project of a few files in a temporary folder. */
async function project(files: Record<string, string>): Promise<URL & AsyncDisposable> {
  const folder = await Deno.makeTempDir();
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(`${folder}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    await Deno.writeTextFile(`${folder}/${path}`, text);
  }
  const dispose = () => Deno.remove(folder, { recursive: true });
  return Object.assign(new URL(`file://${folder}/`), { [Symbol.asyncDispose]: dispose });
}

const policy = (name: string) =>
  `import type { Policy } from "../policy.ts";\nexport const ${name}: Policy = {};\n`;

Deno.test("staleIndexes() lists the plug-ins of a folder by file name", async () => {
  await using root = await project({
    "cache/policies/window.ts": policy("window"),
    "cache/policies/h2o.ts": policy("h2o"),
  });
  const text = (await staleIndexes(root)).get("cache/policies/mod.ts")!;
  assertStringIncludes(text, 'import type { Policy } from "../policy.ts";');
  assertStringIncludes(text, 'export * from "./h2o.ts";\nexport * from "./window.ts";');
  assertStringIncludes(text, "export const POLICIES: readonly Policy[] = [h2o, window];");
});

Deno.test("staleIndexes() is empty once its texts are written", async () => {
  await using root = await project({ "kernels/saliency.ts": "export const a = 1;\n" });
  const stale = await staleIndexes(root);
  assertEquals([...stale.keys()], ["kernels/mod.ts"]);
  await Deno.writeTextFile(new URL("kernels/mod.ts", root), stale.get("kernels/mod.ts")!);
  assertEquals(await staleIndexes(root), new Map());
});

Deno.test("staleIndexes() rejects a plug-in file without its constant", async () => {
  await using root = await project({ "cache/policies/h2o.ts": "export const h2o = {};\n" });
  await assertRejects(() => staleIndexes(root), Error, "Cannot index cache/policies/h2o.ts");
});

Deno.test("staleIndexes() re-exports files without a plug-in where that is allowed", async () => {
  await using root = await project({
    "experiments/experiment.ts": "export interface Experiment { name: string }\n",
    "experiments/table_2.ts":
      'import type { Experiment } from "./experiment.ts";\nexport const table2: Experiment = {};\n',
  });
  const text = (await staleIndexes(root)).get("experiments/mod.ts")!;
  assertStringIncludes(text, 'export * from "./experiment.ts";');
  assertStringIncludes(text, "EXPERIMENTS: readonly Experiment[] = [table2];");
});

Deno.test("staleDocuments() finds docs/choices.md as the table of choices has it", async () => {
  const repository = new URL("../../", import.meta.url);
  assertEquals(await staleDocuments(repository), new Map());
  await using root = await project({
    "docs/choices.md": "# Choices\n",
  });
  await Deno.symlink(new URL("kernels", repository), new URL("kernels", root));
  const text = (await staleDocuments(root)).get("docs/choices.md")!;
  for (const [name, choice] of Object.entries<Choice>(POLICY_CHOICES)) {
    assertStringIncludes(text, `| \`${name}\``);
    assertStringIncludes(text, choice.help);
  }
});
