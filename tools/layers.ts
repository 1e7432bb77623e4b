/**
 * Lint rules for imports: a module imports from its own layer or a lower one, folders with a direction obey
 * it, and plug-in files do not import each other.
 *
 * @module
 */

/** Folders of the product, lowest first. */
export const LAYERS: readonly string[] = [
  "core",
  "data",
  "gpu",
  "kernels",
  "analysis",
  "cache",
  "models",
  "decoding",
  "evaluation",
  "views",
  "experiments",
  "cli",
];

/** Folders of a layer that also have a direction, lowest first. */
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  decoding: ["session", "selection", "scoring", "engine", "text", "forced"],
  // Above the layers: what is computed reaches the views in messages alone.
  explorer: ["state", "views", "engine", "page"],
};

/** Folders whose generated `mod.ts` imports the plug-in files next to it by name. */
const PLUGIN_FOLDERS = [
  "data",
  "data/tasks",
  "kernels/weights",
  "cache/policies",
  "models/architectures",
  "experiments",
];

const root = new URL("../", import.meta.url).href;

function pathOf(url: string): string {
  return url.startsWith(root) ? url.slice(root.length) : "";
}

/** Index of the layer, one past the last for everything above the layers, -1 for what lies outside. */
function layerOf(path: string): number {
  if (!/\.tsx?$/.test(path)) return -1;
  const layer = LAYERS.indexOf(path.split("/")[0]!);
  return layer >= 0 ? layer : LAYERS.length;
}

function layerName(layer: number): string {
  return LAYERS[layer] ?? "the top";
}

/** Folder of a plug-in file; undefined for any other file. */
function pluginFolder(path: string): string | undefined {
  const folder = path.slice(0, path.lastIndexOf("/"));
  if (!PLUGIN_FOLDERS.includes(folder) || path.endsWith("/mod.ts")) return undefined;
  try {
    const index = Deno.readTextFileSync(new URL(`${folder}/mod.ts`, root));
    const imported = [...index.matchAll(/^import \{ \w+ \} from "\.\/(.+)";$/gm)];
    const file = path.slice(folder.length + 1);
    return imported.some(([, name]) => name === file) ? folder : undefined;
  } catch {
    return undefined;
  }
}

function resolve(specifier: string, here: string): string {
  if (specifier === "@smallkv/lab" || specifier.startsWith("@smallkv/lab/")) return "mod.ts";
  return specifier.startsWith(".") ? pathOf(new URL(specifier, here).href) : "";
}

type Import = { specifier: string; node: Deno.lint.Node };
type Check = (found: Import) => void;

/** Calls `check` for every import, re-export, dynamic import and import type with a literal specifier. */
function visitor(check: Check): Deno.lint.LintVisitor {
  const literal = (node: Deno.lint.Node, source: Deno.lint.Node | null) => {
    if (source?.type !== "Literal" || typeof source.value !== "string") return;
    check({ specifier: source.value, node });
  };
  return {
    ImportDeclaration: (node) => literal(node, node.source),
    ExportNamedDeclaration: (node) => literal(node, node.source),
    ExportAllDeclaration: (node) => literal(node, node.source),
    ImportExpression: (node) => literal(node, node.source),
    TSImportType: (node) =>
      literal(
        node,
        node.argument.type === "TSLiteralType" ? node.argument.literal : node.argument,
      ),
  };
}

const oneWay: Deno.lint.Rule = {
  create(context) {
    const here = `file://${context.filename}`;
    const from = layerOf(pathOf(here));
    if (from < 0 || from === LAYERS.length) return {};
    return visitor(({ specifier, node }) => {
      const to = layerOf(resolve(specifier, here));
      if (to <= from) return;
      const pair = `${layerName(to)} from ${layerName(from)}`;
      context.report({
        node,
        message: `Cannot import ${pair}: imports point down the layer list only`,
      });
    });
  },
};

/** Position of a file's folder within its layer; undefined where the layer has no direction. */
function folderOf(path: string): { readonly layer: string; readonly place: number } | undefined {
  const [layer, folder] = path.split("/");
  const place = FOLDERS[layer!]?.indexOf(folder!) ?? -1;
  return place < 0 ? undefined : { layer: layer!, place };
}

const foldersOneWay: Deno.lint.Rule = {
  create(context) {
    const here = `file://${context.filename}`;
    const from = folderOf(pathOf(here));
    if (!from) return {};
    return visitor(({ specifier, node }) => {
      const to = folderOf(resolve(specifier, here));
      if (!to || to.layer !== from.layer || to.place <= from.place) return;
      const order = FOLDERS[from.layer]!;
      context.report({
        node,
        message: `Cannot import ${order[to.place]} from ${
          order[from.place]
        }: imports point down the folder list of ${from.layer} only`,
        hint: order.join(" < "),
      });
    });
  },
};

const pluginsApart: Deno.lint.Rule = {
  create(context) {
    const here = `file://${context.filename}`;
    const folder = pluginFolder(pathOf(here));
    if (folder === undefined) return {};
    return visitor(({ specifier, node }) => {
      if (pluginFolder(resolve(specifier, here)) !== folder) return;
      context.report({
        node,
        message: `Cannot import ${specifier}: plug-in files of ${folder} do not import each other`,
        hint: `Move what two of them share to a file without a plug-in`,
      });
    });
  },
};

/** Plugin named in `deno.json`; lint plugins are found by their default export. */
const plugin: Deno.lint.Plugin = {
  name: "layers",
  rules: { "one-way": oneWay, "folders-one-way": foldersOneWay, "plugins-apart": pluginsApart },
};

export default plugin;
