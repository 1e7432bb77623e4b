/**
 * Compiles the kernels of the CPU device, `kernels/*.as`, to WebAssembly and writes `kernels/cpu_module.ts`.
 *
 * The sources are AssemblyScript. Their own suffix keeps them apart from TypeScript, whose types they do not have.
 *
 * @module
 */

import asc from "assemblyscript/asc";
import { RequirementError } from "../core/check.ts";

const FOLDER = "kernels";

/** Pages of 64 KiB below which nothing of the module lies; the device's own memory begins there. */
const RESERVED_PAGES = 2;

const FLAGS = [
  "-O3",
  "--noAssert",
  "--runtime=stub",
  "--enable=simd",
  "--enable=threads",
  "--importMemory",
  "--sharedMemory",
  `--initialMemory=${RESERVED_PAGES}`,
  "--maximumMemory=65536",
  "--importTable",
];

/** Fields of the arguments of a kernel, in the order of memory. */
type Fields = Readonly<Record<string, string>>;

/** Entries of the kernels in a source, with the fields of their arguments. */
export function entriesOf(source: string): Record<string, Fields> {
  const classes = new Map<string, Fields>();
  for (const [, name, body] of source.matchAll(/@unmanaged\s+class (\w+) \{([^}]*)\}/g)) {
    const fields = [...body!.matchAll(/^\s*(\w+): (usize|u32|i32|f32);/gm)];
    classes.set(name!, Object.fromEntries(fields.map(([, field, type]) => [field!, type!])));
  }
  const entry =
    /export function (\w+)\(\s*args: (\w+),\s*first: u32,\s*last: u32,\s*thread: u32,?\s*\)/g;
  const entries: Record<string, Fields> = {};
  for (const [, name, type] of source.matchAll(entry)) {
    const fields = classes.get(type!);
    if (fields === undefined) {
      throw new RequirementError({
        action: `compile ${name}`,
        requirement: "its arguments must be an unmanaged class of the same file",
        current: type,
      });
    }
    entries[name!] = fields;
  }
  return entries;
}

async function readSources(root: URL): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  const folder = new URL(`${FOLDER}/`, root);
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(".as")) continue;
    sources.set(name.slice(0, -3), await Deno.readTextFile(new URL(name, folder)));
  }
  return new Map([...sources].sort(([a], [b]) => a < b ? -1 : 1));
}

async function compile(sources: ReadonlyMap<string, string>): Promise<Uint8Array<ArrayBuffer>> {
  const main = [...sources.keys()].map((stem) => `export * from "./${stem}";`).join("\n");
  const texts = new Map(sources).set("all", main);
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const { error, stderr } = await asc.main(["all.ts", "-o", "all.wasm", ...FLAGS], {
    readFile: (name: string) => texts.get(name.replace(/^.*\//, "").replace(/\.ts$/, "")) ?? null,
    writeFile: (name: string, contents: string | Uint8Array) => {
      if (name.endsWith(".wasm")) binary = contents as Uint8Array<ArrayBuffer>;
    },
    listFiles: () => [],
  });
  if (error || binary === undefined) {
    throw new RequirementError({
      action: `compile ${FOLDER}/*.as`,
      requirement: "the compiler must accept them",
      state: `message is\n${stderr.toString()}`,
    });
  }
  return binary;
}

/**
 * Compiles the kernels.
 *
 * @param root Folder of the repository.
 * @returns Text of `kernels/cpu_module.ts`.
 * @throws {RequirementError} If a source does not compile.
 */
export async function cpuModuleText(root: URL): Promise<string> {
  const sources = await readSources(root);
  const binary = await compile(sources);
  const entries = Object.assign({}, ...[...sources.values()].map(entriesOf));
  return `/**
 * Kernels of the CPU device as WebAssembly, compiled from \`${FOLDER}/*.as\`.
 *
 * Written by \`deno task index\`.
 *
 * @module
 */

import type { CpuModule } from "../gpu/cpu_module.ts";

/** The kernels, and the arguments that each takes. */
export const CPU_MODULE: CpuModule = {
  base64: ${JSON.stringify(binary.toBase64())},
  entries: ${JSON.stringify(entries)},
};
`;
}
