import { assert, assertEquals } from "@std/assert";
import { codeOf } from "../../explorer/state/code.ts";
import { ExplorerRun } from "../../explorer/engine/explorer_run.ts";
import { evaluationItems } from "../../data/microworld.ts";
import { embeddedPair } from "../../data/embedded.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import { FACTS } from "../support/explorer_states.ts";

const REQUEST = {
  prompt: evaluationItems("route", { count: 1 })[0]!.prompt.slice(-560),
  policies: ["h2o", "smallkv"],
  options: {},
  store: "tiered" as const,
  budget: 0.2,
  newTokens: 5,
};

/** Runs a program as a script of the project; what it printed. */
async function output(code: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/copied.ts`;
    await Deno.writeTextFile(
      path,
      code.replace("@smallkv/lab", new URL("../../mod.ts", import.meta.url).href),
    );
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--config", "deno.json", path],
      cwd: new URL("../..", import.meta.url),
    });
    const { stdout, stderr, success } = await command.output();
    assert(success, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("codeOf() writes programs that do what the page does", async () => {
  const device = await openDevice({ backend: "cpu", threads: 1 });
  const files = embeddedPair();
  const large = await loadModel(files.large, { device });
  const small = await loadModel(files.small, { device });
  const changed = { smallkv: { sink: 3, marginal: false }, h2o: { heavyRatio: 2 } } as const;
  const perHead = { smallkv: { granularity: "query_head" } } as const;
  for (
    const [reads, options, store] of [
      ["own", {}, "tiered"],
      ["own", changed, "resident"],
      ["own", perHead, "tiered"],
      ["full", changed, "tiered"],
      ["full", {}, "resident"],
    ] as const
  ) {
    const request = { ...REQUEST, reads, options, store };
    using run = new ExplorerRun({ large, small }, request);
    const tracks = (await run.start()).map((step) => [step]);
    while (!run.isDone) (await run.step()).forEach((step, at) => step && tracks[at]!.push(step));
    const code = codeOf(request, { facts: FACTS });
    const shortest = codeOf({ ...request, newTokens: 1 }, { facts: FACTS });
    assert(shortest.includes("generateAll(") && !shortest.includes("teacherForce"));
    assertEquals(code.includes('"tiered"'), store === "tiered");
    const printed = await output(code);
    if (reads === "own") {
      const expected = ["full", "h2o", "smallkv"].map((policy, place) => {
        const texts = tracks[place]!.map(({ next }) => next.text ?? "");
        return `${policy} ${JSON.stringify(texts.join(""))}\n`;
      });
      assertEquals(printed, expected.join(""));
    } else {
      const lists = ["h2o", "smallkv"].map((policy) =>
        Array.from(printed.split(`${policy} [`)[1]!.split("]")[0]!.matchAll(/[-\d.e]+/g), Number)
      );
      lists.forEach((kl, place) =>
        // Nothing has been dropped at step 0.
        assertEquals(kl, tracks[place + 1]!.slice(1).map((step) => step.kl!))
      );
    }
  }
  device[Symbol.dispose]();
});

Deno.test("codeOf() names the files of other models", () => {
  const facts = {
    ...FACTS,
    isEmbedded: false,
    large: { ...FACTS.large, file: "large.gguf" },
    small: { ...FACTS.small!, file: "small" },
  };
  const code = codeOf({ ...REQUEST, reads: "own" }, { facts });
  assert(code.includes('loadModel("large.gguf")') && code.includes('loadModel("small", {'));
  const { small: _, ...alone } = facts;
  assert(!codeOf({ ...REQUEST, reads: "own" }, { facts: alone }).includes("const small"));
});
