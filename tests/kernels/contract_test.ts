/**
 * Compares every kernel's WGSL with the contract next to it.
 *
 * A module `some_kernel.ts` whose kernels have no file exports `someKernelSamples`, a list of them or a function that makes it.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { Kernel } from "../../gpu/kernel.ts";
import { NEEDED_LIMITS } from "../../gpu/webgpu_adapter.ts";
import { parseWgsl } from "../support/parse_wgsl.ts";

const folder = new URL("../../kernels/", import.meta.url);

/** Kernels that a module without a file generates, or a function that makes them. */
type Samples = readonly Kernel[] | (() => readonly Kernel[]);

function isKernel(value: unknown): value is Kernel {
  const kernel = value as Partial<Kernel> | null;
  return typeof kernel === "object" && typeof kernel?.wgsl === "string" &&
    typeof kernel.reference === "function";
}

function stems(extension: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => name.endsWith(extension))
    .map((name) => name.slice(0, -extension.length)).sort();
}

async function importModule(stem: string): Promise<Record<string, unknown>> {
  return await import(new URL(`${stem}.ts`, folder).href);
}

function checkContract(kernel: Kernel): void {
  const parsed = parseWgsl(kernel.wgsl);
  assertEquals(parsed.entryPoints, [kernel.name], "entry point");
  assertEquals(parsed.bindings, Object.entries(kernel.bindings), "bindings, in order");
  assertEquals(parsed.params, Object.entries(kernel.params), "fields of Params, in order");
  const inSource = Object.fromEntries(parsed.constants);
  for (const name of Object.keys(kernel.constants)) {
    assert(parsed.overrides.includes(name), `constant ${name} must be an override`);
  }
  for (const name of parsed.overrides) {
    assert(name in kernel.constants, `override ${name} must be a constant of the contract`);
  }
  for (const [name, value] of Object.entries(kernel.constants)) {
    assertEquals(inSource[name], value, `default of ${name}`);
  }
  if (kernel.workgroupBytes === undefined || kernel.workgroupBytes === 0) {
    assert(!parsed.hasWorkgroupMemory, "workgroupBytes must be given if there is workgroup memory");
  } else {
    assert(parsed.hasWorkgroupMemory, "workgroupBytes must be 0 if there is no workgroup memory");
  }
  const usesSubgroups = /\bsubgroup[A-Z]\w*\(/.test(parsed.code);
  assertEquals(kernel.subgroupSize !== undefined, usesSubgroups, "subgroupSize against the calls");
  assert(!/^\s*enable\b/m.test(parsed.code), "the device adds enable directives");
  const buffers = Object.keys(kernel.bindings).filter((name) => name !== "sinks");
  const most = NEEDED_LIMITS.maxStorageBuffersPerShaderStage!;
  assert(buffers.length <= most, `adapters are only asked for ${most} storage buffers`);
}

function checkHeader(kernel: Kernel, header: string): void {
  assert(
    header.startsWith(`// ${kernel.name}: `),
    `the first line must be "// ${kernel.name}: what it computes"`,
  );
  const accesses = Object.values(kernel.bindings);
  const words = ["grid", "writes", "twin"];
  if (accesses.some((binding) => binding.startsWith("read"))) words.push("reads");
  for (const word of words) {
    assert(new RegExp(`^// ${word}\\s+\\S`, "m").test(header), `the header must say ${word}`);
  }
  for (const name of Object.keys(kernel.bindings)) {
    assert(new RegExp(`\\b${name}\\b`).test(header), `the header must describe ${name}`);
  }
}

/** Text that kernels share has no entry point; files of several variants are compared as variants below. */
function textOf(stem: string): string {
  return Deno.readTextFileSync(new URL(`${stem}.wgsl`, folder));
}
const files = stems(".wgsl").filter((stem) => textOf(stem).includes("@compute"));
const isTemplate = (stem: string) => /^\s*\/\/# if /m.test(textOf(stem));

for (const stem of files.filter((stem) => !isTemplate(stem))) {
  Deno.test(`kernels/${stem}.wgsl agrees with the contract in kernels/${stem}.ts`, async () => {
    const module = await importModule(stem);
    const kernel = Object.values(module).filter(isKernel).find(({ name }) => name === stem);
    assert(kernel !== undefined, `${stem}.ts must export the kernel named ${stem}`);
    assertEquals(kernel.wgsl, Deno.readTextFileSync(new URL(`${stem}.wgsl`, folder)), "its text");
    checkContract(kernel);
    checkHeader(kernel, parseWgsl(kernel.wgsl).header);
    assert(kernel.wgsl.includes(`// twin    ${stem}.ts`), "the header must name the twin");
  });
}

Deno.test("kernels made by functions agree with their contracts", async (test) => {
  for (const stem of stems(".ts")) {
    const name = `${stem.replace(/_(.)/g, (_, letter) => letter.toUpperCase())}Samples`;
    const samples = ((await importModule(stem))[name] ?? []) as Samples;
    const kernels = typeof samples === "function" ? samples() : samples;
    assert(kernels.length > 0 || !files.includes(stem) || !isTemplate(stem), `${name} must exist`);
    for (const kernel of kernels) {
      await test.step(`${kernel.name} of ${stem}.ts`, () => {
        checkContract(kernel);
        if (!files.includes(stem)) return;
        checkHeader(kernel, parseWgsl(kernel.wgsl).header);
        assert(!/\/\/# |\/\/ unroll/.test(kernel.wgsl), "nothing must be left to write out");
      });
    }
  }
});

Deno.test("every kernel has a test of the same stem", () => {
  for (const stem of files) {
    assert(
      Deno.statSync(new URL(`${stem}_test.ts`, import.meta.url)).isFile,
      `tests/kernels/${stem}_test.ts must exist`,
    );
  }
});
