/**
 * Documents say what is there: links, anchors, tasks, flags, variables, and headings and decisions that code cites.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { commandHelp } from "../cli/command.ts";
import { labCommands } from "../cli/commands.ts";
import { EXPERIMENTS } from "../experiments/mod.ts";

const ROOT = new URL("../", import.meta.url);
const SKIPPED = ["node_modules", "results", "fixtures"];
const files = [...projectFiles("")];
const documents = files.filter((path) => path.endsWith(".md") && path !== "NOTES.md");
const sources = files.filter((path) => /\.(ts|wgsl|py)$/.test(path));

function* projectFiles(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder || ".", ROOT))) {
    if (name.startsWith(".") || SKIPPED.includes(name)) continue;
    if (isDirectory) yield* projectFiles(`${folder}${name}/`);
    else yield folder + name;
  }
}

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** Markdown without blocks of code. */
function prose(path: string): string {
  return read(path).replaceAll(/^ *```.*?^ *```/gms, "");
}

function headings(path: string): string[] {
  return [...prose(path).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!);
}

/** Anchor of a heading, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
}

function exists(path: URL): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}

/** What is wrong with a link of a document. */
function linkFault(document: string, link: string): string[] {
  const [path, anchor] = link.split("#") as [string, string | undefined];
  const target = path === "" ? new URL(document, ROOT) : new URL(path, new URL(document, ROOT));
  if (!exists(target)) return [`${document}: no file ${path}`];
  if (anchor === undefined) return [];
  const anchors = headings(target.href.slice(ROOT.href.length)).map(anchorOf);
  return anchors.includes(anchor) ? [] : [`${document}: no heading #${anchor} in ${path}`];
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, found]) => found!);
}

Deno.test("relative links of documents lead to files and headings", () => {
  const faults = documents.flatMap((document) =>
    matches(prose(document).replaceAll(/`[^`\n]*`/g, ""), /\]\(([^)\s]+)\)/g)
      .filter((link) => !/^[a-z]+:/.test(link))
      .flatMap((link) => linkFault(document, link))
  );
  assertEquals(faults, []);
});

Deno.test("tasks that documents name are in deno.json", () => {
  const { tasks } = JSON.parse(read("deno.json"));
  const faults = documents.flatMap((document) =>
    matches(read(document), /\bdeno(?:@[\d.]+)? task ([a-z][\w-]*)/g)
      .filter((name) => !(name in tasks))
      .map((name) => `${document}: ${name}`)
  );
  assertEquals(faults, []);
});

Deno.test("flags that documents name are flags of a command, a task or a choice", () => {
  const commands = labCommands(EXPERIMENTS);
  const programs = sources.filter((path) => /^(bench\/(run|tune)\.ts|tools\/)/.test(path)).map(
    read,
  );
  const known = [
    ...commands.map(commandHelp),
    read("docs/choices.md"),
    read("deno.json"),
    ...programs,
  ].join("\n");
  const aliases = commands.flatMap(({ options }) =>
    Object.values(options).flatMap(({ aliases = [] }) => aliases)
  );
  const flags = new Set([...matches(known, /--([a-z][\w-]*)/g), ...aliases]);
  const faults = documents.flatMap((document) =>
    matches(read(document), /(?<![\w-])--([a-z][\w-]*)/g)
      .filter((flag) => !flags.has(flag))
      .map((flag) => `${document}: --${flag}`)
  );
  assertEquals(faults, []);
});

Deno.test("options that documents give to a command are options of that command", () => {
  const words = /(?!-)\b((?:\\\n|[^\n`|&;])*)/.source;
  const faults = labCommands(EXPERIMENTS).flatMap((command) => {
    const { name, options } = command;
    const aliases = Object.values(options).flatMap(({ aliases = [] }) => aliases);
    const own = new Set([...matches(commandHelp(command), /--([a-z][\w-]*)/g), ...aliases]);
    const call = new RegExp(`deno task ${name}${words}`, "g");
    return documents.flatMap((document) =>
      matches(read(document), call).flatMap((given) =>
        matches(given, /(?<![\w-])--([a-z][\w-]*)/g)
          .filter((flag) => !own.has(flag))
          .map((flag) => `${document}: deno task ${name} --${flag}`)
      )
    );
  });
  assertEquals(faults, []);
});

Deno.test("docs/method.md lists all its headings as contents", () => {
  const text = read("docs/method.md");
  const contents = /^Contents: [^]*?\n\n/m.exec(text)![0].replaceAll(/\s+/g, " ");
  const listed = matches(contents, /\[([^\]]+)\]\(#/g);
  assertEquals(listed, matches(text, /^## (.+)$/gm));
});

Deno.test("docs/devices.md lists the kinds of benchmarks", () => {
  const kinds = matches(read("bench/run.ts"), /^ {2}(\w+): bench\w+,$/gm);
  const table = read("docs/devices.md").split("## Speed")[1]!.split("\n\n")[2]!;
  assertEquals(matches(table, /^\| `(\w+)`/gm).sort(), kinds.sort());
});

Deno.test("docs/devices.md lists the environment variables that the code reads", () => {
  const product = sources.filter((path) => !/^(tests|tools\/supervise)/.test(path)).map(read);
  const variable = /\b((?:SMALLKV|HF)_[A-Z_]+)\b/g;
  const named = (text: string) => [...new Set(matches(text, variable))].sort();
  assertEquals(named(read("docs/devices.md")), named(product.join("\n")));
});

Deno.test("headings and decisions of the method that code and documents cite are in it", () => {
  const known = headings("docs/method.md");
  const decisions = new Set(matches(read("docs/method.md"), /^\| (D-\d+) /gm));
  const faults = [...sources, ...documents].flatMap((path) => {
    const text = read(path).replaceAll(/\s+(?:(?:\*|\/\/|#)\s)?/g, " ");
    const cited = matches(text, /docs\/method\.md, ("[^"`\n]+"(?: and "[^"`\n]+")*)/g)
      .flatMap((list) => matches(list, /"([^"]+)"/g))
      .filter((heading) => !known.includes(heading));
    const numbers = matches(text, /\b(D-\d+)\b/g).filter((number) => !decisions.has(number));
    return [...cited, ...numbers].map((name) => `${path}: ${name}`);
  });
  assertEquals(faults, []);
});
