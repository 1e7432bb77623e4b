import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { Session } from "../../../decoding/session/session.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import { assertClose } from "../../support/assert_close.ts";
import { embeddedModel, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu, testBackends } from "../../support/gpu.ts";
import { observed } from "../../support/observed_model.ts";

/** Rounding of a whole forward pass: six layers of dot products of up to 320 terms, halves in the cache. */
const FORWARD = { terms: 6 * 320, magnitude: 8 };

for (const backend of testBackends) {
  Deno.test(`Session gives the same logits whatever the chunk on ${backend}`, async () => {
    const model = await embeddedModel("large", backend);
    const tokens = someTokens(45);
    const logits: Float32Array[] = [];
    for (const chunk of [45, 16, 7, 1]) {
      using session = new Session(model, { capacity: 45, chunk });
      await session.prefill(tokens, { onLogits: (values) => logits.push(values) });
    }
    for (const other of logits.slice(1)) assertClose(other, logits[0]!, FORWARD);
  });

  Deno.test(`Session decodes what prefilling the same tokens chooses on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const tokens = someTokens(30);
    using session = new Session(model, { capacity: 60 });
    await session.prefill(tokens);
    const [first] = await session.nextTokens();
    const [rest] = await session.decode(20);
    using again = new Session(model, { capacity: 60 });
    const chosen: number[] = [];
    let next: readonly number[] = tokens;
    while (chosen.length < 21) {
      await again.prefill(next);
      next = await again.nextTokens();
      chosen.push(...next);
    }
    assertEquals([first, ...rest!], chosen);
  });

  Deno.test(`Session keeps the sequences of a batch apart on ${backend}`, async () => {
    const model = await embeddedModel("large", backend);
    const prompts = [someTokens(12), someTokens(31).reverse(), someTokens(20)];
    const alone: number[][] = [];
    for (const prompt of prompts) {
      using session = new Session(model, { capacity: 48 });
      await session.prefill(prompt);
      alone.push([...await session.nextTokens(), ...(await session.decode(9))[0]!]);
    }
    using batch = new Session(model, { capacity: 48, sequences: 3 });
    for (const [sequence, prompt] of prompts.entries()) await batch.prefill(prompt, { sequence });
    const first = await batch.nextTokens();
    const rest = await batch.decode(9);
    assertEquals(first.map((token, sequence) => [token, ...rest[sequence]!]), alone);
  });

  Deno.test(`traceAttention() sums what its maps hold on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const { layers, queryHeads } = model.config;
    const tokens = someTokens(40);
    const trace = await traceAttention(model, tokens, { heads: "all", checkpoints: [17] });
    assertEquals(trace.maps.length, layers * queryHeads);
    for (const checkpoint of [17, 40]) {
      const sums = new Float64Array(layers * queryHeads * checkpoint);
      trace.maps.forEach(({ values }, head) => {
        for (let query = 0; query < checkpoint; query++) {
          for (let key = 0; key <= query; key++) {
            sums[head * checkpoint + key]! += values[query * 40 + key]!;
          }
        }
      });
      const actual = checkpoint === 40 ? trace.accumulated : trace.checkpoints[0]!;
      assertClose(actual, sums, { terms: 64, magnitude: checkpoint });
    }
  });

  Deno.test(`Session with masked tokens decodes as without them on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const tokens = someTokens(24);
    using masked = new Session(model, { capacity: 24, masked: true, accumulate: true });
    masked.setVisible((_head, position) => position !== 5);
    await masked.prefill(tokens.slice(0, 5), { logits: "none" });
    masked.setVisible(() => true);
    await masked.prefill(tokens.slice(5, 6), { logits: "none" });
    masked.setVisible((_head, position) => position !== 5);
    masked.clearAccumulated();
    await masked.prefill(tokens.slice(6), { logits: "none" });
    const sums = await masked.accumulated();
    for (let head = 0; head < sums.length / 24; head++) assertEquals(sums[head * 24 + 5], 0);
  });
}

Deno.test({
  name: "webgpu and reference agree on logits and sums within rounding",
  ignore: !hasGpu,
  async fn() {
    const tokens = someTokens(200);
    const [webgpu, reference] = await Promise.all(([gpuBackend, "reference"] as const).map(
      async (backend) =>
        await traceAttention(await embeddedModel("large", backend), tokens, { logits: "all" }),
    ));
    assertClose(webgpu!.logits, reference!.logits, FORWARD);
    assertClose(webgpu!.accumulated, reference!.accumulated, { ...FORWARD, magnitude: 8 });
  },
});

Deno.test({
  name: "Session makes no buffer and no bind group while it decodes",
  ignore: !hasGpu,
  async fn() {
    const model = await embeddedModel("large", gpuBackend);
    using session = new Session(model, { capacity: 300 });
    await session.prefill(someTokens(20));
    await session.decode(16);
    const before = model.device.usage;
    await session.decode(200);
    const after = model.device.usage;
    assertEquals(after.buffersCreated, before.buffersCreated);
    assertEquals(after.bindGroupsCreated, before.bindGroupsCreated);
    assertEquals(after.reads - before.reads, 1);
  },
});

Deno.test("Session reads the device once for all tokens that it decodes", async () => {
  const { model, calls } = observed(await embeddedModel("small", testBackends[0]!));
  using session = new Session(model, { capacity: 400 });
  await session.prefill(someTokens(20));
  const readsOf = async (steps: number) => {
    const before = calls("read");
    await session.decode(steps);
    return calls("read") - before;
  };
  assertEquals([await readsOf(32), await readsOf(256)], [1, 1]);
});

Deno.test({
  name: "accumulated attention of 4,096 tokens takes no buffer that grows with the square",
  ignore: !hasGpu,
  async fn() {
    const { device, ...rest } = await embeddedModel("small", gpuBackend);
    const model = { ...rest, device, config: { ...rest.config, contextLength: 4096 } };
    const bytes: number[] = [];
    for (const length of [1024, 2048, 4096]) {
      const before = device.usage.liveBytes;
      using session = new Session(model, { capacity: length, accumulate: true });
      await session.prefill(someTokens(length), { logits: "none" });
      bytes.push(device.usage.liveBytes - before);
      const sums = await session.accumulated();
      const rows = sums.length / length;
      for (let head = 0; head < rows; head++) {
        const total = sums.subarray(head * length, (head + 1) * length).reduce((a, b) => a + b, 0);
        assert(
          Math.abs(total - length) < 1e-3 * length,
          `head ${head} must sum to ${length}: ${total}`,
        );
      }
    }
    // Linear growth: each doubling of the length adds twice as much as the one before.
    const ratio = (bytes[2]! - bytes[1]!) / (bytes[1]! - bytes[0]!);
    assert(ratio < 2.1, `growth must be linear: current ratio is ${ratio}`);
    assert(bytes[2]! < 4096 * 4096, `bytes must be below one map: current value is ${bytes[2]}`);
  },
});

Deno.test("Session refuses what it cannot do, in one sentence", async () => {
  const model = await embeddedModel("small", "reference");
  assertEquals(
    assertThrows(() => new Session(model, { capacity: 513 }), RequirementError).message,
    "Cannot start a session: capacity in tokens must be an integer from 1 to 512: current value is 513",
  );
  assertThrows(
    () => new Session(model, { capacity: 8, sequences: 1.5 }),
    RequirementError,
    "Cannot start a session: sequences must be an integer at least 1: current value is 1.5",
  );
  using session = new Session(model, { capacity: 8 });
  await assertRejects(
    () => session.prefill(someTokens(9)),
    Error,
    "number of tokens must be an integer from 1 to 8",
  );
  await assertRejects(
    () => session.prefill([768]),
    Error,
    "token ids must be integers from 0 to 767",
  );
  await assertRejects(() => session.accumulated(), Error, "must be started with accumulate");
  assertThrows(() => session.setVisible(() => true), Error, "must be started with masked");
  await assertRejects(
    () => traceAttention(model, someTokens(8), { heads: "all", maxBytes: 100 }),
    Error,
    "must take at most 100 bytes",
  );
  await assertRejects(
    () => traceAttention(model, someTokens(8), { accumulated: false, checkpoints: [4] }),
    Error,
    "checkpoints must come with sums of attention",
  );
  assertThrows(
    () => new Session(model, { capacity: 8, chunk: 0 }),
    Error,
    "chunk in tokens must be an integer at least 1: current value is 0",
  );
});

Deno.test("Session stops between chunks when its signal aborts", async () => {
  const model = await embeddedModel("small", "reference");
  using session = new Session(model, { capacity: 64, chunk: 8 });
  const controller = new AbortController();
  const stopped = session.prefill(someTokens(64), {
    signal: controller.signal,
    onProgress: (done) => done === 16 && controller.abort(new Error("enough")),
  });
  await assertRejects(() => stopped, Error, "enough");
  assertEquals(session.lengths, [0]);
});

for (const backend of testBackends) {
  Deno.test(`accumulated attention fades by rows, however a prompt is cut into chunks, on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const tokens = someTokens(40);
    const sums = async (chunk: number) => {
      using session = new Session(model, { capacity: 40, chunk, accumulate: true, isExact: true });
      await session.prefill(tokens, { logits: "none", rowDecay: 0.5 });
      return await session.accumulated();
    };
    const whole = await sums(40);
    // The weights of 40 rows at 1/2 add up to 2, and each row's attention to 1.
    const heads = model.config.layers * model.config.queryHeads;
    assertClose([whole.reduce((sum, value) => sum + value, 0)], [2 * heads], {
      terms: 40 * heads,
      magnitude: 2,
    });
    for (const chunk of [1, 7, 16]) {
      assertClose(await sums(chunk), whole, { terms: 200, magnitude: 2 });
    }
  });
}
