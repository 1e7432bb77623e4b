import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { answerAll, type AnswerRequest } from "../../../decoding/text/answers.ts";
import { RequirementError } from "../../../core/check.ts";
import { answerAlone } from "./alone.ts";
import { randomPair, randomText, SHAPES } from "../../invariants/random_pair.ts";

const SETTINGS = [
  { policy: "full", budget: { ratio: 1 } },
  { policy: "h2o", budget: { ratio: 0.2 } },
  { policy: "smallkv", budget: { ratio: 0.2 } },
];

function request(key: string, more: Partial<AnswerRequest> = {}): AnswerRequest {
  return {
    ...{ key, prefix: randomText(1, 100), turns: [randomText(2, 30)], stopTexts: [] },
    ...{ maxTokens: 8, settings: [0, 1, 2], ...more },
  };
}

Deno.test("answerAll() reads a turn under the policy where the cache is compressed before it", async () => {
  using pair = await randomPair("cpu", { shape: SHAPES[0]!, seed: 1 });
  const split = { compressAfter: "prefix", prefix: randomText(1, 120) } as const;
  const requests = [request("one", split), request("two", { ...split, turns: [randomText(3, 9)] })];
  const options = { settings: SETTINGS, requests, capacity: 160 };
  const answers = await Array.fromAsync(answerAll(pair, options));
  for (const { key, setting, turns, promptTokens } of answers) {
    const one = requests.find((candidate) => candidate.key === key)!;
    const alone = await answerAlone(pair, one, SETTINGS[setting]!);
    assertEquals(turns.map(({ tokens }) => tokens), alone.turns);
    assertEquals(promptTokens, 120 + one.turns[0]!.length);
  }
  const whole = await Array.fromAsync(
    answerAll(pair, {
      ...options,
      requests: requests.map((one) => ({ ...one, compressAfter: "prompt" })),
    }),
  );
  const tokensOf = (list: typeof answers, wanted: number) =>
    list.filter(({ setting }) => setting === wanted).map(({ key, turns }) => [key, turns]).sort();
  assertEquals(tokensOf(whole, 0), tokensOf(answers, 0));
  assertNotEquals(tokensOf(whole, 1), tokensOf(answers, 1));
  const none = request("none", { compressAfter: "prefix", prefix: [] });
  const run = () => Array.fromAsync(answerAll(pair, { ...options, requests: [none] }));
  await assertRejects(run, RequirementError, "tokens of the prefix must be an integer at least 1");
});
