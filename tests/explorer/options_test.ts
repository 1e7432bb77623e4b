import { assert, assertEquals } from "@std/assert";
import { POLICIES } from "../../cache/policies/mod.ts";
import { acceptedOptions } from "../../cache/policy_options.ts";
import {
  optionFields,
  type OptionsByPolicy,
  optionsOf,
  optionsText,
  readOptions,
  withOption,
} from "../../explorer/state/options.ts";

Deno.test("optionFields() has a field for every option of every policy, whose values it takes", () => {
  for (const policy of POLICIES) {
    const options = acceptedOptions(policy);
    const fields = optionFields({ options });
    assertEquals(fields.map(({ name }) => name), options);
    for (const { name, values, range, help, usual, value } of fields) {
      assert((values !== undefined) !== (range !== undefined), `${policy.name} ${name}`);
      assert(help.length > 0 && usual.length > 0 && value === "");
      const texts = values ?? [String(range!.min + (range!.step === 1 ? 1 : 0.5))];
      for (const text of texts) {
        const made = withOption({}, policy.name, { name, text });
        assertEquals(String(made[policy.name]?.[name]), text, `${policy.name} ${name}`);
        assertEquals(
          optionFields({ options }, made[policy.name]).find((one) => one.name === name)!.value,
          text,
        );
      }
    }
  }
});

Deno.test("withOption() keeps what is chosen where a text is no value, and forgets the usual", () => {
  const sink = (text: string) => ({ name: "sink", text }) as const;
  const four = withOption({}, "h2o", sink("4"));
  assertEquals(four, { h2o: { sink: 4 } });
  for (const text of ["-1", "1.5", "four"]) assertEquals(withOption(four, "h2o", sink(text)), four);
  assertEquals(withOption(four, "h2o", { name: "ties", text: "sideways" }), four);
  const both = withOption(four, "h2o", { name: "ties", text: "later" });
  assertEquals(both, { h2o: { sink: 4, ties: "later" } });
  assertEquals(withOption(both, "h2o", sink("")), { h2o: { ties: "later" } });
  assertEquals(withOption(four, "h2o", sink("")), {});
});

Deno.test("readOptions() reads what optionsText() wrote, and leaves out what makes no sense", () => {
  const options: OptionsByPolicy = {
    h2o: { sink: 4 },
    smallkv: { score: "decayed", decay: 0.25, marginal: false, stale: true },
  };
  assertEquals(readOptions(optionsText(options)), options);
  assertEquals(optionsOf(options, ["smallkv", "tova"]), { smallkv: options["smallkv"]! });
  assertEquals(readOptions("h2o.sink:-1,h2o.constructor:1,<b>.sink:4,h2o.ties:x,,h2o.sink"), {});
});
