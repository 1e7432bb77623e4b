import { assert, assertEquals, assertMatch, assertStrictEquals, assertThrows } from "@std/assert";
import { DataError } from "../../../core/check.ts";
import { renderChat } from "../../../models/tokenizer/chat_template.ts";
import given from "../../fixtures/tokenizer/templates.json" with { type: "json" };

const render = (template: string) =>
  renderChat(template, given.messages, { variables: given.variables });

Deno.test("renderChat() writes what jinja2 writes, and refuses what jinja2 refuses", () => {
  for (const [template, expected] of given.rendered as [string, string | null][]) {
    if (expected === null) assertThrows(() => render(template), DataError, undefined, template);
    else assertStrictEquals(render(template), expected, template);
  }
});

Deno.test("renderChat() refuses what it does not support, rather than write something else", () => {
  for (const template of given.unsupported) {
    assertThrows(() => render(template), DataError, "Cannot render a conversation", template);
  }
});

Deno.test("renderChat() passes tools and documents as none unless they are given", () => {
  const template = "{{ tools is none }}{{ documents is defined }}{{ other is defined }}";
  assertEquals(renderChat(template, []), "TrueTrueFalse");
  assertEquals(renderChat(template, [], { variables: { tools: [] } }), "FalseTrueFalse");
});

Deno.test("renderChat() ends templates that would run on, recurse or fill the memory", () => {
  const loop = "{% for a in range(100000) %}";
  const end = "{% endfor %}";
  const grow =
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}";
  const templates: [string, RegExp][] = [
    [`${loop}${loop}${end}${end}`, /takes too long/],
    ["{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", /call each other/],
    [`${grow}${end}`, /grow too long/],
    [`${loop}${"x".repeat(2000)}${end}`, /grow too long/],
    ["{{ 'a' * 100000000000 }}", /grow too long/],
    ["{{ [1] * 100000000000 }}", /grow too long/],
    ["{{ 'a'.ljust(100000000000) }}", /grow too long/],
    ["{{ 7 ** 100000000000 }}", /grow too large/],
    ["{{ range(100000000000) }}", /range of/],
    ["{% for c in 'a' * 9999999 %}{% endfor %}", /goes through too long/],
    ["{{ ('a ' * 5000000).split(' ')|length }}", /too many parts/],
    ["{{ ('\\n' * 5000000).splitlines()|length }}", /too many lines/],
    ["(".repeat(3) + "{{ " + "(".repeat(100_000) + " }}", /nested too deeply/],
    [" ".repeat(1000), /256 spaces/],
    ["x".repeat(300_000), /262144 characters/],
    ["{{ 'a", /malformed|end of input/],
  ];
  for (const [template, reason] of templates) {
    const started = performance.now();
    const { message } = assertThrows(() => renderChat(template, []), DataError);
    assertMatch(message, /^Cannot render a conversation: .*: current value is /);
    assertMatch(message, reason);
    assert(performance.now() - started < 6000, template.slice(0, 40));
  }
});
