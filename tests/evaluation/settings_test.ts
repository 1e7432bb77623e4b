import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { answerKey } from "../../evaluation/answer_row.ts";
import { evaluationSettings, parsePolicy, settingName } from "../../evaluation/settings.ts";

const names = (...policies: string[]) =>
  evaluationSettings({ policies, budgets: [0.1, { tokens: 64 }] })
    .map((setting) => [settingName(setting), setting.options.seed, setting.budget]);

Deno.test("evaluationSettings() runs the full cache once and draws with three seeds", () => {
  assertEquals(names("full", "h2o"), [
    ["full", undefined, { ratio: 1 }],
    ["h2o", undefined, { ratio: 0.1 }],
    ["h2o", undefined, { tokens: 64 }],
  ]);
  assertEquals(names("random").map(([, seed]) => seed), [1, 2, 3, 1, 2, 3]);
  assertEquals(names("random:seed=7").map(([, seed]) => seed), [7, 7]);
});

Deno.test("evaluationSettings() adds the small model alone, and the large one as its own small model", () => {
  const settings = evaluationSettings({
    policies: ["full", "smallkv", "smallkv"],
    budgets: [0.1],
    smallAlone: true,
    ownSmall: true,
  });
  assertEquals(settings.map(settingName), [
    "full",
    "smallkv",
    "smallkv (large model as small)",
    "small model alone",
  ]);
});

Deno.test("parsePolicy() reads options as flags spell them, and names of variants", () => {
  const rows = { policy: "smallkv", options: { normalise: "rows" } };
  assertEquals(parsePolicy("smallkv:normalize=rows"), rows as ReturnType<typeof parsePolicy>);
  assertEquals(parsePolicy("smallkvRows"), rows as ReturnType<typeof parsePolicy>);
  const cut = parsePolicy(
    " smallkv:sink=4:marginal=false:small-budget=40%:small-layers=2:small-cache-bits=8/4",
  );
  assertEquals(cut, {
    policy: "smallkv",
    options: { sink: 4, marginal: false },
    smallBudget: { ratio: 0.4 },
    smallLayers: 2,
    smallCacheBits: "8/4",
  });
  const name = settingName({ ...cut, pairing: "given" });
  assertEquals(
    name,
    "smallkv:marginal=false:sink=4:small-budget=0.4:small-cache-bits=8/4:small-layers=2",
  );
  assertEquals(parsePolicy(name), cut);
  const fitted = "smallkv_query_aware:match-by=fitted:score=row";
  assertEquals(parsePolicy(fitted).matchBy, "fitted");
  assertEquals(settingName({ ...parsePolicy(fitted), pairing: "given" }), fitted);
  const own = "smallkv_query_aware:small-layers=4:small-tokens=own";
  assertEquals(parsePolicy(own).smallTokens, "own");
  assertEquals(settingName({ ...parsePolicy(own), pairing: "given" }), own);
  assertEquals(parsePolicy("smallkv:small-tokens=large"), parsePolicy("smallkv"));
});

Deno.test("parsePolicy() quotes what is no value of an option", () => {
  for (const text of ["abc", "1,5", "NaN", "0x"]) {
    assertThrows(
      () => parsePolicy(`smallkv:score=decayed:decay=${text}`),
      RequirementError,
      `decay must lie between 0 and 1, both excluded: current value is ${text}`,
    );
  }
});

Deno.test("evaluationSettings() lets a large model in the small one's place read its own tokens", () => {
  const policies = ["smallkv:small-tokens=own", "smallkv"];
  const settings = evaluationSettings({ policies, budgets: [0.1], ownSmall: true });
  assertEquals(settings.map(settingName), [
    "smallkv:small-tokens=own",
    "smallkv (large model as small)",
    "smallkv",
  ]);
});

Deno.test("answerKey() tells apart whatever settings tell apart, but for who takes part", () => {
  const policies = [
    "smallkv",
    "smallkv:match-by=fitted",
    "smallkv:match-by=cosine",
    "smallkv:small-tokens=own",
    "smallkv:small-layers=2",
    "smallkv:small-budget=0.4",
    "smallkv:sink=4",
    "h2o",
  ];
  const settings = evaluationSettings({ policies, budgets: [0.1, 0.2] });
  const question = { task: "t", item: "i", prompt: "p", models: { large: "l", small: "s" } };
  const keys = settings.map((setting) => answerKey({ ...setting, ...question }));
  assertEquals(new Set(keys).size, 2 * policies.length);
  const own = answerKey({ ...settings[0]!, ...question, pairing: "own_small" });
  assertEquals(own, keys[0]);
});

Deno.test("evaluationSettings() refuses what is not known or changes nothing", () => {
  const refusals: [string, string][] = [
    ["h3o", "policy must be one of"],
    ["h2o:sinks=4", "options must be written NAME=VALUE"],
    ["h2o:sink", "options must be written NAME=VALUE"],
    ["h2o:sink=x", "sink must be an integer"],
    ["h2o:combine=joint", "options must be some of"],
    ["h2o:small-budget=0.4", "must go with a policy that asks the small model"],
    ["h2o:small-cache-bits=4", "must go with a policy that asks the small model"],
    ["smallkv:small-cache-bits=5", "small-cache-bits must be one of 16, 8, 8/4, 4"],
    ["h2o:small-tokens=own", "must go with a policy that asks the small model"],
    ["smallkv:small-tokens=own:small-budget=0.4", "must go without small-budget"],
    ["smallkv:small-tokens=mine", "small-tokens must be one of"],
    ["key_sketch:match-by=fitted", "must go with a policy that asks the small model"],
    ["smallkv:rest=mean:rest=none", "rest must be given once"],
    ["smallkv:match-by=best", "match-by must be one of"],
    ["smallkv:normalize=columns", "normalize must be one of"],
  ];
  for (const [text, message] of refusals) {
    assertThrows(() => names(text), RequirementError, message);
  }
  for (const budget of [0, 1.5, NaN, { tokens: 0 }]) {
    const run = () => evaluationSettings({ policies: ["h2o"], budgets: [budget] });
    assertThrows(run, RequirementError, "Cannot set a cache budget");
  }
  const none = () => evaluationSettings({ policies: [], budgets: [0.1] });
  assertThrows(none, RequirementError, "settings must be an integer at least 1");
  const noBudgets = () => evaluationSettings({ policies: ["full", "h2o"], budgets: [] });
  assertThrows(noBudgets, RequirementError, "budgets must be an integer at least 1");
});
