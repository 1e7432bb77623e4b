import { assertEquals, assertThrows } from "@std/assert";
import { chatText, promptList, promptTokens } from "../../../decoding/text/prompts.ts";
import { TINY } from "../../support/model_writer.ts";
import { createTokenizer } from "../../../models/tokenizer/tokenizer.ts";
import embeddedJson from "../../../data/embedded/large/tokenizer.json" with { type: "json" };
import named from "../../fixtures/tokenizer/named_tokens.json" with { type: "json" };
import { BYTES } from "./byte_tokenizer.ts";

Deno.test("promptList() tells one prompt from several", () => {
  const chat = [{ role: "user", content: "hi" }];
  assertEquals(promptList("a"), ["a"]);
  assertEquals(promptList([1, 2]), [[1, 2]]);
  assertEquals(promptList(chat), [chat]);
  assertEquals(promptList(["a", "b"]), ["a", "b"]);
  assertEquals(promptList([[1], "b", chat]), [[1], "b", chat]);
  assertThrows(() => promptList([]), Error, "there must be a prompt: current number is 0");
});

Deno.test("promptTokens() says what a model lacks", () => {
  const model = { name: "tiny", config: { ...TINY, bosTokenId: 256 } };
  const chat = [{ role: "user", content: "hi" }];
  assertEquals(promptTokens(model, [3, 4]), [3, 4]);
  assertThrows(() => promptTokens(model, "a"), Error, "tiny must come with a tokenizer");
  const withTokenizer = { ...model, tokenizer: BYTES };
  assertEquals(promptTokens(withTokenizer, "ab"), [97, 98]);
  assertThrows(() => promptTokens(withTokenizer, ""), Error, "a prompt must have tokens");
  assertThrows(() => promptTokens(withTokenizer, chat), Error, "must come with a chat template");
  const chatTemplate = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}!";
  assertEquals(chatText({ ...withTokenizer, chatTemplate }, chat), "<end>hi!");
});

Deno.test("chatText() shows templates the tokens that tokenizer_config.json names, as transformers does", () => {
  for (const { files, text } of named.templates) {
    const [config, model, generation] = files as [object, ModelIds, ModelIds];
    const tokenizer = createTokenizer({ json: embeddedJson, config });
    const ends = [generation.eos_token_id ?? [], model.eos_token_id ?? []].flat();
    const { bos_token_id: bosTokenId } = model;
    const sizes = { ...TINY, ...(bosTokenId !== undefined && { bosTokenId }), eosTokenIds: ends };
    const shown = { name: "tiny", config: sizes, tokenizer, chatTemplate: named.template };
    assertEquals(chatText(shown, [{ role: "user", content: "x" }]), text, JSON.stringify(files));
  }
});

/** Ids in config.json or generation_config.json. */
interface ModelIds {
  readonly bos_token_id?: number;
  readonly eos_token_id?: number | readonly number[];
}

Deno.test("chatText() names tokens by the configuration where tokenizer_config.json says nothing", () => {
  const tokenizer = createTokenizer({ json: embeddedJson, config: { pad_token: null } });
  const config = { ...TINY, bosTokenId: 1, eosTokenIds: [2, 0] };
  const model = { name: "tiny", config, tokenizer, chatTemplate: named.template };
  assertEquals(chatText(model, []), "<|im_start|>|<|im_end|>||True|True|False");
});
