import {
  assertEquals,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EXPERIMENTS } from "../../experiments/mod.ts";
import { codeHash } from "../../core/code_hash.ts";
import { MODEL_CODE } from "../../experiments/runner/lab_model.ts";
import { POLICY_CODE } from "../../experiments/runner/policy_runs.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "code-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Reads the real modules, with a changed text for paths that have an ending. */
function changing(ending: string, change: (text: string) => string) {
  return async (module: URL) => {
    const text = await readFile(module, "utf8");
    return module.href.endsWith(ending) ? change(text) : text;
  };
}

Deno.test("codeHash() follows imports and ignores comments", () =>
  withFolder(async (folder) => {
    const write = (name: string, text: string) => writeFile(join(folder, name), text);
    const hash = () => codeHash([pathToFileURL(join(folder, "a.ts"))]);
    await write("a.ts", 'import { b } from "./b.ts";\nexport const a = b;\n');
    await write(
      "b.ts",
      'import text from "./c.wgsl" with { type: "text" };\nexport const b = text;',
    );
    await write("c.wgsl", "fn main() {}");
    const first = await hash();
    await write(
      "a.ts",
      '// why\nimport { b } from "./b.ts";\n/** More\n * words. */\n  export const a = b;\n',
    );
    assertStrictEquals(await hash(), first);
    await write("c.wgsl", "fn main() { }");
    const second = await hash();
    assertNotStrictEquals(second, first);
    await write("b.ts", 'import text from "./c.wgsl" with { type: "text" };\nexport const b = 1;');
    assertNotStrictEquals(await hash(), second);
    await rm(join(folder, "c.wgsl"));
    assertMatch(
      String(await assertRejects(() => hash(), Error)),
      /^DataError: Cannot identify .*: module .*c\.wgsl must be readable: .* ENOENT$/,
    );
  }));

Deno.test("codeHash() ignores what is imported for its types, and counts packages by version", () =>
  withFolder(async (folder) => {
    const write = (name: string, text: string) => writeFile(join(folder, name), text);
    const hash = () => codeHash([pathToFileURL(join(folder, "a.ts"))]);
    const rest = 'export type * from "./gone.ts";\nexport const from = "./gone.ts";\n';
    await write("a.ts", `import type {\n  B,\n} from "./gone.ts";\n${rest}`);
    const first = await hash();
    await write("a.ts", `import { type B, b } from "./gone.ts";\n${rest}`);
    await assertRejects(() => hash(), Error, "gone.ts must be readable");
    await write("a.ts", `await import(\n  "./gone.ts"\n);\n${rest}`);
    await assertRejects(() => hash(), Error, "gone.ts must be readable");
    await write("a.ts", `import mean from "simple-statistics";\n${rest}`);
    assertNotStrictEquals(await hash(), first);
  }));

Deno.test("codeHash() takes a package served over HTTP by its version and address, unread", async () => {
  const read = () => Promise.reject(new Error("read"));
  const hash = (address: string) => codeHash([new URL(address)], read);
  const first = await hash("https://example.org/@smallkv/lab/1.0.0/a.ts");
  assertNotStrictEquals(await hash("https://example.org/@smallkv/lab/1.0.1/a.ts"), first);
});

Deno.test("codeHash() of what decodes changes with a kernel, a policy and a module of decoding", async () => {
  const modules = [MODEL_CODE, POLICY_CODE];
  const read = new Map<string, string>();
  const whole = await codeHash(modules, async (module) => {
    const text = await readFile(module, "utf8");
    read.set(module.href, text);
    return text;
  });
  const find = (pattern: RegExp, content = /(?:)/): string =>
    [...read].find(([href, text]) => pattern.test(href) && content.test(text))![0];
  const kernel = find(/\/kernels\/.*\.wgsl$/);
  const writer = find(/\/kernels\/.*\.ts$/, /@compute|workgroupBarrier/);
  const policy = find(/\/cache\/policies\/smallkv\.ts$/);
  const planner = find(/\/decoding\/.*planner\.ts$/);
  for (const ending of [kernel, writer, policy, planner]) {
    const code = changing(ending, (text) => `${text}\nconst more = 1;\n`);
    assertNotStrictEquals(await codeHash(modules, code), whole, ending);
    const comment = changing(ending, (text) => `// Other words.\n\n  ${text}`);
    assertStrictEquals(await codeHash(modules, comment), whole, ending);
  }
  const variants = find(/\.wgsl$/, /^\/\/# if !/m);
  const inverted = changing(variants, (text) => text.replace(/^\/\/# if !/m, "//# if "));
  assertNotStrictEquals(await codeHash(modules, inverted), whole, "a condition of a kernel");
});

Deno.test("codeHash() finds the modules of every experiment and of what runs models", async () => {
  const hashes = EXPERIMENTS.map(({ module }) => codeHash([new URL(module)]));
  const all = await Promise.all([...hashes, codeHash([MODEL_CODE]), codeHash([POLICY_CODE])]);
  assertEquals(new Set(all).size, EXPERIMENTS.length + 2);
});
