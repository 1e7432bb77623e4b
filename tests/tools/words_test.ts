import { assert, assertEquals } from "@std/assert";
import plugin, { PHRASES, WORDS, wordTable } from "../../tools/words.ts";

const root = new URL("../../", import.meta.url).pathname;

function problems(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, `${root}${path}`, source).map(({ message, hint }) =>
    `${message}; ${hint}`
  );
}

function isFine(path: string, source: string): boolean {
  return problems(path, source).length === 0;
}

Deno.test("words rule names the word, and what to write, once for each name", () => {
  const source = "export function helperHeads(): number { return 1; } helperHeads();";
  assertEquals(problems("core/x.ts", source), [
    "Cannot name this helperHeads: helper is not one of the project's words; " +
    "Write small model: the model whose attention guides the large one",
  ]);
});

Deno.test("words rule reads camel case, snake case, capitals, members and private names", () => {
  const names = ["lanesOf", "only_lane", "MOST_LANES", "LaneSet", "laneKV"];
  for (const name of names) assert(!isFine("decoding/x.ts", `const ${name} = 1;`), name);
  assert(!isFine("decoding/x.ts", "interface X { readonly lanes: number }"));
  assert(!isFine("decoding/x.ts", "class X { #lane = 1; }"));
  assert(isFine("decoding/x.ts", "const plane = 1, airlanes = 2;"));
});

Deno.test("words rule finds words of several parts side by side only", () => {
  assert(!isFine("cache/x.ts", "const salientCuts = 1;"));
  assert(isFine("cache/x.ts", "const salientTokens = 1, cutSalient = 2;"));
  assert(!isFine("kernels/x.ts", "const handOut = 1;"));
  assert(isFine("kernels/x.ts", "const outOfHand = 1;"));
});

Deno.test("words rule leaves words alone where they mean something else", () => {
  const fine: [string, string][] = [
    ["kernels/x.ts", "const lanes = 32;"],
    ["decoding/text/writer.ts", "const stream = 1;"],
    ["models/tokenizer/tokenizer.ts", "const textStream = 1;"],
    ["experiments/x.ts", "const units = 1, ownTexts = 2;"],
    ["models/weights/x.ts", "const weights = 1, weightBytes = 2;"],
    ["experiments/table5.ts", "const lowHelperLoss = 1;"],
    ["cli/reproduce.ts", "const isForced = true;"],
    ["decoding/x.ts", "const teacherForced = 1, turnBlock = 2, turns = 3;"],
    ["kernels/x.ts", "const rowPanels = 1, panelBytes = 2;"],
    ["tests/tools/x.ts", "const due = 1, watch = 2;"],
  ];
  for (const [path, source] of fine) assertEquals(problems(path, source), [], path);
});

Deno.test("words rule rejects every word of the list in a folder where it is banned", () => {
  for (const { words, inside = ["core/"] } of WORDS) {
    for (const spelling of words) {
      const name = spelling.replaceAll(" ", "_");
      assert(!isFine(`${inside[0]}x.ts`, `const ${name} = 1;`), spelling);
    }
  }
});

Deno.test("words rule finds phrases in comments, strings and templates, across lines", () => {
  const sources = [
    "/** Starts anew. */ const x = 1;",
    "// as nobody asks for it\nconst x = 1;",
    'const x = "a policy of one\'s own";',
    "const x = `goes on where it was: ${1}`;",
    "/**\n * It is said\n * behind the answer.\n */\nconst x = 1;",
  ];
  for (const source of sources) assertEquals(problems("core/x.ts", source).length, 1, source);
  assertEquals(problems("core/x.ts", sources[0]!), [
    'Cannot write "anew": it is not plain English; Write "again"',
  ]);
  assert(isFine("core/x.ts", "/** A new model behind an interface. */ const x = 1;"));
});

Deno.test("words rule knows what to write for every phrase", () => {
  for (const phrase of Object.keys(PHRASES)) {
    assertEquals(problems("core/x.ts", `/* ${phrase} */`).length, 1, phrase);
  }
});

const contributing = Deno.readTextFileSync(new URL("../../CONTRIBUTING.md", import.meta.url));
const section = /^## Words\n[^]*?(?=^## )/m.exec(contributing)![0];

Deno.test("CONTRIBUTING's table of words is the list that the lint keeps", () => {
  const rows = [...section.matchAll(/^\| (.+) \|$/gm)].map(([, row]) =>
    row!.split("|").map((cell) => cell.trim())
  );
  assertEquals(rows.slice(2), wordTable());
});
