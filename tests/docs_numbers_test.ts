/**
 * Numbers of the documents against the stored results that they come from.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { formatOurs, formatPaper } from "../experiments/runner/verdict_table.ts";
import { gpuBackend, testBackends } from "./support/gpu.ts";
import {
  cell,
  claim,
  compareTable,
  compareWords,
  computed,
  INTERVAL,
  line,
  negated,
  read,
  recordOf,
  ROOT,
  type Source,
  type Table,
  tableRows,
  type Words,
} from "./support/stored_numbers.ts";

const REAL =
  "qwen2.5-coder-1.5b-instruct-q4-k-m_qwen2.5-coder-0.5b-instruct-q4-k-m_e4445e5e" as const;

const OTHER =
  "qwen2.5-coder-1.5b-instruct-q4-k-m_qwen2.5-coder-0.5b-instruct-q4-k-m_smollm2-135m-instruct.q4-1_994d08c0" as const;
const CHEAPER = `results/small/${OTHER}/cheaper_small`;
/** Observations of the real pair, with a third model. */
const observed = (name: string) => `results/small/${OTHER}/${name}`;

/** Stored results: of the embedded pair at two scales, and of the real one. */
const smoke = (name: string) => `results/smoke/${name}`;
const small = (name: string) => `results/small/${name}`;
const real = (name: string) => `results/small/${REAL}/${name}`;

const [BENCH, EXACT] = ["microworld_policies", "exact (%)"];
const budgetOf = (heading: string) => Number(/(\d+) %$/.exec(heading)![1]);
const REAL_NAMES: Readonly<Record<string, string>> = {
  "query-aware SmallKV (decay 0.5)": "query-aware SmallKV",
};

function realCell(row: string, heading: string): Source {
  const column = heading.startsWith("same choice")
    ? "same choice (%)"
    : heading.startsWith("churn")
    ? "churn (%)"
    : "KL mean (nats)";
  const keys = [REAL_NAMES[row] ?? row, budgetOf(heading)];
  return cell(real("kl_by_policy"), "kl_by_policy", keys, column);
}

const TABLES: readonly Table[] = [
  {
    document: "README.md",
    heading: "95 % interval",
    source: (row, column) => cell(small("microworld_tasks"), BENCH, [row, budgetOf(column)], EXACT),
  },
  { document: "README.md", heading: "nats a token, 95 % interval", source: realCell },
  {
    document: "docs/results.md",
    heading: "exact answers, 95 % interval",
    source: (row, column) => cell(small("microworld_tasks"), BENCH, [row, budgetOf(column)], EXACT),
  },
  {
    document: "docs/results.md",
    heading: "mean KL to the full cache, nats a token",
    source: realCell,
  },
  { document: "docs/results.md", heading: "mean KL, nats a token", source: totalCell },
  {
    document: "docs/results.md",
    heading: "mean KL, nats a token, by small model",
    source: (row, column) =>
      column.endsWith("%")
        ? cell(CHEAPER, "cheaper_small", [row, budgetOf(column)], "KL mean (nats)")
        : cell(CHEAPER, "cheaper_small", [row, 5], CHEAPER_COLUMNS[column]!),
  },
];

const CHEAPER_COLUMNS: Readonly<Record<string, string>> = {
  "its cache": "small model's cache (%)",
  "its weights, MiB": "weights (MiB)",
};

const pair = (label: string, budget: number) =>
  cell(real("kl_by_policy"), "kl_pairs", [label, budget], "nats");
const pairs = (label: string, budgets = [5, 10, 20, 40]) =>
  budgets.map((budget) => pair(label, budget));
const ranked = (score: string) =>
  cell(real("selection_quality"), "selection_quality", [10, score], "all tokens (%)");
const embedded = (policy: string, budget: number, column: string) =>
  cell(small("microworld_tasks"), BENCH, [policy, budget], column);
const kl = (policy: string, budget: number, column: string) =>
  cell(real("kl_by_policy"), "kl_by_policy", [policy, budget], column);
const equal = (policy: string) =>
  cell(real("kl_by_policy"), "kl_equal_memory", [policy, 10], "H2O minus policy");

/** Columns of the equal totals' table by total, and its rows by policy. */
const TOTAL_POLICIES: Readonly<Record<string, string>> = {
  "`key_sketch`, two bits, rest as one token": "key_sketch:rest=mean",
  H2O: "h2o",
  "SmallKV by current row": "smallkv_query_aware:score=row",
  "SmallKV by a fitted map of heads": "smallkv_query_aware:match-by=fitted:score=row",
  "the same, rest as one token": "smallkv_query_aware:match-by=fitted:rest=mean:score=row",
};
const COUNTED = "caches and sketches";

function totalCell(row: string, heading: string): Source {
  const total = Number(/^\d+/.exec(heading)![0]);
  if (!row.startsWith("H2O minus")) {
    const keys = [TOTAL_POLICIES[row]!, total, COUNTED];
    return computed(real("equal_memory"), (record) => {
      const { rows } = record.tables.find(({ name }) => name === "equal_memory_totals")!;
      const fits = rows.some((row) => keys.every((key) => row.slice(0, 3).includes(key)));
      return fits ? cell(real("equal_memory"), "equal_memory_totals", keys, KL).find(record) : [];
    });
  }
  const keys = [total, COUNTED, "h2o minus key_sketch:rest=mean"];
  return computed(real("equal_memory"), (record) => {
    const read = (column: string) =>
      cell(real("equal_memory"), "equal_memory_best", keys, column).find(record);
    return [...read("nats"), ...read("p, corrected")];
  });
}
const atBudget = (policy: string, budget: number, column: string) =>
  cell(real("equal_memory"), "equal_memory_budgets", [policy, budget], column);
const [SKETCH, ROW] = ["key_sketch:rest=mean", "smallkv_query_aware:score=row"] as const;
const FITTED = ["rest=mean:score=row", "score=row"].map((rest) =>
  `smallkv_query_aware:match-by=fitted:${rest}`
);
const KL = "KL mean (nats)";

/** Arithmetic claims of Table 2 on printed throughputs, and those that hold. */
const throughputs = computed(smoke("table2"), ({ claims }) => {
  const printed = claims.filter(({ id }) => id >= "C19" && id <= "C26");
  return [printed.filter(({ verdict }) => verdict === "reproduced").length];
});
const exactByTask = (of: (...values: number[]) => number) =>
  computed(small("microworld_tasks"), ({ tables }) => {
    const { columns, rows } = tables.find(({ name }) => name === "microworld_tasks")!;
    const full = rows.filter((row) => row.includes("full cache"));
    assertEquals(full.length, 7);
    return [of(...full.map((row) => row[columns.indexOf(EXACT)] as number))];
  });
const smallShare = computed(real("kl_by_policy"), (record) => {
  const [all] = kl("SmallKV", 5, "with helper's cache (%)").find(record);
  const [seen] = kl("SmallKV", 5, "cache seen (%)").find(record);
  return [all! - seen!];
});

/** A claim of both pairs, the embedded one first. */
const both = (name: string, key: string) =>
  [smoke(name), observed(name)].map((path) => claim(path, key));
const [OVERLAPS, FAMILIES] = ["fig1b_curves", "fig9_cosines"];
const overlap = (set: string) => cell(observed("fig1b"), OVERLAPS, [set, 10], "Jaccard");
const families = (compared: string) =>
  cell(observed("fig9"), FAMILIES, [compared], "without the first 4");
const gsm8kHeads = (head: string, column: string) =>
  cell(observed("table7_8"), "table7_8_gsm8k", [head, "all"], column);

const [LOSS, RANK] = [real("loss_prediction"), "rank correlation"];

const RESULTS: readonly Words[] = [
  ["random sets | not printed | #[] | #[]", ...both("fig1b", "aboveRandom")],
  ["those after the drop | not printed | #[] | #[]", ...both("fig1b", "guidedGain")],
  ["0.947 (Qwen2 0.5B / 7B) | #[] | #[]", ...both("fig1c", "meanCosine")],
  ["that of random heads | not printed | #[] | #[]", ...both("fig1c", "gainOverRandom")],
  ["that of the mean of all heads | not printed | #[] | #[]", ...both("fig1c", "gainOverMean")],
  ["minus the mean of all heads | not printed | #[] | #[]", ...both("fig1c", "gainWithoutFirst")],
  ["78.22 % | – | #[]", claim(observed("fig8"), "above90")],
  ["96.21 % | – | #[]", claim(observed("fig8"), "above80")],
  ["0.02 % | – | #[]", claim(observed("fig8"), "below50")],
  ["same family | 0.9622 | #[] | #[]", ...both("fig9", "sameFamily")],
  ["across families | 0.6917 | – | #[]", claim(observed("fig9"), "crossFamily")],
  ["next 5 % | 7 | – | #[]", claim(observed("fig2"), "firstOverSecond")],
  ["after turn 1 | 0.951 | #[] | #[]", ...both("table9", "remaining")],
  ["take most of the attention, by #[]", claim(observed("fig1c"), "gainWithoutFirst")],
  ["as much as a cosine of #.", claim(observed("fig9"), "crossFamily")],
  [
    "that is #[], near the 0.6917 that the paper prints, and within the family #[]",
    families("large and third model, by words"),
    families("large and small, by words"),
  ],
  [
    "overlap those of the full cache by #[], those after a real drop by #[]",
    overlap("small-model-guided, matched by Jaccard (SmallKV)"),
    overlap("the model's own, after the real drop"),
  ],
  [
    "GSM8K #[] for #[], with a Jaccard of #[] for #[]",
    ...["cosine", "Jaccard"].flatMap((column) => [
      gsm8kHeads("matched by cosine", column),
      gsm8kHeads("matched by Jaccard (the paper)", column),
    ]),
  ],
  ["the difference being #[]", claim(observed("matching_window"), "longerWindowGain")],
  ["8 values | # of 8 follow", throughputs],
  [
    "The full cache answers #[], and # to # % of each task",
    embedded("full cache", 100, EXACT),
    exactByTask(Math.min),
    exactByTask(Math.max),
  ],
  ["it sees # % of the cache there", embedded("PyramidInfer", 10, "cache seen (%)")],
  [
    "the divergence of H2O by #[] and that of the paper's preset by #[]",
    claim(real("kl_by_policy"), "queryAwareGain"),
    claim(real("kl_by_policy"), "presetGain"),
  ],
  [
    "H2O minus SmallKV is #[] at 5 %, #[] at 10 %, #[] at 20 % and #[] at 40 %",
    ...pairs("H2O minus SmallKV"),
  ],
  ["are worth #[] at 20 %", pair("SmallKV without marginal minus SmallKV", 20)],
  [
    "at every budget, by #[], #[], #[] and #[]",
    ...pairs("H2O minus SmallKV by means over rows"),
  ],
  [
    "the same divisor, by #[], #[] and #[]",
    ...pairs("H2O by means over rows minus SmallKV by means over rows", [10, 20, 40]),
  ],
  ["sums over the full cache hold #[]", ranked("large model, accumulated over the full cache")],
  ["the small model's sums #[]", ranked("small model, accumulated (SmallKV)")],
  ["by H2O #[],", ranked("H2O, dropped for good")],
  ["small model's current row #[]", ranked("small model, current row")],
  ["the upper bound, #[]", ranked("large model, current row (upper bound)")],
  [
    "preset's decay of 0.5 by #[] at 10 %",
    pair("query-aware SmallKV minus SmallKV by current row", 10),
  ],
  [
    "for # instead of # % exchanged at 10 %",
    cell(real("decay_choice"), "decay_choice", ["decay 0.7", 10], "churn (%)"),
    cell(real("decay_choice"), "decay_choice", ["decay 0.5", 10], "churn (%)"),
  ],
  [
    "at 10 % (# % in all) stays below",
    kl("query-aware SmallKV", 10, "with helper's cache (%)"),
  ],
  ["Its cache is # % of the large one's", smallShare],
  ["H2O at 40 % by #[]", equal("query-aware SmallKV")],
  ["preset at 10 % lies #[] above it", negated(equal("SmallKV"))],
  ["PyramidInfer on #[] of tasks", claim(real("fig5"), "cellsAhead")],
  [
    "agreement is #[] lower with two fifths of its cache",
    negated(claim(real("table5"), "highHelperLoss")),
  ],
  ["and #[] lower with a fifth", claim(real("table5"), "lowHelperLoss")],
  [
    "diverges there by # nats at 20 %, against # in the older record above",
    cell(real("table5"), "table5_helpers", ["SmallKV", 20], "KL mean (nats)"),
    kl("SmallKV", 20, "KL mean (nats)"),
  ],
  [
    "(# and # % of the cache at 5 %)",
    kl("SnapKV", 5, "cache seen (%)"),
    kl("PyramidInfer", 5, "cache seen (%)"),
  ],
  [
    "# % in all and at most # %, sketches with the rest diverge by #[] and choose the full cache's token at #[] of the steps",
    atBudget(SKETCH, 5, "decoding (%)"),
    claim(real("equal_memory"), "sketchTotal"),
    claim(real("equal_memory"), "sketchKl"),
    claim(real("equal_memory"), "sketchSame"),
  ],
  [
    "with 10 %, # % in all, by #[] and at # %",
    atBudget(SKETCH, 10, "decoding (%)"),
    atBudget(SKETCH, 10, KL),
    atBudget(SKETCH, 10, "same choice (%)"),
  ],
  [
    "(# against # at 5 %, # against # at 10 %)",
    ...[5, 10].flatMap((budget) => [SKETCH, ROW].map((policy) => atBudget(policy, budget, KL))),
  ],
  [
    "less in the mean at 5 % (# against #)",
    atBudget(SKETCH, 5, KL),
    atBudget("h2o", 40, KL),
  ],
  ["seven of twelve prompts (#[])", claim(real("equal_memory"), "sketchBelowH2o")],
  [
    "it diverges #[] times as much at 5 % and #[] times at 10 %",
    claim(real("equal_memory"), "fitted5"),
    claim(real("equal_memory"), "fitted10"),
  ],
  [
    "(# against # nats at 5 %, # against # at 10 %)",
    ...[5, 10].flatMap((budget) => FITTED.map((policy) => atBudget(policy, budget, KL))),
  ],
  [
    "At 10 % the rank correlation is #[], and similarity explains #[] of the variance",
    claim(LOSS, "headRank"),
    claim(LOSS, "headExplained"),
  ],
  [
    "all heads agree, the correlation is #[].",
    cell(LOSS, "loss_prediction_heads", [10, "similarity without the first 4"], RANK),
  ],
  ["mean on other texts explains #[]", claim(LOSS, "otherExplained")],
  ["the rank correlation is #[] at 10 %", claim(LOSS, "textRank")],
  ["explains (#[] held out)", claim(LOSS, "textExplained")],
  [
    "is the better predictor, with #[]",
    cell(LOSS, "loss_prediction_texts", [20, "attention kept"], RANK),
  ],
  [
    "one of 4 bits multiplies the divergence by #[] at 5 % and by #[] at 10 %",
    claim(CHEAPER, "bits5"),
    claim(CHEAPER, "bits10"),
  ],
  [
    "8 of 24 layers diverges #[] times as much as one over all of them at 5 %, and #[] times at 10 %",
    claim(CHEAPER, "third5"),
    claim(CHEAPER, "third10"),
  ],
  [
    "SmolLM2 135M multiplies the divergence of matched rows by #[] at 5 % and by #[] at 10 %",
    claim(CHEAPER, "own5"),
    claim(CHEAPER, "own10"),
  ],
];

for (const table of TABLES) {
  Deno.test(`${table.document}: the table "${table.heading}" has the stored numbers`, async () => {
    assert(await compareTable(table) > 0);
  });
}

Deno.test("docs/results.md: numbers in sentences are the stored ones, and none is left out", async () => {
  const document = "docs/results.md";
  let rest = line(document);
  for (const words of RESULTS) rest = rest.replace(await compareWords(document, words), "");
  for (const table of TABLES.filter((table) => table.document === document)) {
    for (const row of tableRows(table)) rest = rest.replace(row.join(" | "), "");
  }
  // docs_scores_test.ts and `deno task ok` compare these.
  rest = rest.replaceAll(/<!-- Written by .*?<!-- End of what is written -->/g, "");
  const intervals = rest.match(new RegExp(INTERVAL, "g"));
  assertEquals(intervals ?? [], []);
});

Deno.test("README.md: the cosine of matched heads of the real pair is the stored one", async () => {
  await compareWords("README.md", [
    "have a cosine of #[], #[] above random ones",
    claim(observed("fig1c"), "meanCosine"),
    claim(observed("fig1c"), "gainOverRandom"),
  ]);
});

Deno.test("README.md: the excerpt of the verdicts has stored results of the command above it", async () => {
  const excerpt = [...read("README.md").matchAll(/^(C\d\d) (.+?) {2,}(.+?) {2,}(.+?) {2,}(.+)$/gm)];
  assert(excerpt.length >= 3);
  const names = ["arithmetic", "fig1b", "fig1c"];
  const claims = (await Promise.all(names.map((name) => recordOf(smoke(name)))))
    .flatMap((record) => record.claims);
  for (const [whole, id, words, paper, ours, verdict] of excerpt) {
    const found = claims.filter((claim) =>
      claim.id === id && words!.startsWith(claim.statement) && claim.ours !== undefined
    );
    assertEquals(found.length, 1, whole);
    const stored = [formatPaper(found[0]!), formatOurs(found[0]!), found[0]!.verdict];
    assertEquals([paper, ours, verdict], stored, whole);
  }
});

/** Words of a command in a fixed order, without the places of files. */
function normalized(command: string): string {
  const [name, ...words] = command.replace(/^.*task reproduce ?/, "").split(" ");
  const options = words.join(" ").match(/--\w+(?: [^-\s]\S*)?/g) ?? [];
  const places = /^(--(?:large|small|other|data|out)) .*/;
  return [name, ...options.map((option) => option.replace(places, "$1")).sort()].join(" ");
}

Deno.test("commits beside numbers are those of the stored results", async () => {
  const rows = [
    ...read("docs/results.md").matchAll(/^\| .*?\.\.\/(results\/.*?)\.md\) *\|.*?\| (\S+)/gm),
  ];
  assert(rows.length >= 9);
  for (const [, path, commit] of rows) {
    assertEquals(
      commit,
      (await recordOf(path!)).environment.commit!.slice(0, commit!.length),
      path,
    );
  }
  const readme = [...line("README.md").matchAll(/measured at commit (\w{7})/g)].map(([, hex]) =>
    hex
  );
  const used = [smoke("fig1b"), small("microworld_tasks"), real("kl_by_policy")].map(recordOf);
  const commits = (await Promise.all(used)).map(({ environment }) =>
    environment.commit!.slice(0, 7)
  );
  assertEquals(readme, commits);
});

Deno.test("commands beside numbers are those that measured them", async () => {
  for (const document of ["README.md", "docs/results.md"]) {
    const text = read(document);
    const printed = [...text.replaceAll(/\s+/g, " ").matchAll(/`deno task reproduce (\w[^`]*)`/g)];
    const used = document === "README.md"
      ? [small("microworld_tasks"), real("kl_by_policy")]
      : [...new Set(RESULTS.flatMap(([, ...sources]) => sources.map(({ path }) => path)))];
    for (const path of used) {
      const { command, name } = await recordOf(path);
      const ofName = printed.map(([, words]) => normalized(words!))
        .filter((words) =>
          words.split(" ")[0] === name &&
          words.includes("--large") === [REAL, OTHER].some((pair) => path.includes(pair))
        );
      const hasLink = text.includes(`${path}.md`);
      assert(ofName.length > 0 || hasLink, `${document} must print the command of ${path}`);
      for (const words of ofName) assertEquals(words, normalized(command), `${document}: ${path}`);
    }
  }
});

Deno.test({
  name: "README.md: the first command prints the lines below it",
  ignore: !testBackends.includes(gpuBackend),
  async fn() {
    const readme = read("README.md");
    const [, words] = /task (generate --compare .*)/.exec(readme)!;
    const shown = /^```text\n(policy .*?)^```/ms.exec(readme)![1]!.trimEnd().split("\n");
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${ROOT}cli.ts`, ...words!.split(" ")],
      stderr: "null",
    }).output();
    const printed = new TextDecoder().decode(stdout).split("\n");
    for (const line of shown) assert(printed.includes(line), line);
  },
});
