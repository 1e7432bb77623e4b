import assert from "node:assert/strict";
import { chatText, promptList, promptTokens } from "../../../decoding/text/prompts.ts";
import { TINY } from "../../support/model_writer.ts";
import { BYTES } from "./byte_tokenizer.ts";

Deno.test("promptList() tells one prompt from several", () => {
  const chat = [{ role: "user", content: "hi" }];
  assert.deepEqual(promptList("a"), ["a"]);
  assert.deepEqual(promptList([1, 2]), [[1, 2]]);
  assert.deepEqual(promptList(chat), [chat]);
  assert.deepEqual(promptList(["a", "b"]), ["a", "b"]);
  assert.deepEqual(promptList([[1], "b", chat]), [[1], "b", chat]);
  assert.throws(() => promptList([]), /there must be a prompt: current number is 0/);
});

Deno.test("promptTokens() says what a model lacks", () => {
  const model = { name: "tiny", config: { ...TINY, bosTokenId: 256 } };
  const chat = [{ role: "user", content: "hi" }];
  assert.deepEqual(promptTokens(model, [3, 4]), [3, 4]);
  assert.throws(() => promptTokens(model, "a"), /tiny must come with a tokenizer/);
  const withTokenizer = { ...model, tokenizer: BYTES };
  assert.deepEqual(promptTokens(withTokenizer, "ab"), [97, 98]);
  assert.throws(() => promptTokens(withTokenizer, ""), /a prompt must have tokens/);
  assert.throws(() => promptTokens(withTokenizer, chat), /must come with a chat template/);
  const chatTemplate = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}!";
  assert.equal(chatText({ ...withTokenizer, chatTemplate }, chat), "<end>hi!");
});
