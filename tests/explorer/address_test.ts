import { assertEquals } from "@std/assert";
import { readAddress, writeAddress } from "../../explorer/state/address.ts";
import { after, openState, steppedState } from "../support/explorer_states.ts";

/** Those of a policy that was not chosen stay out of addresses. */
const OPTIONS = { h2o: { sink: 4 }, tova: { sink: 2 } } as const;

Deno.test("readAddress() reads what writeAddress() wrote", () => {
  const state = after(
    steppedState({ budget: 0.25, reads: "full", newTokens: 7, options: OPTIONS }),
    {
      kind: "look",
      change: {
        track: 2,
        measure: "cosine",
        head: { layer: 1, head: 3 },
        tint: "saliency",
        film: "needs",
      },
    },
  );
  const { setup, view } = readAddress(writeAddress(state));
  assertEquals(setup, {
    example: 0,
    policies: ["h2o", "smallkv"],
    options: { h2o: { sink: 4 } },
    budget: 0.25,
    reads: "full",
    newTokens: 7,
  });
  assertEquals(view, {
    step: 1,
    track: 2,
    place: { layer: 1, head: 1 },
    head: { layer: 1, head: 3 },
    measure: "cosine",
    tint: "saliency",
    film: "needs",
  });
});

Deno.test("writeAddress() writes a prompt of your own out", () => {
  const edited = after(
    openState(),
    { kind: "edit", change: { prompt: "your & own = 1\n#2" } },
    { kind: "run" },
  );
  assertEquals(readAddress(writeAddress(edited)).setup?.prompt, "your & own = 1\n#2");
});

Deno.test("readAddress() leaves out what makes no sense", () => {
  const address =
    "policies=h2o,h2o,%3Cscript%3E,tova,a,b&budget=7&reads=x&new=-1&step=1e9&place=1&" +
    "measure=x&head=1.x&device=abacus";
  assertEquals(readAddress(address), { setup: { policies: ["h2o", "tova", "a"] }, view: {} });
  assertEquals(readAddress(""), { setup: {}, view: {} });
  assertEquals(readAddress("device=cpu").backend, "cpu");
});
