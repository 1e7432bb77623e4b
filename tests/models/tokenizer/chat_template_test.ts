import { assert, assertEquals, assertMatch, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DataError } from "../../../core/check.ts";
import {
  chatTemplateOf,
  endTokenIds,
  renderChat,
} from "../../../models/tokenizer/chat_template.ts";
import { openGguf } from "../../../models/gguf/gguf.ts";
import { createTokenizer } from "../../../models/tokenizer/tokenizer.ts";
import chats from "../../fixtures/tokenizer/chats.json" with { type: "json" };
import given from "../../fixtures/tokenizer/conversations.json" with { type: "json" };
import embeddedJson from "../../../data/embedded/large/tokenizer.json" with { type: "json" };

const modelFolder = Deno.env.get("SMALLKV_MODELS");
if (modelFolder === undefined) {
  console.warn("Tests of real chat templates are skipped: SMALLKV_MODELS names no folder");
}

const GGUF_FILES = {
  qwen2: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
  smollm: "SmolLM2-135M-Instruct.Q4_1.gguf",
} as const;
const rendered: Readonly<Record<string, readonly (readonly (string | null)[])[]>> = chats.rendered;

/** Compares with what the original library produced for every conversation; null means it refused. */
function checkAll(name: string, template: string, special: readonly string[]): void {
  given.conversations.forEach((messages, i) => {
    [false, true].forEach((addGenerationPrompt, j) => {
      const expected = rendered[name]![i]![j];
      const action = () =>
        renderChat(template, messages, {
          addGenerationPrompt,
          bosToken: special[0]!,
          eosToken: special[1]!,
        });
      if (expected === null) assertThrows(action, DataError);
      else assertStrictEquals(action(), expected);
    });
  });
}

for (const [name, template] of Object.entries(given.templates)) {
  Deno.test(`renderChat() writes what the original library writes for the template ${name}`, () => {
    checkAll(name, template, chats.special.smollm);
  });
}

for (const kind of ["qwen2", "smollm"] as const) {
  Deno.test({
    name: `renderChat() writes what the original library writes for the ${kind} file`,
    ignore: modelFolder === undefined,
    async fn() {
      await using file = await openGguf(`${modelFolder}/${GGUF_FILES[kind]}`);
      checkAll(kind, String(file.metadata["tokenizer.chat_template"]), chats.special[kind]);
    },
  });
}

Deno.test("renderChat() starts an answer unless told otherwise and passes variables on", () => {
  const template = "{{ bos_token }}{{ extra }}{% if add_generation_prompt %}>{% endif %}";
  assertEquals(renderChat(template, [], { bosToken: "B", variables: { extra: 7 } }), "B7>");
});

Deno.test("renderChat() reports a malformed template and a refusal", () => {
  assertMatch(
    String(assertThrows(() => renderChat("{% for %}", []), Error)),
    /^DataError: Cannot render a conversation: /,
  );
  assertMatch(
    String(
      assertThrows(() => renderChat("{{ raise_exception('roles must alternate') }}", []), Error),
    ),
    /^DataError: Cannot render .*current value is roles must alternate$/,
  );
});

Deno.test("renderChat() fails with a clear error on any template", () => {
  const piece = fc.constantFrom(
    "{{",
    "}}",
    "{%",
    "%}",
    " if ",
    "x",
    "messages",
    "[0]",
    "|",
    "'",
    "endif",
  );
  const template = fc.oneof(fc.string(), fc.array(piece, { maxLength: 12 }).map((p) => p.join("")));
  fc.assert(
    fc.property(template, (text) => {
      try {
        assertEquals(typeof renderChat(text, [{ role: "user", content: "x" }]), "string");
      } catch (error) {
        assert(error instanceof DataError);
      }
    }),
    { seed: 21, numRuns: 1000 },
  );
});

Deno.test("chatTemplateOf() reads a template, a list of templates, or none", () => {
  assertEquals(chatTemplateOf({ chat_template: "a" }), "a");
  const list = [{ name: "tool_use", template: "b" }, { name: "default", template: "c" }];
  assertEquals(chatTemplateOf({ chat_template: list }), "c");
  assertEquals(chatTemplateOf({ chat_template: [null, 3] }), undefined);
  assertEquals(chatTemplateOf({}), undefined);
});

Deno.test("endTokenIds() adds known end markers to the configured ids", () => {
  const tokenizer = createTokenizer({ json: embeddedJson, config: {} });
  assertEquals(endTokenIds(tokenizer, [2]), [0, 2]);
  assertEquals(endTokenIds(tokenizer, [700]), [0, 2, 700]);
});
