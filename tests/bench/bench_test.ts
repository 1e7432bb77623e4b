/**
 * Tests of what benchmarks share, and runs of the quick ones.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { measureCeiling } from "../../bench/ceiling.ts";
import { openPeer } from "../../bench/peers.ts";
import { startClock } from "../../bench/speed.ts";
import { DEVICE_OPTIONS, deviceOpeners, Options, timesOf } from "../../bench/timing.ts";
import { RequirementError, UsageError } from "../../core/check.ts";

const root = new URL("../../", import.meta.url);

/** Runs a benchmark through its task; returns the line of JSON. */
async function bench(...words: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "bench", ...words],
    cwd: fileURLToPath(root),
    // Without an adapter, whatever the machine has: nothing may ask for one.
    env: { NO_COLOR: "1", SMALLKV_INSTALL: "0", DENO_WEBGPU_BACKEND: "gl" },
  }).output();
  const errors = new TextDecoder().decode(stderr);
  assertEquals(code, 0, errors);
  assert(!errors.includes("adapter"), errors);
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

Deno.test("devices are given as lists or several times, the CPU once for each number of threads", async () => {
  const described = async (...args: string[]): Promise<[string, number?][]> => {
    const devices: [string, number?][] = [];
    for (const open of deviceOpeners(new Options(args, DEVICE_OPTIONS))) {
      using device = await open();
      const { backend, threads } = device.info;
      devices.push(threads === undefined ? [backend] : [backend, threads]);
    }
    return devices;
  };
  const cores = navigator.hardwareConcurrency;
  assertEquals(await described("--device", "cpu"), [["cpu", cores]]);
  const expected: [string, number?][] = [["cpu", 1], ["cpu", 2], ["reference"]];
  assertEquals(await described("--device", "cpu,reference", "--threads", "1,2"), expected);
  const several = ["--device=cpu", "--threads=1", "--threads=2", "--device=reference"];
  assertEquals(await described(...several), expected);
  assertThrows(() => deviceOpeners(new Options(["--device", "gpu"], DEVICE_OPTIONS)), UsageError);
  for (const [words, device] of [["--threads=2", "reference"], ["--shapes=wide", "cpu"]] as const) {
    const refused = () => described(`--device=${device}`, words);
    await assertRejects(refused, RequirementError, `current value is ${device}`);
  }
});

Deno.test("numbers of benchmarks are refused as they were typed", () => {
  const options = (...args: string[]) => new Options(args, DEVICE_OPTIONS);
  for (const text of ["two", "", "1.5", "-1", "NaN", "1,x"]) {
    const wrong = text.split(",").at(-1)!;
    assertThrows(
      () => options(`--threads=${text}`).counts("threads"),
      UsageError,
      `--threads must list integers of at least 1: current value is ${wrong}`,
    );
  }
  assertThrows(
    () => options("--threads=1", "--threads=2").count("threads"),
    UsageError,
    "--threads must be one integer: current value is 1,2",
  );
});

Deno.test("benchmarks refuse kinds, words and numbers that they do not have, and name those they have", async () => {
  const cases: [string[], RegExp][] = [
    [["nosuch"], /KIND must be one of speed, gpu, .*: current value is nosuch/],
    [["toString"], /KIND must be one of speed, gpu, .*: current value is toString/],
    [
      ["ceiling", "--threads", "65"],
      /--threads must list integers from 1 to 64: current value is 65/,
    ],
    [["ranking", "--bits", "3"], /--bits must list some of 1, 2, 4: current value is 3/],
    [
      ["heads", "--samples", "3"],
      /Cannot run the benchmark: options must be among none: current value is --samples/,
    ],
    [["first", "--smaples=3"], /must be among --device, .*--samples: current value is --smaples/],
    [["first", "--samples"], /--samples must have a value: current value is none/],
    [["first", "embedded"], /every value must follow an option: current value is embedded/],
    [["speed", "--repeat", "x"], /--repeat must list some of prompt, decode: current value is x/],
    [
      ["study", "--python", "/nonexistent"],
      /--python must name .*: current value is \/nonexistent/,
    ],
    [
      ["policy", "--large=embedded", "--small=embedded", "--device=cpu", "--tokens=4096"],
      /--tokens must list integers from 100 to 508: current value is 4096/,
    ],
  ];
  for (const [words, message] of cases) {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", fileURLToPath(new URL("bench/run.ts", root)), ...words],
      env: { NO_COLOR: "1", DENO_WEBGPU_BACKEND: "gl" },
    }).output();
    const text = new TextDecoder().decode(stderr);
    assertMatch(text, message, words.join(" "));
    assert([1, 2].includes(code), `${words}: ${code}`);
    assert(!text.includes("    at "), text);
    if (words.length < 4) assertEquals(new TextDecoder().decode(stdout), "");
  }
});

Deno.test("openPeer() says that llama.cpp reads GGUF files alone", async () => {
  const shape = { prompt: [1], newTokens: 1, device: "cpu", threads: 1 } as const;
  await assertRejects(
    () => openPeer({ ...shape, path: "file:///models/large/" }),
    RequirementError,
    "the model must be a .gguf file: current value is file:///models/large/",
  );
});

Deno.test("timesOf() gives medians and quartiles of both clocks", () => {
  const samples = [5, 1, 3, 2, 4].map((wallMs) => ({ wallMs, processorMs: 10 * wallMs }));
  assertEquals(timesOf(samples), {
    ...{ medianMs: 3, lowMs: 2, highMs: 4 },
    ...{ processorMs: 30, processorLowMs: 20, processorHighMs: 40 },
  });
});

Deno.test("startClock() counts the processor time of other threads, and none of sleep", async () => {
  const clock = startClock();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const slept = clock();
  assert(slept.wallMs >= 190 && slept.processorMs < 150, JSON.stringify(slept));
  const text = `let sum = 0;
for (let step = 0; step < 4e8; step++) sum += step % 3;
postMessage(sum);`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const busy = startClock();
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
  URL.revokeObjectURL(url);
  const { processorMs } = busy();
  // So many sums take half a second of processor time, however little of it a shared machine gives in a second.
  assert(processorMs > 100, String(processorMs));
});

Deno.test("measureCeiling() finds rates that a core of this century has", async () => {
  const { threads, integerGops, floatGflops, readGigabytes, readBytes } = await measureCeiling(1);
  assertEquals([threads, readBytes >= 2 ** 27], [1, true]);
  for (const [rate, least, most] of [[integerGops, 1, 500], [floatGflops, 0.5, 250]] as const) {
    assert(rate > least && rate < most, String(rate));
  }
  assert(readGigabytes > 0.3 && readGigabytes < 500, String(readGigabytes));
});

Deno.test("benchmarks run on the CPU device without asking for an adapter, on each number of threads", async () => {
  const words = ["--device", "cpu", "--threads", "1,2", "--model", "embedded", "--peers", "none"];
  const sizes = ["--prompt", "16", "--tokens", "4", "--repetitions", "2"];
  const { bench: kind, engines, ceilings, ratios } = await bench("speed", ...words, ...sizes);
  assertEquals([kind, engines.length, ceilings.length, ratios.length], ["speed", 2, 2, 1]);
  assertEquals(ratios[0].equalTokens, 5);
  for (const { engine, token, shares } of engines) {
    assertMatch(engine, /^smallkv, cpu /);
    assert(token.processorMs > 0 && shares.tokenBytes > 0 && shares.promptOperations > 0);
  }
});

Deno.test("bench first compares policies, bench batch sizes of batches, bench memory bytes", async () => {
  const on = ["--device", "cpu", "--threads", "1"];
  const { rows } = await bench("first", ...on, "--tokens", "16", "--samples", "1");
  assertEquals(rows.map(({ policy }: { policy: string }) => policy), ["full", "smallkv"]);
  assertEquals([rows[0].over, rows[1].over > 0], [1, true]);
  const batch = await bench("batch", ...on, "--tokens", "32", "--steps", "1", "--samples", "1");
  assert(batch.settings === 16 && batch.ratio > 0);
  const memory = await bench("memory", ...on, "--model", "embedded", "--prompt", "16");
  const { weightBytes, cacheBytes, loadedBytes, peakBytes } = memory;
  assert(weightBytes + cacheBytes < loadedBytes && loadedBytes <= peakBytes);
});
