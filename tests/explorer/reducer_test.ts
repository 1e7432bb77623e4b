import { assertEquals } from "@std/assert";
import type { Action } from "../../explorer/state/actions.ts";
import { reduce } from "../../explorer/state/reducer.ts";
import { requests } from "../../explorer/state/requests.ts";
import { type ExplorerState, initialState, recordedSteps } from "../../explorer/state/state.ts";
import type { DroppedFile } from "../../explorer/messages.ts";
import {
  after,
  FACTS,
  openState,
  PROMPT,
  step,
  steppedState,
  told,
} from "../support/explorer_states.ts";

/** What the engine is asked for by an action. */
function asks(state: ExplorerState, action: Action): string[] {
  return requests(state, reduce(state, action)).map(({ kind }) => kind);
}

Deno.test("a new page opens the embedded pair, then runs the first example", () => {
  const state = initialState("embedded/");
  assertEquals(requests(undefined, state), [
    { kind: "open", source: { kind: "embedded", address: "embedded/" }, backend: "auto" },
  ]);
  const open = openState();
  assertEquals(open.setup.prompt, "a b c");
  const [request] = requests(state, open);
  assertEquals(request?.kind === "start" && request.request.policies, open.setup.policies);
  assertEquals(open.view.place, { layer: 1, head: 0 }, "kept within two layers");
});

Deno.test("reduce() asks for a step until as many are recorded as are wanted", () => {
  const state = openState({ view: { step: 2 } });
  const run = state.run!.id;
  const first = [step(5), step(5), step(5), step(5)];
  const started = told({ kind: "started", run, prompt: PROMPT, first });
  assertEquals(asks(state, started), ["step"]);
  const steps = first.map(() => step(6, { row: [4, 4, 4, 4] }));
  const stepped = told({ kind: "stepped", run, steps, received: [], isDone: false });
  const one = after(state, started, stepped);
  assertEquals([one.asked, one.view.step], ["step", 1]);
  assertEquals(asks(after(state, started), stepped), ["step"]);
  const two = after(one, stepped);
  assertEquals([two.view.step, recordedSteps(two.run!)], [2, 2]);
  assertEquals(two.asked, "match", "then heads are compared");
});

Deno.test("reduce() goes back through what is recorded, and forward again, without the engine", () => {
  const state = steppedState();
  const back = after(state, { kind: "show", step: 0 });
  assertEquals([back.view.step, recordedSteps(back.run!)], [0, 1]);
  assertEquals(asks(state, { kind: "show", step: 0 }), []);
  const forward = after(back, { kind: "forward" });
  assertEquals(forward.view.step, 1);
  assertEquals(requests(back, forward), []);
  assertEquals(after(back, { kind: "show", step: 99 }).view.step, 1);
  assertEquals(after(back, { kind: "show", step: -1 }).view.step, 0);
});

Deno.test("reduce() plays until every text has ended", () => {
  const state = after(steppedState(), { kind: "play", isPlaying: true }, { kind: "forward" });
  assertEquals([state.isPlaying, state.target], [true, 2]);
  const run = state.run!.id;
  const idle = { ...state, asked: "step" } as const;
  const last = after(
    idle,
    told({
      kind: "stepped",
      run,
      isDone: true,
      received: [],
      steps: [undefined, step(8, { row: [4, 4, 4, 4, 4] }), undefined],
    }),
  );
  assertEquals([last.isPlaying, last.run!.isDone, last.view.step], [false, true, 2]);
  assertEquals(last.run!.tracks.map(({ steps }) => steps.length), [2, 3, 2]);
  assertEquals(after(last, { kind: "forward" }).view.step, 2);
  assertEquals(after(last, { kind: "play", isPlaying: true }).view.step, 0, "plays again");
});

Deno.test("reduce() ignores what belongs to an earlier run", () => {
  const state = steppedState();
  const again = after(state, { kind: "run" });
  assertEquals(again.run!.id, state.run!.id + 1);
  const late = told({ kind: "stepped", run: state.run!.id, steps: [], received: [], isDone: true });
  assertEquals(reduce(again, late), again);
  const fault = told({ kind: "failed", request: "step", run: state.run!.id, message: "late" });
  assertEquals(reduce(again, fault).fault, undefined);
});

Deno.test("reduce() takes at most three policies, and gives them up again", () => {
  const state = openState({ setup: { policies: ["h2o", "tova"] } });
  const three = after(state, { kind: "toggle", policy: "smallkv" });
  assertEquals(three.setup.policies, ["h2o", "tova", "smallkv"]);
  assertEquals(after(three, { kind: "toggle", policy: "smallkv_query_aware" }).setup, three.setup);
  assertEquals(after(three, { kind: "toggle", policy: "h2o" }).setup.policies, ["tova", "smallkv"]);
});

Deno.test("reduce() asks for what tokens received where it is looked at, step by step", () => {
  const state = { ...steppedState(), asked: undefined };
  const tint = { kind: "look", change: { tint: "saliency" } } as const;
  const looked = after(state as unknown as ExplorerState, tint);
  assertEquals(requests(state as unknown as ExplorerState, looked), [{
    kind: "attend",
    run: state.run!.id,
    wanted: [0, 1, 2].map((track) => ({ track, from: 0 })),
  }]);
  const steps = [new Float32Array(12), new Float32Array(16)];
  const received = [0, 1, 2].map((track) => ({ track, from: 0, steps }));
  const answer = { kind: "attended", run: state.run!.id, received } as const;
  const known = after(looked, told(answer));
  assertEquals(known.run!.tracks.map(({ received }) => received.length), [2, 2, 2]);
  assertEquals(after(known, told(answer)).run!.tracks[0]!.received.length, 2, "told once");
  const idle = { ...known, asked: undefined } as unknown as ExplorerState;
  const next = after(idle, { kind: "forward" });
  assertEquals(requests(idle, next), [{
    kind: "step",
    run: state.run!.id,
    wanted: [0, 1, 2].map((track) => ({ track, from: 2 })),
  }]);
  const stepped = after(
    next,
    told({
      kind: "stepped",
      run: state.run!.id,
      steps: [0, 1, 2].map(() => step(8, { row: [4, 4, 4, 4, 4] })),
      received: [0, 1, 2].map((track) => ({ track, from: 2, steps: [new Float32Array(20)] })),
      isDone: false,
    }),
  );
  assertEquals(stepped.run!.tracks.map(({ received }) => received.length), [3, 3, 3]);
  assertEquals([stepped.view.step, stepped.asked], [2, "match"], "nothing else is asked for");
  const film = after(state as unknown as ExplorerState, {
    kind: "look",
    change: { film: "needs", track: 2 },
  });
  const [request] = requests(state as unknown as ExplorerState, film);
  assertEquals(request?.kind === "attend" && request.wanted, [{ track: 2, from: 0 }]);
  const fault = { kind: "failed", request: "attend", run: state.run!.id, message: "full" } as const;
  const failed = after(film, told(fault));
  assertEquals([failed.view.film, failed.fault], ["tiers", "full"]);
});

Deno.test("reduce() opens the same models on another device, and goes back where that fails", () => {
  const state = steppedState();
  const webgpu = after(state, { kind: "backend", backend: "webgpu" });
  assertEquals(requests(state, webgpu), [{
    kind: "open",
    source: { kind: "embedded", address: "embedded/" },
    backend: "webgpu",
  }]);
  const message = "Cannot open a device: there must be WebGPU";
  const failed = after(webgpu, told({ kind: "failed", request: "open", message }));
  assertEquals([failed.pair.backend, failed.fault, failed.run], ["auto", message, state.run]);
  const open = after(webgpu, told({ kind: "opened", pair: FACTS }));
  assertEquals([open.pair.backend, open.asked], ["webgpu", "start"]);
  const never = after(
    initialState("embedded/", { backend: "webgpu" }),
    told({ kind: "failed", request: "open", message }),
    { kind: "backend", backend: "cpu" },
  );
  assertEquals([never.asked, never.pair.backend], ["open", "cpu"]);
});

Deno.test("reduce() has attention collected once the engine has time", () => {
  const idle = after(
    steppedState(),
    told({ kind: "failed", request: "match", run: 1, message: "short" }),
  );
  const head = { layer: 0, head: 1 };
  const chosen = after(idle, { kind: "look", change: { head } });
  assertEquals(requests(chosen, after(chosen, { kind: "extract" })), [
    { kind: "extract", run: chosen.run!.id, head },
  ]);
  const busy = after({ ...chosen, asked: "step" }, { kind: "extract" });
  assertEquals([busy.asked, busy.isExtracting], ["step", true]);
  const bytes = new Uint8Array(1);
  const asked = after(chosen, { kind: "extract" });
  const done = after(asked, told({ kind: "extracted", run: asked.run!.id, bytes }));
  assertEquals([done.asked, done.isExtracting], [undefined, undefined]);
  const run = asked.run!.id;
  const failed = after(asked, told({ kind: "failed", request: "extract", run, message: "no" }));
  assertEquals([failed.asked, failed.isExtracting, failed.fault], [undefined, undefined, "no"]);
});

Deno.test("reduce() keeps a run when the next one cannot begin", () => {
  const state = steppedState();
  const run = state.run!;
  const asked = after(state, { kind: "option", policy: "h2o", name: "sink", text: "4" }, {
    kind: "run",
  });
  assertEquals(asked.run!.request.options, { h2o: { sink: 4 } });
  const fault = { kind: "failed", request: "start", run: run.id + 1, message: "no" } as const;
  const kept = after(asked, told({ ...fault, openRun: run.id }));
  assertEquals([kept.run, kept.view.step, kept.fault, kept.previous], [run, 1, "no", undefined]);
  assertEquals(kept.setup.options, { h2o: { sink: 4 } }, "to be corrected");
  const again = after({ ...asked, target: 1 }, told(fault));
  assertEquals(requests(asked, again), [
    { kind: "start", run: run.id + 2, request: run.request },
  ], "the engine no longer has it");
  assertEquals([again.fault, again.target, again.setup], ["no", 1, asked.setup]);
  const lost = after(again, told({ ...fault, run: run.id + 2 }));
  assertEquals([lost.run!.id, lost.run!.isDone], [run.id + 2, true]);
  const broken = [{ path: "a.gguf", file: new File(["1"], "a.gguf") }];
  const unread = after(
    lost,
    { kind: "files", files: broken },
    told({ kind: "failed", request: "open", message: "broken" }),
  );
  assertEquals([unread.fault, unread.asked], ["broken", undefined], "it is not tried again");
});

Deno.test("reduce() keeps everything when dropped files cannot be opened", () => {
  const state = steppedState();
  const [small, large] = (["small", "large"] as const).map((name) => ({
    path: `${name}.gguf`,
    file: new File([name === "small" ? "1" : "123"], `${name}.gguf`),
  })) as [DroppedFile, DroppedFile];
  const dropped = after(state, { kind: "files", files: [small, large] });
  assertEquals(requests(state, dropped), [
    {
      kind: "open",
      source: { kind: "files", large: [large], small: [small] },
      backend: "auto",
    },
  ]);
  const message = "Cannot read large.gguf: it must be a GGUF file";
  const failed = after(dropped, told({ kind: "failed", request: "open", message }));
  assertEquals([failed.fault, failed.pair, failed.run], [message, state.pair, state.run]);
  assertEquals(after(failed, { kind: "dismiss" }).fault, undefined);
  const three = after(state, {
    kind: "files",
    files: [small, large, { ...small, path: "third.gguf" }],
  });
  assertEquals([three.asked, three.fault?.startsWith("Cannot open 3 files")], [state.asked, true]);
});

Deno.test("reduce() lets no late answer end the opening of other models", () => {
  const state = { ...steppedState(), asked: "step" } as const;
  const file = { path: "large.gguf", file: new File(["1"], "large.gguf") };
  const dropped = after(state, { kind: "files", files: [file] });
  const run = state.run!.id;
  const late = after(
    dropped,
    told({ kind: "stepped", run, steps: [], received: [], isDone: false }),
  );
  assertEquals(late.asked, "open");
  const facts = { ...FACTS, isEmbedded: false, examples: [{ title: "A", prompt: "x" }] };
  const { small: _, ...alone } = { ...facts, policies: FACTS.policies.slice(0, 1) };
  const open = after(late, told({ kind: "opened", pair: alone }));
  assertEquals([open.setup.prompt, open.setup.policies, open.asked], ["x", ["h2o"], "start"]);
  assertEquals(open.view.head, undefined, "heads of other models are compared on demand");
});

Deno.test("reduce() stops at a step that fails, and asks for no head that failed again", () => {
  const state = steppedState();
  const run = state.run!.id;
  const failed = after(
    { ...state, asked: "step", target: 5 },
    told({ kind: "failed", request: "step", run, message: "out of memory" }),
  );
  assertEquals([failed.fault, failed.run!.isDone, failed.asked], ["out of memory", true, "match"]);
  const short = after(state, told({ kind: "failed", request: "match", run, message: "too short" }));
  assertEquals([short.run!.comparisonFault, short.fault, short.asked], [
    "too short",
    undefined,
    undefined,
  ]);
});
