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

/** A function that programs call. */
const ENTRY =
  /export function (\w+)\(\s*args: (\w+),\s*first: u32,\s*last: u32,\s*thread: u32,?\s*\)/g;

/** Entries of the kernels in sources, with the fields of their arguments, those of a base class first. */
export function entriesOf(sources: readonly string[]): Record<string, Fields> {
  const classes = new Map<string, { readonly base: string | undefined; readonly fields: Fields }>();
  for (const source of sources) {
    const all = source.matchAll(
      /@unmanaged\s+(?:export )?class (\w+)(?: extends (\w+))? \{([^}]*)\}/g,
    );
    for (const [, name, base, body] of all) {
      const fields = [...body!.matchAll(/^\s*(\w+): (usize|u32|i32|f32);/gm)];
      classes.set(name!, {
        base,
        fields: Object.fromEntries(fields.map(([, field, type]) => [field!, type!])),
      });
    }
  }
  const fieldsOf = (name: string): Fields => {
    const { base, fields } = classes.get(name)!;
    return { ...(base && fieldsOf(base)), ...fields };
  };
  const entries: Record<string, Fields> = {};
  for (const source of sources) {
    for (const [, name, type] of source.matchAll(ENTRY)) {
      if (!classes.has(type!)) {
        throw new RequirementError({
          action: `compile ${name}`,
          requirement: "its arguments must be an unmanaged class",
          current: type,
        });
      }
      entries[name!] = fieldsOf(type!);
    }
  }
  return entries;
}

async function readSources(root: URL): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  for (const folder of [`${FOLDER}/`, `${FOLDER}/weights/`].map((path) => new URL(path, root))) {
    for await (const { name } of Deno.readDir(folder)) {
      if (!name.endsWith(".as")) continue;
      sources.set(name.slice(0, -3), await Deno.readTextFile(new URL(name, folder)));
    }
  }
  return new Map([...sources].sort(([a], [b]) => a < b ? -1 : 1));
}

/** Exports: what JavaScript calls by name, and every entry. */
function mainOf(sources: ReadonlyMap<string, string>): string {
  const exported = [...sources].flatMap(([stem, source]) => {
    const names = [...source.matchAll(ENTRY)].map(([, name]) => name);
    return names.length === 0 ? [] : [`export { ${names.join(", ")} } from "./${stem}";`];
  });
  return ['export { run_job, lead, follow } from "./run_program";', ...exported].join("\n");
}

/**
 * Compiles sources.
 *
 * @param sources Texts by the name that they import each other by.
 * @param options Text of the module that exports.
 * @returns The binary; it imports memory and table.
 * @throws {RequirementError} If a source does not compile.
 */
export async function compileSources(
  sources: ReadonlyMap<string, string>,
  { main }: { readonly main: string },
): Promise<Uint8Array<ArrayBuffer>> {
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
  const binary = await compileSources(sources, { main: mainOf(sources) });
  const entries = entriesOf([...sources.values()]);
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
