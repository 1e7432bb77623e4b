import { assertEquals } from "@std/assert";
import { Engine } from "../../explorer/engine/engine.ts";
import { ExplorerRun } from "../../explorer/engine/explorer_run.ts";
import { PageFiles } from "../../explorer/engine/page_files.ts";
import type { FromEngine, RunRequest } from "../../explorer/messages.ts";

const REQUEST: RunRequest = {
  prompt: "Glen has a red ball. Mara has a blue box.",
  policies: ["h2o"],
  options: {},
  store: "tiered",
  budget: 0.5,
  reads: "own",
  newTokens: 8,
};

/** An engine whose run has read its prompt, and what it tells. */
async function startedEngine() {
  const [files, said] = [new PageFiles(), [] as FromEngine[]];
  const engine = new Engine(files, (message) => said.push(message));
  const own = globalThis.fetch;
  globalThis.fetch = files.serve(own);
  try {
    const address = new URL("../../data/embedded/", import.meta.url).href;
    await engine.take({ kind: "open", source: { kind: "embedded", address }, backend: "cpu" });
  } finally {
    globalThis.fetch = own;
  }
  await engine.take({ kind: "start", run: 1, request: REQUEST });
  return { engine, said };
}

Deno.test("Engine tells a step with what its tokens have received, where that is wanted", async () => {
  const { engine, said } = await startedEngine();
  await engine.take({ kind: "step", run: 1, wanted: [{ track: 1, from: 1 }] });
  await engine.take({ kind: "attend", run: 1, wanted: [{ track: 1, from: 1 }] });
  const [stepped, attended] = said.slice(-2);
  assertEquals(
    stepped?.kind === "stepped" && [stepped.steps.length, stepped.received],
    attended?.kind === "attended" && [2, attended.received],
  );
});

Deno.test("Engine tells a step that has run, also where attention cannot be added up", async () => {
  const { engine, said } = await startedEngine();
  const { attend } = ExplorerRun.prototype;
  ExplorerRun.prototype.attend = () => Promise.reject(new Error("full"));
  try {
    await engine.take({ kind: "step", run: 1, wanted: [{ track: 1, from: 1 }] });
    await engine.take({ kind: "attend", run: 1, wanted: [{ track: 1, from: 1 }] });
  } finally {
    ExplorerRun.prototype.attend = attend;
  }
  const [stepped, failed] = said.slice(-2);
  assertEquals(stepped?.kind === "stepped" && [stepped.steps.length, stepped.received], [2, []]);
  assertEquals(failed?.kind === "failed" && failed.request, "attend");
});
