/**
 * Compiles the kernels of the CPU device, `kernels/*.as`, to WebAssembly and writes `kernels/cpu_module.ts` and
 * `kernels/cpu_int8_module.ts`. The second has what needs relaxed SIMD, and does not compile where that is missing.
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

/** Address of the constants of the module with relaxed instructions; those of the other lie below it. */
const RELAXED_BASE = 65536;

/** Beginning of the names of entries with relaxed instructions. */
const RELAXED_PREFIX = "int8_";

const RELAXED_FLAGS = ["--enable=relaxed-simd", `--memoryBase=${RELAXED_BASE}`];

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

/** Exports of entries. */
function mainOf(
  sources: ReadonlyMap<string, string>,
  isExported: (entry: string) => boolean,
): string {
  return [...sources].flatMap(([stem, source]) => {
    const names = [...source.matchAll(ENTRY)].map(([, name]) => name!).filter(isExported);
    return names.length === 0 ? [] : [`export { ${names.join(", ")} } from "./${stem}";`];
  }).join("\n");
}

/**
 * Compiles sources.
 *
 * @param sources Texts by the name that they import each other by.
 * @param options Text of the module that exports, and whether relaxed instructions are allowed.
 * @returns The binary; it imports memory and table.
 * @throws {RequirementError} If a source does not compile.
 */
export async function compileSources(
  sources: ReadonlyMap<string, string>,
  { main, isRelaxed = false }: { readonly main: string; readonly isRelaxed?: boolean },
): Promise<Uint8Array<ArrayBuffer>> {
  const texts = new Map(sources).set("all", main);
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const flags = isRelaxed ? [...FLAGS, ...RELAXED_FLAGS] : FLAGS;
  const { error, stderr } = await asc.main(["all.ts", "-o", "all.wasm", ...flags], {
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

/** A compiled module as an expression of TypeScript. */
interface CompiledText {
  readonly base64: string;
  readonly entries: string;
}

/**
 * Compiles the kernels.
 *
 * @param root Folder of the repository.
 * @returns Texts of the modules by their paths.
 * @throws {RequirementError} If a source does not compile.
 */
export async function cpuModuleTexts(root: URL): Promise<Record<string, string>> {
  const sources = await readSources(root);
  const isInt8 = (entry: string) => entry.startsWith(RELAXED_PREFIX);
  const compile = async (isRelaxed: boolean): Promise<CompiledText> => {
    const isExported = (entry: string) => isInt8(entry) === isRelaxed;
    const exported = mainOf(sources, isExported);
    const main = isRelaxed
      ? exported
      : `export { run_job, lead, follow } from "./run_program";\n${exported}`;
    const binary = await compileSources(sources, { main, isRelaxed });
    const entries = Object.entries(entriesOf([...sources.values()]));
    return {
      base64: JSON.stringify(binary.toBase64()),
      entries: JSON.stringify(Object.fromEntries(entries.filter(([name]) => isExported(name)))),
    };
  };
  return {
    [`${FOLDER}/cpu_module.ts`]: mainText(await compile(false)),
    [`${FOLDER}/cpu_int8_module.ts`]: int8Text(await compile(true)),
  };
}

function mainText({ base64, entries }: CompiledText): string {
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
  base64: ${base64},
  entries: ${entries},
  int8: async () => (await import("./cpu_int8_module.ts")).CPU_INT8_MODULE,
};
`;
}

function int8Text({ base64, entries }: CompiledText): string {
  return `/**
 * Kernels of the CPU device that multiply activations of 8 bits by relaxed SIMD, compiled from \`${FOLDER}/*.as\`.
 *
 * Written by \`deno task index\`.
 *
 * @module
 */

import type { CpuModule } from "../gpu/cpu_module.ts";

/** The kernels, and the arguments that each takes. */
export const CPU_INT8_MODULE: CpuModule = {
  base64: ${base64},
  entries: ${entries},
};
`;
}
