import { deepStrictEqual, ok, rejects, throws } from "node:assert/strict";
import { Session } from "../../../decoding/session/session.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import { assertClose } from "../../support/assert_close.ts";
import { embeddedModel, someTokens } from "../../support/embedded_model.ts";
import { hasGpu, testBackends } from "../../support/gpu.ts";

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
    deepStrictEqual([first, ...rest!], chosen);
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
    deepStrictEqual(first.map((token, sequence) => [token, ...rest[sequence]!]), alone);
  });

  Deno.test(`traceAttention() sums what its maps hold on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const { layers, queryHeads } = model.config;
    const tokens = someTokens(40);
    const trace = await traceAttention(model, tokens, { heads: "all", checkpoints: [17] });
    deepStrictEqual(trace.maps.length, layers * queryHeads);
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

  Deno.test(`Session hides masked tokens as if they were not there on ${backend}`, async () => {
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
    for (let head = 0; head < sums.length / 24; head++) deepStrictEqual(sums[head * 24 + 5], 0);
  });
}

Deno.test({
  name: "webgpu and reference agree on logits and sums within rounding",
  ignore: !hasGpu,
  async fn() {
    const tokens = someTokens(200);
    const [webgpu, reference] = await Promise.all((["webgpu", "reference"] as const).map(
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
    const model = await embeddedModel("large", "webgpu");
    using session = new Session(model, { capacity: 300 });
    await session.prefill(someTokens(20));
    await session.decode(16);
    const before = model.device.usage;
    await session.decode(200);
    const after = model.device.usage;
    deepStrictEqual(after.buffersCreated, before.buffersCreated);
    deepStrictEqual(after.bindGroupsCreated, before.bindGroupsCreated);
    deepStrictEqual(after.reads - before.reads, 1);
  },
});

Deno.test({
  name: "Session decodes a tiny model faster than one awaited readback per token allows",
  ignore: !hasGpu,
  async fn() {
    const model = await embeddedModel("small", "webgpu");
    using session = new Session(model, { capacity: 400 });
    await session.prefill(someTokens(20));
    await session.decode(32);
    const start = performance.now();
    await session.decode(256);
    const stepMs = (performance.now() - start) / 256;
    ok(stepMs < 11, `a step must take less than 11 ms: current value is ${stepMs}`);
  },
});

Deno.test({
  name: "accumulated attention of 4,096 tokens takes no buffer that grows with the square",
  ignore: !hasGpu,
  async fn() {
    const { device, ...rest } = await embeddedModel("small", "webgpu");
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
        ok(
          Math.abs(total - length) < 1e-3 * length,
          `head ${head} must sum to ${length}: ${total}`,
        );
      }
    }
    // Linear growth: doubling the length adds twice what the doubling before it added.
    const ratio = (bytes[2]! - bytes[1]!) / (bytes[1]! - bytes[0]!);
    ok(ratio < 2.1, `growth must be linear: current ratio is ${ratio}`);
    ok(bytes[2]! < 4096 * 4096, `bytes must be below one map: current value is ${bytes[2]}`);
  },
});

Deno.test("Session refuses what it cannot do, in one sentence", async () => {
  const model = await embeddedModel("small", "reference");
  throws(() => new Session(model, { capacity: 513 }), {
    name: "RangeError",
    message:
      "Cannot start a session: capacity in tokens must be an integer from 1 to 512: current value is 513",
  });
  using session = new Session(model, { capacity: 8 });
  await rejects(session.prefill(someTokens(9)), /number of tokens must be an integer from 1 to 8/);
  await rejects(session.prefill([768]), /token ids must be integers from 0 to 767/);
  await rejects(session.accumulated(), /must be started with accumulate/);
  throws(() => session.setVisible(() => true), /must be started with masked/);
  await rejects(
    traceAttention(model, someTokens(8), { heads: "all", maxBytes: 100 }),
    /must take at most 100 bytes/,
  );
});

Deno.test("Session stops between chunks when asked to", async () => {
  const model = await embeddedModel("small", "reference");
  using session = new Session(model, { capacity: 64, chunk: 8 });
  const controller = new AbortController();
  const stopped = session.prefill(someTokens(64), {
    signal: controller.signal,
    onProgress: (done) => done === 16 && controller.abort(new Error("enough")),
  });
  await rejects(stopped, /enough/);
  deepStrictEqual(session.lengths, [16]);
});
