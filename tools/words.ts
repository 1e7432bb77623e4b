/**
 * The project's words, and lint rules that keep them: names are those of papers on KV caches, prose is plain English.
 *
 * @module
 */

/** A word that names are not made of. */
export interface BannedWord {
  /** Words in a row within a name, in lower case; any of several spellings, none where only a reader can tell. */
  readonly words: readonly string[];
  /** What else is not to be written, which only a reader can tell. */
  readonly also?: string;
  /** What to write. */
  readonly instead: string;
  /** What it means, as CONTRIBUTING tells it. */
  readonly meaning: string;
  /** Folders and files where it is banned; everywhere if left out. */
  readonly inside?: readonly string[];
  /** Folders and files where it means something else. */
  readonly outside?: readonly string[];
  /** Names that contain it and mean something else. */
  readonly allowed?: readonly string[];
  /** A word that makes it right when it stands before it. */
  readonly after?: string;
}

const ENGINE = ["cache/", "decoding/", "kernels/", "tests/cache/", "tests/decoding/"];
const KERNELS = ["kernels/", "models/", "tests/kernels/", "tests/models/"];

/** Every word, in the order of CONTRIBUTING's table. */
export const WORDS: readonly BannedWord[] = [
  {
    words: ["helper", "helpers"],
    instead: "small model",
    meaning: "the model whose attention guides the large one",
    // Keys of claims, which stored results name.
    allowed: [
      ...["combinedHelper", "helperGain", "helperShare", "helperText"],
      ...["highHelperLoss", "lowHelperLoss"],
    ],
  },
  {
    words: ["lane", "lanes"],
    instead: "sequence setting",
    meaning: "what one sequence of a batch is decoded under; threads of a workgroup are lanes",
    outside: KERNELS,
  },
  {
    words: ["unit", "units"],
    instead: "head group",
    meaning: "query heads that share a selection; a piece of an experiment is a work unit",
    inside: ENGINE,
    outside: ["tests/decoding/text/"],
  },
  {
    words: ["stream", "streams"],
    instead: "small sequence",
    meaning: "a sequence that the small model reads; text and bytes come in streams",
    inside: ["decoding/", "tests/decoding/"],
    outside: ["decoding/text/", "tests/decoding/text/"],
  },
  {
    words: ["leader", "leaders"],
    instead: "first reader",
    meaning: "the first sequence that a small sequence reads along with",
    inside: ["decoding/", "tests/decoding/"],
  },
  {
    words: ["weight heads", "weight stride", "weight words"],
    also: "weights of a softmax",
    instead: "attention",
    meaning: "the softmax of a row; weights are a model's",
  },
  {
    words: ["turned", "turn keys"],
    instead: "rerotated keys",
    meaning: "keys at the positions of their slots",
    inside: ENGINE,
  },
  {
    words: ["hand out"],
    instead: "broadcast",
    meaning: "how a value reaches the other lanes",
    inside: KERNELS,
  },
  { words: ["fours"], instead: "vec4s", meaning: "elements in vectors of four" },
  {
    words: ["supers"],
    instead: "super-blocks",
    meaning: "blocks of k-quants that share a scale",
  },
  {
    words: ["panels"],
    instead: "row panels",
    meaning: "rows of a packed matrix that lie together",
    inside: KERNELS,
    after: "row",
  },
  {
    words: ["own memory", "own scores", "own shape", "own words", "own kept", "own sinks"],
    instead: "large-model",
    meaning: "of the large model's attention, not the small one's",
  },
  {
    words: [],
    also: "kept and marginal",
    instead: "full and value-only",
    meaning: "tokens by what is stored of them; sink, critical, recent and marginal are tiers",
  },
  {
    words: [],
    also: "a policy's scores",
    instead: "saliency source",
    meaning: "the model whose attention ranks tokens; a score is what is read of it and remembered",
  },
  {
    words: ["salient cut", "salient cuts"],
    instead: "top-k threshold",
    meaning: "the score that the k-th largest has",
  },
  {
    words: ["running"],
    instead: "decode state",
    meaning: "what the steps of a session run on",
    inside: ["decoding/"],
  },
  {
    words: ["take back"],
    instead: "restore full cache",
    meaning: "puts dropped tokens back before a further prompt",
  },
  { words: ["keep all"], instead: "reset", meaning: "starts from a length with every token kept" },
  { words: ["go on"], instead: "copy from", meaning: "takes over another sequence's state" },
  {
    words: ["due"],
    instead: "should plan",
    meaning: "whether tokens are chosen at a length",
    inside: ENGINE,
  },
  {
    words: ["forced"],
    instead: "teacher-forced",
    meaning: "given tokens, whatever a model would choose",
    inside: ["bench/", "cli/", "decoding/", "experiments/", "tests/cli/", "tests/decoding/"],
    allowed: ["isForced"],
    after: "teacher",
  },
  {
    words: ["watch", "watched"],
    instead: "observed",
    meaning: "attention that a step leaves behind for scores",
    inside: ["decoding/", "models/"],
  },
  {
    words: ["key format"],
    instead: "KV format",
    meaning: "how keys or values are stored; where values differ, keyFormat is that of the keys",
    allowed: ["keyFormat"],
  },
];

/** Phrases that a native engineer would not write, and what to write. */
export const PHRASES: Readonly<Record<string, string>> = {
  anew: "again",
  "one's own": "your own",
  "goes on where it was": "continues",
  "go on where": "continue where",
  "nobody asks": "not requested",
  "is said behind": "is printed after",
  "behind the answer": "after the answer",
  "behind the prompt": "after the prompt",
  "behind a prompt": "after a prompt",
  "behind a prefill": "after a prefill",
};

/** Rows of CONTRIBUTING's table: what to use, and what not. */
export function wordTable(): string[][] {
  return WORDS.map(({ words, also, instead, meaning }) => [
    `${instead}: ${meaning}`,
    [...words, ...also === undefined ? [] : [also]].join(", "),
  ]);
}

const root = new URL("../", import.meta.url).href;

/** Words of a name in lower case: of camel case, snake case and capitals. */
function wordsOf(name: string): string[] {
  const found = name.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+/g) ?? [];
  return found.map((word) => word.toLowerCase());
}

function isWithin(path: string, places: readonly string[]): boolean {
  return places.some((place) => place.endsWith("/") ? path.startsWith(place) : path === place);
}

/** The words that a file may not use. */
function bannedIn(path: string): readonly BannedWord[] {
  return WORDS.filter(({ inside, outside = [] }) =>
    (inside === undefined || isWithin(path, inside)) && !isWithin(path, outside)
  );
}

/** The spelling of a banned word in a name; undefined where the name is fine. */
function spellingIn(name: string, { words, allowed = [], after }: BannedWord): string | undefined {
  if (allowed.includes(name)) return undefined;
  const parts = wordsOf(name);
  return words.find((spelling) => {
    const wanted = spelling.split(" ");
    return parts.some((_, start) =>
      wanted.every((word, index) => parts[start + index] === word) &&
      (after === undefined || parts[start - 1] !== after)
    );
  });
}

const names: Deno.lint.Rule = {
  create(context) {
    const here = `file://${context.filename}`;
    const banned = here.startsWith(root) ? bannedIn(here.slice(root.length)) : [];
    const seen = new Set<string>();
    const check = (node: Deno.lint.Identifier | Deno.lint.PrivateIdentifier) => {
      if (seen.has(node.name)) return;
      seen.add(node.name);
      for (const word of banned) {
        const spelling = spellingIn(node.name, word);
        if (spelling === undefined) continue;
        context.report({
          node,
          message: `Cannot name this ${node.name}: ${spelling} is not one of the project's words`,
          hint: `Write ${word.instead}: ${word.meaning}`,
        });
      }
    };
    return { Identifier: check, PrivateIdentifier: check };
  },
};

/** Files that list the phrases. */
const LISTS = ["tools/words.ts", "tests/tools/words_test.ts"];
const PHRASE = new RegExp(`\\b(?:${Object.keys(PHRASES).join("|")})\\b`, "i");

const phrases: Deno.lint.Rule = {
  create(context) {
    if (LISTS.some((path) => `file://${context.filename}` === root + path)) return {};
    const check = (text: string, range: readonly [number, number]) => {
      const found = PHRASE.exec(text.replaceAll(/\s+(?:\*\s+)?/g, " "));
      if (!found) return;
      context.report({
        range: [...range],
        message: `Cannot write "${found[0]}": it is not plain English`,
        hint: `Write "${PHRASES[found[0].toLowerCase()]}"`,
      });
    };
    return {
      Program() {
        for (const { value, range } of context.sourceCode.getAllComments()) check(value, range);
      },
      Literal(node) {
        if (typeof node.value === "string") check(node.value, node.range);
      },
      TemplateElement(node) {
        check(node.cooked, node.range);
      },
    };
  },
};

/** Plugin named in `deno.json`; lint plugins are found by their default export. */
const plugin: Deno.lint.Plugin = { name: "words", rules: { names, phrases } };

export default plugin;
