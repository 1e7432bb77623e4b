import { assertEquals, assertMatch, assertNotEquals, assertNotMatch } from "@std/assert";
import { writeFile } from "node:fs/promises";
import { type Choice, flagOf } from "../../cache/choice.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import {
  acceptedOptions,
  createPolicy,
  type OptionName,
  POLICY_CHOICES,
} from "../../cache/policy_options.ts";
import { CommandCall } from "../../cli/command.ts";
import { generateCommand } from "../../cli/generate.ts";
import { readRequest } from "../../cli/generate_settings.ts";
import { run, withFolder } from "./generate_run.ts";

/** Options without which an option is refused. */
const GO_WITH: Readonly<Record<string, readonly string[]>> = {
  decay: ["--score", "decayed"],
  change: ["--interval", "4"],
};

/** A value that an option does not have by default, and the words for it. */
function otherValue(name: string, choice: Choice): [unknown, string[]] {
  const { switches, values, range, usual } = choice;
  const [flag, made] = Object.entries(switches ?? {})[0] ?? [];
  if (flag !== undefined) return [made!.value, [`--${flag}`]];
  const value = values?.findLast((one) => one !== usual) ?? (range!.isInteger ? 7 : 0.25);
  return [value, [`--${flagOf(name, choice)}`, String(value)]];
}

Deno.test("every option of a policy reaches the policy", () => {
  const command = generateCommand({ openEngine: () => Promise.reject(new Error("not opened")) });
  for (const [name, choice] of Object.entries<Choice>(POLICY_CHOICES)) {
    const holders = POLICIES.filter((one) => acceptedOptions(one).includes(name as OptionName));
    const policy = holders.find((one) => one.name === "smallkv") ?? holders[0]!;
    const [value, words] = otherValue(name, choice);
    const all = ["--policy", policy.name, ...words, ...GO_WITH[name] ?? []];
    const { policies: [read] } = readRequest(new CommandCall(command, all));
    const made = createPolicy(policy.name, {
      [name]: value,
      ...(name === "decay" && { score: "decayed" }),
      ...(name === "change" && { interval: 4 }),
    });
    assertEquals(JSON.stringify(read), JSON.stringify(made), all.join(" "));
    const usual = createPolicy(policy.name);
    assertNotEquals(JSON.stringify(read), JSON.stringify(usual), all.join(" "));
  }
});

Deno.test("generate says what is wrong with its options and ends with 2", async () => {
  const cases: [string[], RegExp][] = [
    [["--policy", "best"], /--policy must be one of .*, full, h2o, .*: current value is best/],
    [["--compare", "full,best"], /--compare must list some of .*, full, .*: current value is best/],
    [["--compare", "full", "--policy", "h2o"], /exclude each other/],
    [
      ["--compare", "full,h2o", "--score", "row"],
      /options of policy h2o must be some of --base, .*: current value is --score/,
    ],
    [["--compare", "h2o,smallkv", "--decay", "0.8"], /--decay must go with --score decayed/],
    [["--score", "best"], /--score must be one of accumulated, decayed, row/],
    [["--policy", "h2o", "--score", "row"], /options of policy h2o .*: current value is --score/],
    [["--policy", "h2o", "--no-marginal"], /some of --base, .*: current value is --no-marginal/],
    [["--policy", "full", "--sink", "4"], /must be some of none: current value is --sink/],
    [["--decay", "0.8"], /--decay must go with --score decayed: current value is accumulated/],
    [["--no-marginal", "--drop-marginal"], /exclude each other/],
    [["--no-marginal", "--combine", "joint"], /--combine must go with marginal tokens/],
    [["--base", "prompt", "--budget", "64t"], /: --base prompt must go with a share of the cache/],
    [["--positions", "cache"], /--positions must be one of original, slot/],
    [["--policy", "full", "--positions", "slot"], /some of none: current value is --positions/],
    [
      ["--positions", "slot", "--granularity", "query_head"],
      /--positions must go with --granularity kv_head, kv_match or layer if it is slot/,
    ],
    [["--speculate", "2", "--positions", "slot"], /--speculate: --positions must be original/],
    [["--normalise", "columns"], /--normalise must be one of none, rows/],
    [
      ["--score", "decayed", "--decay", "1"],
      /: --decay must lie between 0 and 1, both excluded: current value is 1/,
    ],
    [["--combine", "oracle_eq6"], /--combine must be one of joint, /],
    [["--budget", "0"], /--budget must be a share above 0.*: current value is 0/],
    [["--budget", "1.5"], /current value is 1\.5/],
    [["--budget", "much"], /current value is much/],
    [["--budget=-0.2"], /current value is -0\.2/],
    [["--max-new", "0"], /--max-new must be an integer from 1 to/],
    [["--turns", "a", "--compare", "h2o"], /--turns and --compare exclude each other/],
    [["--turns", "a", "--json", "--trace", "1"], /--turns and --trace exclude each other/],
    [["--speculate", "16"], /--speculate must be an integer from 0 to 15: current value is 16/],
    [["--speculate", "2", "--policy", "h2o"], /--speculate: the policy must be .* smallkv/],
    [["--speculate", "2", "--compare", "h2o,tova"], /the policy must be one with a small model/],
    [["--speculate", "2", "--store", "tiered"], /--speculate: the --store must be resident/],
    [["--speculate", "2", "--helper-layers", "1"], /must run all of its layers, .* value is 1/],
    [["--speculate", "2", "--reference-tokens", "a.json"], /exclude each other/],
    [["--ignore-end", "--reference-tokens", "a.json"], /exclude each other/],
    [["--ahead", "17"], /--ahead must be an integer from 1 to 16: current value is 17/],
    [["--ahead", "8", "--stats"], /--ahead and --stats exclude each other/],
    [["--ahead", "8", "--top-k", "2"], /--ahead and --top-k exclude each other/],
    [["--ahead", "8", "--speculate", "2"], /--ahead and --speculate exclude each other/],
    [["--ahead", "8", "--small-tokens", "own"], /--ahead and --small-tokens exclude each other/],
    [["--ahead", "8", "--store", "tiered"], /--ahead: the --store must be resident/],
    [
      ["--ahead", "8", "--policy", "h2o"],
      /--ahead: the policy must choose .*: current policy is h2o/,
    ],
    [["--temperature", "0", "--top-k", "2"], /--top-k must go with a --temperature above 0/],
    [["--temperature", "0", "--seed", "2"], /options of policy smallkv .*: .* is --seed/],
    [["--block", "shared"], /--block must come with --speculate/],
    [["--speculate", "2", "--block", "one"], /--block must be one of shared, per_query/],
    [["--trace", "1"], /--trace must come with --json/],
    [["--json", "--trace", "0"], /--trace must list steps from 1 on/],
    [["--tokens", "a.json", "--prompt", "b"], /exclude each other/],
    [
      ["--large", "l.gguf"],
      /--small must be given with --large for a policy that asks the small model/,
    ],
    [["--small", "s.gguf"], /--large must be given with --small/],
    [
      ["--large", "l.gguf", "--small", "s.gguf", "--policy", "h2o"],
      /--small must go with a policy that asks the small model, .*: current value is h2o/,
    ],
    [["--match-map", "m.json", "--rematch", "9"], /--match-map and --rematch exclude each other/],
    [
      ["--match-by", "cosine", "--match-ties", "first"],
      /--match-ties must go with --match-by jaccard: current value is cosine/,
    ],
    [
      ["--match-by", "cosine", "--match-top", "0.1"],
      /--match-top must go with --match-by jaccard: current value is cosine/,
    ],
    [["--match-top", "0"], /--match-top must be a share above 0/],
    [["--match-top", "2"], /as 40t: current value is 2/],
    [["--match-side", "left"], /--match-side must be one of head, tail, tail_rows/],
    [["--match-map", "m.json", "--match-top", "40t"], /exclude each other/],
    [
      ["--policy", "h2o", "--match-window", "150"],
      /--match-window must go with a policy that asks/,
    ],
    [["--match-by", "best"], /--match-by must be one of jaccard, cosine, fitted/],
    [["--fit-rows", "8"], /--fit-rows must go with --match-by fitted: current by is jaccard/],
    [
      ["--match-by", "fitted", "--match-window", "150"],
      /--match-window must go with --match-by jaccard or cosine/,
    ],
    [["--match-by", "fitted", "--fit-heads", "0"], /--fit-heads must be an integer from 1 to 64/],
    [["--match-by", "fitted", "--fit-ridge", "-1"], /--fit-ridge must be/],
    [
      ["--match-by", "fitted", "--speculate", "2"],
      /--speculate: heads must be matched: current value is a fitted map/,
    ],
    [["--match-map", "m.json", "--fit-rows", "40"], /exclude each other/],
    [["--policy", "h2o", "--fit-rows", "40"], /--fit-rows must go with a policy that asks/],
    [["--rematch", "0"], /--rematch must be an integer from 1 to/],
    [["--match-window", "50"], /--match-window must be an integer from 100 to/],
    [["--wings"], /options must be those that --help lists: current value is --wings$/m],
    [["--budgte", "1"], /current value is --budgte; did you mean --budget\?/],
    [["--maxnew", "1"], /did you mean --max-new\?/],
    [["-p", "a"], /current value is -p$/m],
    [["--policy", "full", "--budget", "0.2"], /--budget must go with a policy that compresses/],
    [["--temperature", "-1"], /--temperature must be a finite number of at least 0: .* is -1/],
    [["--top-p", "2"], /--top-p must be above 0 and at most 1: current value is 2/],
    [["--top-k", "many"], /--top-k must be a number: current value is many/],
    [["--top-k", "0"], /--top-k must be an integer of at least 1: current value is 0/],
    [["--top-k", "2", "--speculate", "2"], /--top-k and --speculate exclude each other/],
    [["--seed", "2"], /options of policy smallkv .*: current value is --seed/],
    [["--turns", "a", "--turn-block", "4"], /--turn-block: the policy must drop for good/],
    [
      ["--turns", "a", "--policy", "h2o", "--turn-block", "200"],
      /--turn-block must be an integer from 1 to 128/,
    ],
  ];
  for (const [words, message] of cases) {
    const { code, error } = await run(words);
    assertMatch(error, message);
    assertEquals(code, 2, words.join(" "));
  }
});

Deno.test("generate refuses input that does not fit with 1", () =>
  withFolder(async (place) => {
    await writeFile(place("large.json"), "[0,768]");
    await writeFile(place("long.json"), JSON.stringify(Array(500).fill(1)));
    const cases: [string[], RegExp][] = [
      [["--tokens", place("large.json")], /token 1 must be an integer from 0 to 767/],
      [["--tokens", place("long.json"), "--max-new", "64"], /512: current value is 500 \+ 64/],
      [["--tokens", place("none.json")], /the file must exist/],
      [["--reference-tokens", place("large.json")], /token 1 must be an integer/],
      [["--match-top", "400t"], /Cannot match heads: --match-top must be an integer from 1 to 200/],
    ];
    for (const [words, message] of cases) {
      const { code, error } = await run(words);
      assertMatch(error, message);
      assertEquals(code, 1, words.join(" "));
    }
  }));

Deno.test("generate refuses cuts that leave nothing of the small model, and cuts without one", async () => {
  for (
    const [words, message] of [
      [["--helper-layers", "0"], /--helper-layers must be an integer/],
      [
        ["--helper-layers", "7"],
        /layers that run must be an integer from 1 to 3: current value is 7/,
      ],
      [["--helper-budget", "0"], /--helper-budget must be a share above 0/],
      [["--helper-budget", "120%"], /current value is 120%/],
      [
        ["--policy", "h2o", "--helper-layers", "2"],
        /--helper-layers must go with a policy that asks the small model, such as smallkv: current value is h2o/,
      ],
      [["--compare", "h2o,tova", "--helper-budget", "0.4"], /--helper-budget must go with/],
    ] as const
  ) {
    const { code, error } = await run(words);
    assertNotEquals(code, 0);
    assertMatch(error, message);
  }
});

Deno.test("generate lets the small model read in tokens of its own, with its whole cache and without drafts", async () => {
  const short = ["--device", "cpu", "--max-new", "3"];
  const own = await run([...short, "--small-tokens", "own"]);
  assertEquals(own.code, 0, own.error);
  assertEquals(own.out, (await run(short)).out, "the embedded pair has one tokenizer");
  for (const other of [["--small-budget", "0.4"], ["--speculate", "2"]]) {
    const { code, error } = await run([...other, "--small-tokens", "own"]);
    assertEquals(code, 2);
    assertMatch(error, /small-tokens/);
  }
  const { error } = await run(["--policy", "h2o", "--small-tokens", "own"]);
  assertMatch(error, /--small-tokens must go with .*: current value is h2o/);
});

Deno.test("generate accepts former names of flags, repeats them in errors, and does not list them", async () => {
  const { out } = await run(["--help"]);
  for (
    const [current, former] of [
      ["small-budget", "helper-budget"],
      ["small-layers", "helper-layers"],
      ["normalize", "normalise"],
      ["match-normalize", "match-normalise"],
    ]
  ) {
    assertMatch(out, new RegExp(`--${current} `));
    assertNotMatch(out, new RegExp(`--${former}`));
    for (const name of [current, former]) {
      const { code, error } = await run([`--${name}=`]);
      assertMatch(error, new RegExp(`--${name} must have a value`));
      assertEquals(code, 2);
    }
  }
  for (const [policy, name] of [["h2o", "small-layers"], ["tova", "helper-layers"]] as const) {
    const { error } = await run(["--policy", policy, `--${name}`, "2"]);
    assertMatch(error, new RegExp(`--${name} must go with .*: current value is ${policy}`));
  }
});
