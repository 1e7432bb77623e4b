/**
 * Writes the `mod.ts` of every folder that has one from the files that lie in it, and in some cases below it.
 *
 * A topic's index re-exports all of its files; the index of a plug-in folder also lists the plug-ins. `docs/choices.md`
 * is written along with them, from the table of choices, the table of verified models in `docs/models-and-data.md`, and
 * tables of graded answers in the documents of `SCORED`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { EXIT } from "../cli/command_line.ts";
import { PromiseCache } from "../core/promise_cache.ts";
import { choicesText } from "./choices.ts";
import { runTool } from "./run_tool.ts";
import { cpuModuleTexts } from "./cpu_kernels.ts";
import { type ScoredEvaluation, sharedEvaluation, withScoreTables } from "./score_tables.ts";
import { withVerifiedTable } from "./verify/table.ts";

/** A folder whose index is generated. */
interface IndexedFolder {
  /** Path from the root. */
  readonly path: string;
  /** What it holds, for the index's module doc. */
  readonly summary: string;
  /** Folders in it whose files, or whose index, it re-exports too; none if left out. */
  readonly parts?: readonly string[];
  /** Files besides the plug-ins that are re-exported; all of them if left out. */
  readonly shown?: readonly string[];
  /** Files that only those who need them load, when they do; none if left out. */
  readonly loadedLater?: readonly string[];
  /** Plug-ins of the folder, if it has any. */
  readonly plugins?: {
    /** Type that each plug-in file exports one annotated constant of. */
    readonly type: string;
    /** Name of the list of all of them. */
    readonly list: string;
    /** Whether files without such a constant are shared code, to be re-exported, rather than errors. */
    readonly allowsOtherFiles: boolean;
  };
}

const FOLDERS: readonly IndexedFolder[] = [
  {
    path: "data",
    summary: "Datasets and the folders that models and data come from.",
    plugins: { type: "Dataset", list: "DATASETS", allowsOtherFiles: true },
    shown: [],
  },
  {
    path: "data/tasks",
    summary: "Graded tasks.",
    plugins: { type: "Task", list: "TASKS", allowsOtherFiles: false },
  },
  {
    path: "kernels",
    summary: "Kernels: WGSL, typed contracts and float64 twins.",
    parts: ["weights"],
    loadedLater: ["cpu_int8_module.ts"],
  },
  {
    path: "kernels/weights",
    summary: "Formats of weights on the device.",
    plugins: { type: "WeightFormat", list: "WEIGHT_FORMATS", allowsOtherFiles: true },
  },
  {
    path: "cache/policies",
    summary: "Cache policies.",
    plugins: { type: "Policy", list: "POLICIES", allowsOtherFiles: false },
  },
  { path: "cache/scores", summary: "Scores that tokens are ranked by." },
  {
    path: "models/architectures",
    summary: "Model families that can be loaded.",
    plugins: { type: "Architecture", list: "ARCHITECTURES", allowsOtherFiles: false },
  },
  {
    path: "experiments",
    summary: "Experiments of the paper and the runner that reproduces them.",
    plugins: { type: "Experiment", list: "EXPERIMENTS", allowsOtherFiles: true },
    shown: ["experiment.ts", "result.ts"],
  },
];

/** A plug-in file and the constant it exports. */
interface Plugin {
  readonly file: string;
  readonly constant: string;
  /** Module that the file imports the plug-in type from. */
  readonly typeModule: string;
}

/** Text of an index file, formatted; undefined for a folder without files. */
async function indexText(root: URL, folder: IndexedFolder): Promise<string | undefined> {
  const own = (await moduleFiles(new URL(`${folder.path}/`, root)))
    .filter((file) => !folder.loadedLater?.includes(file));
  const files = [...own];
  for (const part of folder.parts ?? []) {
    const inside = await moduleFiles(new URL(`${folder.path}/${part}/`, root));
    const isIndexed = FOLDERS.some(({ path }) => path === `${folder.path}/${part}`);
    const shown = isIndexed && inside.length > 0 ? ["mod.ts"] : inside;
    files.push(...shown.map((file) => `${part}/${file}`));
  }
  if (files.length === 0) return undefined;
  const plugins: Plugin[] = [];
  for (const file of folder.plugins ? own : []) {
    const plugin = await findPlugin(root, folder, file);
    if (plugin !== undefined) plugins.push(plugin);
  }
  const lines = [`/**\n * ${folder.summary}\n *\n * Written by \`deno task index\`.\n *`];
  lines.push(" * @module\n */\n");
  if (plugins.length > 0) {
    lines.push(`import type { ${folder.plugins!.type} } from "${plugins[0]!.typeModule}";`);
    for (const { file, constant } of plugins) {
      lines.push(`import { ${constant} } from "./${file}";`);
    }
    lines.push("");
  }
  const names = plugins.map(({ file }) => file);
  const isShown = (file: string) => (folder.shown?.includes(file) ?? true) || names.includes(file);
  for (const file of files.filter(isShown)) lines.push(`export * from "./${file}";`);
  if (plugins.length > 0) {
    const { type, list } = folder.plugins!;
    lines.push("", `/** All of them, in the order of their file names. */`);
    const constants = plugins.map(({ constant }) => constant).join(", ");
    lines.push(`export const ${list}: readonly ${type}[] = [${constants}];`);
  }
  return await format(lines.join("\n"));
}

async function moduleFiles(folder: URL): Promise<string[]> {
  const files: string[] = [];
  try {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (isFile && name.endsWith(".ts") && name !== "mod.ts") files.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return files.sort();
}

async function findPlugin(
  root: URL,
  folder: IndexedFolder,
  file: string,
): Promise<Plugin | undefined> {
  const { type, allowsOtherFiles } = folder.plugins!;
  const source = await Deno.readTextFile(new URL(`${folder.path}/${file}`, root));
  const constants = [...source.matchAll(new RegExp(`^export const (\\w+): ${type}\\b`, "gm"))];
  const typeImport = new RegExp(`import [^;]*\\b${type}\\b[^;]*from "([^"]+)"`).exec(source);
  if (constants.length === 1 && typeImport) {
    return { file, constant: constants[0]![1]!, typeModule: typeImport[1]! };
  }
  if (constants.length === 0 && allowsOtherFiles) return undefined;
  throw new Error(
    `Cannot index ${folder.path}/${file}: it must export one constant annotated with ${type}: ` +
      `current number is ${constants.length}`,
  );
}

async function format(text: string, extension = "ts"): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", extension, "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout);
}

/**
 * Finds the index files that differ from what the folders hold.
 *
 * @returns Paths from the root, and the text each of them should have; undefined if it should not exist.
 */
export async function staleIndexes(root: URL): Promise<Map<string, string | undefined>> {
  const stale = new Map<string, string | undefined>();
  for (const folder of FOLDERS) {
    const path = `${folder.path}/mod.ts`;
    const wanted = await indexText(root, folder);
    const current = await Deno.readTextFile(new URL(path, root)).catch(() => undefined);
    if (wanted !== current) stale.set(path, wanted);
  }
  return stale;
}

/** Has the table of verified models among what is written by hand. */
const MODELS = "docs/models-and-data.md";

/** Have tables of graded answers among what is written by hand. */
const SCORED = ["README.md", "docs/results.md"];

/** Documents with their tables of graded answers; those that are not there are left out. */
async function scoredDocuments(root: URL): Promise<Record<string, string>> {
  // Several tables are of one evaluation, which takes a second to sum up.
  const known = new PromiseCache<string, ScoredEvaluation>();
  const read = (name: string) => {
    const folder = fileURLToPath(new URL(`results/evaluation/${name}/`, root));
    return known.get(name, () => sharedEvaluation(folder));
  };
  const texts: Record<string, string> = {};
  for (const path of SCORED) {
    const text = await Deno.readTextFile(new URL(path, root)).catch(() => undefined);
    if (text === undefined) continue;
    texts[path] = await format(await withScoreTables(text, read), "md");
  }
  return texts;
}

/**
 * Finds the other generated files that differ from what they are written from.
 *
 * @returns Paths from the root, and the text that each of them should have.
 */
export async function staleDocuments(root: URL): Promise<Map<string, string>> {
  const models = await Deno.readTextFile(new URL(MODELS, root)).catch(() => undefined);
  const modules = Object.entries(await cpuModuleTexts(root));
  const wanted: Record<string, string> = {
    "docs/choices.md": await format(choicesText(), "md"),
    ...(models !== undefined && { [MODELS]: await format(withVerifiedTable(models), "md") }),
    ...await scoredDocuments(root),
  };
  for (const [path, text] of modules) wanted[path] = await format(text);
  const stale = new Map<string, string>();
  for (const [path, text] of Object.entries(wanted)) {
    const current = await Deno.readTextFile(new URL(path, root)).catch(() => undefined);
    if (text !== current) stale.set(path, text);
  }
  return stale;
}

async function writeStale(isCheck: boolean): Promise<number> {
  const root = new URL("../", import.meta.url);
  const stale = new Map([...await staleIndexes(root), ...await staleDocuments(root)]);
  for (const [path, text] of stale) {
    console.log(isCheck ? `Out of date: ${path} (run deno task index)` : `Wrote ${path}`);
    if (isCheck) continue;
    if (text === undefined) await Deno.remove(new URL(path, root));
    else await Deno.writeTextFile(new URL(path, root), text);
  }
  return isCheck && stale.size > 0 ? EXIT.failed : EXIT.ok;
}

if (import.meta.main) {
  await runTool({
    name: "index",
    summary:
      "Writes the mod.ts files that follow from the folders, docs/choices.md and other tables",
    options: { check: { type: "boolean", text: "names those that are out of date instead" } },
    examples: ["deno task index", "deno task index --check"],
    run: (call) => writeStale(call.has("check")),
  });
}
