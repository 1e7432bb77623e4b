import { assertEquals, assertThrows } from "@std/assert";
import { chatText, promptList, promptTokens } from "../../../decoding/text/prompts.ts";
import { TINY } from "../../support/model_writer.ts";
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
