/**
 * Tests of caches whose layers with a window hold only the newest tokens: the same bits as from a cache of all tokens, less
 * memory, and an error where tokens are gone.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fullCacheBytes, ringSlots } from "../../../cache/full_cache.ts";
import { RequirementError } from "../../../core/check.ts";
import { HeldTokens } from "../../../decoding/session/held_tokens.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { SessionOptions } from "../../../decoding/session/session_options.ts";
import { readVectors } from "../../../decoding/session/vectors.ts";
import type { Device } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { layerWindows } from "../../../models/layer_windows.ts";
import { loadModel, type Model } from "../../../models/load.ts";
import { testBackends, testDevice } from "../../support/gpu.ts";

/** Windows of some layers, or of all: 9, 11, 13 and 9 tokens. */
const MODELS = ["gemma2_f32", "gemma3_bf16", "mistral_window_bf16", "qwen3_window_bf16"];
const CAPACITY = 300;
const CHUNK = 16;
const PROMPT = 200;

async function tinyModel(name: string, device: Device): Promise<Model> {
  const folder = new URL(`../../fixtures/tiny/${name}`, import.meta.url).pathname;
  return await loadModel(folder, { device });
}

function textOf({ config: { vocabulary } }: Model, tokens: number, step = 7): number[] {
  return Array.from({ length: tokens }, (_, i) => (step * i * i + 3 * i + (i >> 3)) % vocabulary);
}

/** Everything that a session tells while a text grows, is copied, is put back and goes on. */
async function runSession(model: Model, options: Partial<SessionOptions>): Promise<number[][]> {
  const told: number[][] = [];
  const tell = (values: Iterable<number>) => void told.push([...values]);
  const sizes = { capacity: CAPACITY, sequences: 2, chunk: CHUNK, accumulate: true };
  using session = new Session(model, { ...sizes, ...options });
  const heads = Array.from({ length: model.config.queryHeads }, (_, head) => head);
  const text = textOf(model, PROMPT);
  await session.prefill(text.slice(0, 150), { logits: "all", onLogits: tell });
  await session.prefill(text.slice(150), {
    heads: () => heads,
    onMap: ({ values }) => tell(values),
    onLogits: tell,
  });
  tell(await session.accumulated());
  await session.fork(0, [1]);
  for (const chosen of await session.decode(20)) tell(chosen);
  tell(await session.accumulated(1));
  session.rewind(session.lengths[0]! - 10);
  using saved = await session.save(0);
  for (const chosen of await session.decode(5)) tell(chosen);
  await session.restore(saved, 1);
  const more = textOf(model, 40, 5);
  // Stopped after the first chunk, when tokens that the sequence sees have been overwritten.
  await assertRejects(
    () =>
      session.prefill([...more, ...more], {
        sequence: 1,
        onProgress: (tokens) => {
          if (tokens > 60) throw new Error("stop");
        },
      }),
    Error,
    "stop",
  );
  await session.prefill(more, { sequence: 1, isSummed: false, logits: "all", onLogits: tell });
  return told;
}

for (const backend of testBackends) {
  for (const name of backend === "cpu" ? MODELS : MODELS.slice(0, 1)) {
    for (const isExact of backend === "cpu" ? [false, true] : [false]) {
      Deno.test(`a session of ${name} has the bits of one that holds all tokens, ${isExact ? "32" : "16"} bits, on ${backend}`, async () => {
        using model = await tinyModel(name, await testDevice(backend));
        const whole = await runSession(model, { isExact, holdsAll: true });
        assertEquals(await runSession(model, { isExact }), whole);
      });
    }
  }
}

Deno.test("layers with a window hold their window, a chunk and what rounds it up, at any capacity", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0 });
  for (const name of MODELS) {
    using model = await tinyModel(name, device);
    const { kvHeads, headDim, layers } = model.config;
    const windows = layerWindows(model.config);
    const before = device.usage.liveBytes;
    /** Bytes of the device, and of the cache. */
    const measure = (capacity: number, holdsAll: boolean) => {
      using session = new Session({ ...model, config: { ...model.config, contextLength: 8192 } }, {
        capacity,
        holdsAll,
      });
      const { layers: buffers } = session.forward.cache;
      const perLayer = buffers.map(({ keys, values }) => keys.byteLength + values.byteLength);
      const live = device.usage.liveBytes - before;
      assertEquals(session.cacheBytes, perLayer.reduce((sum, bytes) => sum + bytes, 0));
      assertEquals(session.cacheBytes, fullCacheBytes(session.forward.cache.shape));
      return { live, perLayer, cache: session.cacheBytes };
    };
    const token = 2 * 2 * kvHeads * headDim;
    const whole = measure(4096, true);
    assertEquals(whole.cache, layers * 4096 * token);
    const bounded = measure(4096, false);
    bounded.perLayer.forEach((bytes, layer) => {
      const window = windows[layer];
      const slots = window === undefined ? 4096 : 64 * Math.ceil((window + 128) / 64);
      assertEquals(bytes, slots * token, `${name}, layer ${layer}`);
    });
    assertEquals(whole.live - bounded.live, whole.cache - bounded.cache, "live buffers");
    const longer = measure(8192, false);
    windows.forEach((window, layer) => {
      if (window !== undefined) assertEquals(longer.perLayer[layer], bounded.perLayer[layer]);
    });
    assertEquals(device.usage.liveBytes, before, "everything is freed");
  }
});

Deno.test("a text that fits within the ring takes no ring, nor does a model without windows", async () => {
  using model = await tinyModel("gemma2_f32", await testDevice("cpu"));
  using short = new Session(model, { capacity: ringSlots(9, CHUNK), chunk: CHUNK });
  assertEquals(short.forward.cache.shape.rings, undefined);
  using plain = await tinyModel("qwen2_untied_f32", await testDevice("cpu"));
  using session = new Session(plain, { capacity: CAPACITY, chunk: CHUNK });
  assertEquals("rings" in session.forward.cache.shape, false);
});

Deno.test("Session.rewind() goes back as far as windows are held, and says how far that is", async () => {
  using model = await tinyModel("mistral_window_bf16", await testDevice("cpu"));
  const text = textOf(model, PROMPT);
  const ring = ringSlots(13, CHUNK);
  // The first row after it sees twelve tokens before its own.
  const least = PROMPT - ring + 12;
  const logitsFrom = async (length: number, session: Session) => {
    let last = new Float32Array();
    const given = text.slice(length, length + 30);
    await session.prefill(given, { onLogits: (row) => last = row.slice() });
    return last;
  };
  for (const length of [least, 0]) {
    using session = new Session(model, { capacity: CAPACITY, chunk: CHUNK });
    await session.prefill(text);
    assertEquals([least - 1, least].map((shorter) => session.canRewind(shorter)), [false, true]);
    assertThrows(
      () => session.rewind(least - 1),
      RequirementError,
      `Cannot rewind: length must be 0, or at least ${least}, since layers with a window hold only the newest tokens ` +
        `unless holdsAll is set: current value is ${least - 1}`,
    );
    session.rewind(length);
    using other = new Session(model, { capacity: CAPACITY, chunk: CHUNK });
    if (length > 0) await other.prefill(text.slice(0, length));
    assertEquals(await logitsFrom(length, session), await logitsFrom(length, other));
  }
});

Deno.test("readVectors() reads tokens across the end of a ring, and refuses more than it has", async () => {
  using model = await tinyModel("mistral_window_bf16", await testDevice("cpu"));
  const text = textOf(model, PROMPT);
  const vectors = async (holdsAll: boolean) => {
    using session = new Session(model, { capacity: CAPACITY, chunk: CHUNK, holdsAll });
    await session.prefill(text, { logits: "none" });
    return await readVectors(session.forward, { sequence: 0, from: 170, to: PROMPT });
  };
  assertEquals(await vectors(false), await vectors(true));
  using session = new Session(model, { capacity: CAPACITY, chunk: CHUNK });
  await session.prefill(text, { logits: "none" });
  await assertRejects(
    () => readVectors(session.forward, { sequence: 0, from: 0, to: PROMPT }),
    RequirementError,
    "Cannot read keys and values: tokens must be an integer at most 64: current value is 200",
  );
});

Deno.test("a sequence moves between sessions with rings of different sizes", async () => {
  using model = await tinyModel("gemma3_bf16", await testDevice("cpu"));
  const text = textOf(model, PROMPT);
  const rest = textOf(model, 30, 5);
  const logits = async (session: Session) => {
    let last = new Float32Array();
    await session.prefill(rest, { onLogits: (row) => last = row.slice() });
    return last;
  };
  using whole = new Session(model, { capacity: CAPACITY, holdsAll: true });
  await whole.prefill(text);
  const places = [CHUNK, 100].flatMap((from) => [CHUNK, 100, undefined].map((to) => [from, to]));
  using copy = await whole.save(0);
  const expected = await logits(whole);
  for (const [from, to] of places) {
    using first = new Session(model, { capacity: CAPACITY, chunk: from! });
    await first.restore(copy, 0);
    using saved = await first.save(0);
    assert(saved.byteLength < copy.byteLength, "only held tokens are saved");
    const sizes = to === undefined ? { holdsAll: true } : { chunk: to };
    using second = new Session(model, { capacity: CAPACITY, ...sizes });
    await second.restore(saved, 0);
    assertEquals(await logits(second), expected, `chunks of ${from} and ${to}`);
    assertEquals(second.canRewind(20), false, "what was not saved is not there");
  }
});

Deno.test("layers without a window hold every token up to the end of the cache, whatever is counted past it", () => {
  const shape = { layers: 2, sequences: 1, kvHeads: 1, headDim: 8, capacity: 180 };
  const attention = [{ window: 16 }, {}];
  const held = new HeldTokens({ ...shape, rings: [64, undefined] }, { layerAttention: attention });
  held.write(0, 190);
  assertEquals(held.ranges(0, 179), [{ from: 126, to: 179 }, { from: 0, to: 179 }]);
});
