import { assert, assertEquals } from "@std/assert";
import { TIER_NAMES } from "../../cache/token_tier.ts";
import { exportData } from "../../explorer/state/export_data.ts";
import { filmView, linkedToken, trackViews } from "../../explorer/state/selectors.ts";
import type { ExplorerState } from "../../explorer/state/state.ts";
import type { Action } from "../../explorer/state/actions.ts";
import { App } from "../../explorer/views/app.tsx";
import { similarityColor } from "../../views/palette.ts";
import { after, openState, steppedState, told } from "../support/explorer_states.ts";
import { found, rendered } from "../support/rendered.ts";

const NOTHING = () => {};
const TOOLS = {
  copyLink: NOTHING,
  copyCode: NOTHING,
  saveData: NOTHING,
  saveFigure: NOTHING,
  keepStorage: NOTHING,
  chooseFiles: NOTHING,
};

function draw(state: ExplorerState, dispatch: (action: Action) => void = NOTHING) {
  return rendered(App({ state, dispatch, tools: TOOLS, width: 600 }));
}

Deno.test("trackViews() marks where a text departs, and tints by tier", () => {
  const [full, h2o, smallkv] = trackViews(steppedState());
  assertEquals([full!.departure, h2o!.departure, smallkv!.departure], [undefined, 2, undefined]);
  assertEquals(h2o!.tokens.map(({ tier }) => tier), [
    "recent",
    "dropped",
    "critical",
    "recent",
    undefined,
  ]);
  assertEquals(smallkv!.tokens.map(({ tier }) => tier).slice(1, 3), ["host", "marginal"]);
  assertEquals(h2o!.tokens.map(({ isNew }) => isNew), [false, false, false, true, true]);
  assertEquals(h2o!.tokens.findIndex(({ isDifferent }) => isDifferent), 4);
  assertEquals([h2o!.kl, h2o!.meanKl], [1.5, 1]);
});

Deno.test("trackViews() shows a recorded step as it was", () => {
  const [, h2o] = trackViews(after(steppedState(), { kind: "show", step: 0 }));
  assertEquals([h2o!.kl, h2o!.departure, h2o!.tokens.length], [0.5, undefined, 4]);
  assert(h2o!.tokens.every(({ tier }) => tier === undefined));
});

Deno.test("filmView() has a row for each step of the chosen policy and KV head", () => {
  const state = after(steppedState(), { kind: "look", change: { track: 1 } });
  assertEquals(filmView(state), {
    policy: "h2o",
    tokens: 42,
    steps: 39,
    kinds: TIER_NAMES,
    rows: [Uint8Array.from([4, 0, 3, 4])],
  });
  const other = after(state, { kind: "look", change: { place: { layer: 0, head: 0 } } });
  assertEquals([...filmView(other)!.rows[0]!], [0, 0, 0, 0]);
});

/** After what tokens have received was told for all tracks; token 1 has received most in the KV head that is shown. */
function attendedState(): ExplorerState {
  const state = after(steppedState(), { kind: "look", change: { track: 1, film: "needs" } });
  const row = (seen: number) => {
    const received = new Float32Array(4 * seen);
    received.set([5, 9, 2], 3 * seen);
    return received;
  };
  const steps = [row(3), row(4)];
  const received = [0, 1, 2].map((track) => ({ track, from: 0, steps }));
  return after(state, told({ kind: "attended", run: state.run!.id, received }));
}

Deno.test("filmView() shows what was dropped and needed", () => {
  const film = filmView(attendedState())!;
  assertEquals(film.rows.map((row) => [...row].map((kind) => film.kinds[kind])), [
    ["recent", "missed", "spare", "recent"],
  ]);
  assertEquals(film.missed, { missed: 1, needed: 1, ever: 1 });
  const page = draw(attendedState());
  assert(page.text.includes("nothing been dropped, h2o lacks 1. So far it has lacked 1"));
  assertEquals(found(found(page, "svg", { id: "film" })[0]!, "path").length, 3);
});

Deno.test("texts are tinted by saliency, the full cache's too", () => {
  const state = after(attendedState(), { kind: "look", change: { tint: "saliency" } });
  const [full] = trackViews(state);
  assertEquals(
    full!.tokens.map(({ rank }) => rank),
    [2 / 3, 1, 1 / 3, 0, undefined].map((rank) => rank === undefined ? rank : Math.fround(rank)),
  );
  const card = found(draw(state), "article")[0]!;
  const tokens = found(card, "span").filter(({ props }) => props["data-token"] !== undefined);
  const style = (place: number) => tokens[place]!.props["style"] as { background: string };
  assertEquals(style(1).background, similarityColor(1).fill);
  assertEquals(tokens[4]!.props["style"], undefined, "it has not been read");
});

Deno.test("linkedToken() names a token and what each policy holds of it", () => {
  const state = after(steppedState(), { kind: "look", change: { token: 2 } });
  assertEquals(linkedToken(state), {
    label: "2 “ b⏎”",
    tiers: ["h2o: critical", "smallkv: marginal"],
  });
  assertEquals(linkedToken(after(state, { kind: "unlink" })), undefined);
});

Deno.test("the page shows texts, divergence, bytes and the film of a step", () => {
  const page = draw(steppedState());
  const cards = found(page, "article");
  assertEquals(cards.map(({ props }) => props["data-policy"]), ["full", "h2o", "smallkv"]);
  assertEquals(found(cards[1]!, "dd", { "data-value": "kl" })[0]!.text, "1.500 nats");
  assert(cards[1]!.text.includes("departs at new token 2"));
  assert(cards[2]!.text.includes("50 B small model's cache, 900 B on the host"));
  const texts = found(cards[1]!, "p").map(({ text }) => text);
  assert(texts.includes("▪a b\n t5 t7"));
  const marks = found(cards[1]!, "span").filter(({ props }) =>
    String(props["class"]).includes("differs") && props["data-token"] !== undefined
  );
  assertEquals(marks.map(({ text }) => text), [" t7"]);
  const [film] = found(page, "svg", { id: "film" });
  assertEquals(found(film!, "path").map(({ props }) => props["class"]), [
    "fill-host",
    "fill-marginal",
    "fill-recent",
  ]);
});

Deno.test("buttons and tokens of the page say what was done", () => {
  const actions: Action[] = [];
  const page = draw(steppedState(), (action) => actions.push(action));
  const press = (name: string) =>
    (found(page, "button").find(({ text, props }) =>
      `${props["aria-label"] ?? text}`.includes(name)
    )!
      .props["onClick"] as () => void)();
  press("Back one step");
  press("Play");
  press("Forward one step");
  const [text] = found(page, "p", { class: "text" });
  const over = text!.props["onPointerOver"] as (event: unknown) => void;
  over({ target: { dataset: { token: "3" } } });
  over({ target: { dataset: {} } });
  assertEquals(actions, [
    { kind: "show", step: 0 },
    { kind: "play", isPlaying: true },
    { kind: "forward" },
    { kind: "look", change: { token: 3 } },
  ]);
});

Deno.test("every chosen policy has its options as fields", () => {
  const actions: Action[] = [];
  const options = { h2o: { sink: 4 } };
  const page = draw(steppedState({ options }), (action) => actions.push(action));
  const parts = found(page, "details").filter((part) =>
    found(part, "summary")[0]!.text.startsWith("Options")
  );
  assertEquals(parts.map((part) => found(part, "summary")[0]!.text), [
    "Options of h2o: 1 changed",
    "Options of smallkv",
  ]);
  const [sink] = found(parts[0]!, "input", { id: "h2o-sink" });
  assertEquals([sink!.props["value"], sink!.props["min"], sink!.props["step"]], ["4", 0, 1]);
  const [ties] = found(parts[1]!, "select", { id: "smallkv-ties" });
  assertEquals(found(ties!, "option").map(({ text }) => text), [
    "default: the policy's",
    "earlier",
    "later",
  ]);
  const change = ties!.props["onChange"] as (event: unknown) => void;
  change({ currentTarget: { value: "later" } });
  assertEquals(actions, [{ kind: "option", policy: "smallkv", name: "ties", text: "later" }]);
});

Deno.test("the page says what it waits for and what went wrong", () => {
  const open = openState();
  assert(draw(open).text.includes("Reading the prompt"));
  const fault = "Cannot read broken.gguf: it must be a GGUF file";
  const [alert] = found(draw({ ...open, fault }), "p", { role: "alert" });
  assert(alert!.text.startsWith(fault));
});

Deno.test("every head can be chosen, and is compared with null models", () => {
  const similar = (value: number) => ({
    jaccard: new Float64Array(8).fill(value),
    cosine: new Float64Array(8).fill(value / 2),
  });
  const state = steppedState();
  const comparison = {
    tokens: 3,
    large: Float32Array.from({ length: 24 }, (_, index) => index),
    small: new Float32Array(6).fill(1),
    match: Uint32Array.from({ length: 8 }, (_, head) => head % 2),
    matched: similar(0.75),
    random: similar(0.25),
    mean: similar(0.5),
  };
  const chosen = after(
    { ...state, run: { ...state.run!, comparison } },
    { kind: "look", change: { head: { layer: 1, head: 2 } } },
  );
  const page = draw(chosen);
  const cells = found(page, "g", { role: "button" });
  assertEquals(cells.length, 8);
  assertEquals(
    cells.find(({ props }) => props["aria-pressed"] === true)!.props["aria-label"],
    "Layer 1, head 2: jaccard 0.75",
  );
  assert(page.text.includes("Layer 1, head 2 follows small layer 0, head 0"));
  assertEquals(
    found(page, "table").at(-1)!.text,
    "compared withJaccardcosinematched small head0.7500.375" +
      "small head drawn at random0.2500.125mean of all small heads0.5000.250",
  );
});

Deno.test("exportData() has every step with its tiers as digits", () => {
  const data = JSON.parse(JSON.stringify(exportData(steppedState())));
  assertEquals(data.tracks[1].steps[1].tiers, ["0000", "0000", "0000", "4034"]);
  assertEquals(data.tierNames[data.tracks[2].steps[1].tiers[3][2]], "marginal");
  assertEquals(data.request.policies, ["h2o", "smallkv"]);
  assertEquals(data.prompt.length, 3);
});
