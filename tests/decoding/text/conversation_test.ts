import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { evaluationItems } from "../../../data/microworld.ts";
import {
  type AnswerOptions,
  Conversation,
  type ConversationOptions,
} from "../../../decoding/text/conversation.ts";
import { Session } from "../../../decoding/session/session.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const backend = testBackends[0]!;
const TEXT = evaluationItems("qa", { count: 1 })[0]!.prompt;
/** Messages between markers that the tokenizer spells out. */
const TEMPLATE =
  "{% for m in messages %}<{{ m.role }}> {{ m.content }} </>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

async function answer(conversation: Conversation, text: string, options: AnswerOptions) {
  const tokens: number[] = [];
  const steps: number[] = [];
  const said = conversation.say(text, {
    stopTokens: [],
    ...options,
    onStep: (step) => void steps.push(step.tokens[0]!),
  });
  while (true) {
    const { value, done } = await said.next();
    if (done) return { tokens, steps, statistics: value };
    tokens.push(value.tokenId);
  }
}

Deno.test("Conversation at full budget answers each turn as one long text would be continued", async () => {
  const pair = await embeddedModels(backend);
  const { tokenizer } = pair.large;
  const settings: ConversationOptions[] = [
    { policy: "smallkv" },
    { policy: "smallkv", store: "tiered" },
    { policy: "h2o" },
    { policy: "smallkv", speculative: 3 },
  ];
  for (const options of settings) {
    using conversation = new Conversation(pair, { budget: 1, capacity: 400, ...options });
    const all = tokenizer!.encode(TEXT.slice(0, 500));
    using whole = new Session(pair.large, { capacity: 400 });
    const turns = [TEXT.slice(0, 500), " What has Uma?", " Where is Vic?"];
    for (const [index, turn] of turns.entries()) {
      const start = whole.lengths[0]!;
      if (index > 0) all.push(...tokenizer!.encode(turn, { addSpecialTokens: false }));
      await whole.prefill(all.slice(start));
      const expected = [...await whole.nextTokens(), ...(await whole.decode(4))[0]!];
      whole.rewind(all.length);
      const { tokens, steps, statistics } = await answer(conversation, turn, { maxNewTokens: 5 });
      assertEquals(tokens, expected, JSON.stringify(options));
      assertEquals(steps, [1, 2, 3, 4].map((step) => all.length + step));
      // The cache lacks only the last token of the answer before.
      const held = index > 0 ? start + 4 : 0;
      assertEquals(statistics.promptTokens[0], all.length - held);
      all.push(...expected);
    }
    assertEquals(conversation.messages.length, 6);
  }
});

Deno.test("Conversation writes later turns as the chat template does", async () => {
  const pair = await embeddedModels(backend);
  const large = { ...pair.large, chatTemplate: TEMPLATE };
  using conversation = new Conversation({ ...pair, large }, { policy: "full", capacity: 300 });
  await answer(conversation, "Uma has the harp.", { maxNewTokens: 4 });
  const first = conversation.messages[1]!.content;
  const { statistics } = await answer(conversation, "Where is Vic?", { maxNewTokens: 4 });
  const { tokenizer } = large;
  const more = tokenizer!.encode(" </>\n<user> Where is Vic? </>\n<assistant>", {
    addSpecialTokens: false,
  });
  assertEquals(statistics.promptTokens, [1 + more.length]);
  assertEquals(conversation.messages.map(({ role }) => role), [
    ...["user", "assistant", "user", "assistant"],
  ]);
  assertStrictEquals(conversation.messages[1]!.content, first);
  const [chat, asIs] = [{ system: "Be brief." }, { system: "Be brief.", isChat: false }];
  new Conversation({ ...pair, large }, chat)[Symbol.dispose]();
  for (const [models, options] of [[{ ...pair, large }, asIs], [pair, chat]] as const) {
    assertThrows(
      () => new Conversation(models, options),
      Error,
      "a system message must come with turns of a chat",
    );
  }
});

Deno.test("Conversation has the room of the models that its policy runs", async () => {
  const pair = await embeddedModels(backend);
  const small = { ...pair.small, config: { ...pair.small.config, contextLength: 20 } };
  const asks = { ...pair, small };
  using alone = new Conversation(asks, { policy: "h2o" });
  assertEquals((await answer(alone, TEXT.slice(0, 200), { maxNewTokens: 2 })).tokens.length, 2);
  using both = new Conversation(asks);
  await assertRejects(
    () => answer(both, TEXT.slice(0, 200), {}),
    Error,
    "tokens left for an answer",
  );
});

Deno.test("Conversation can be stopped, continues, says when it is full and frees everything", async () => {
  const pair = await embeddedModels(backend);
  const { device } = pair.large;
  const hold = async () => {
    using conversation = new Conversation(pair, { budget: 0.2, capacity: 200 });
    const controller = new AbortController();
    controller.abort();
    const stopped = await answer(conversation, TEXT.slice(0, 300), { signal: controller.signal });
    assertEquals(stopped.statistics.isAborted, true);
    await answer(conversation, TEXT.slice(0, 300), { maxNewTokens: 3 });
    for await (const _ of conversation.say(" Where is Vic?")) break;
    const { tokens } = await answer(conversation, " What has Uma?", { maxNewTokens: 2 });
    assertEquals(tokens.length, 2);
    await assertRejects(
      () => answer(conversation, TEXT, {}),
      Error,
      "Cannot continue a conversation: tokens left for an answer must be an integer at least 1",
    );
  };
  await hold();
  const { liveBytes } = device.usage;
  await hold();
  assertStrictEquals(device.usage.liveBytes, liveBytes);
  await assertRejects(
    async () => {
      using conversation = new Conversation(pair, { capacity: 10 });
      await answer(conversation, TEXT, {});
    },
    Error,
    "Cannot begin a conversation: tokens left for an answer must be an integer at least 1",
  );
});
