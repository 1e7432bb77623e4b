/**
 * What both back ends refuse before anything runs, and that they agree on what they accept.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { GpuError, type LabError, RequirementError } from "../../core/check.ts";
import { type Command, type Device, dispatch } from "../../gpu/device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { gpuBackend, testBackends, testDevice } from "../support/gpu.ts";
import { increment, multiplyAdd, scale } from "../support/small_kernels.ts";

interface Refusal {
  readonly name: string;
  readonly text: string;
  // deno-lint-ignore no-explicit-any -- as in assertRejects
  readonly ErrorType: abstract new (...args: any[]) => LabError;
  command(device: Device): Command;
}

const grid = [1, 1, 1] as const;

function pair(device: Device) {
  return { input: device.createBuffer("in", 2048), output: device.createBuffer("out", 2048) };
}

/** Hides mistakes in a dispatch from the compiler. */
function wrong(value: unknown): Command {
  return value as Command;
}

const refusals: readonly Refusal[] = [
  {
    name: "a missing buffer",
    ErrorType: RequirementError,
    text: "Cannot use scale: its buffers must be input, output: current value is input",
    command: (device) =>
      wrong({
        kernel: scale,
        buffers: { input: pair(device).input },
        params: { factor: 1 },
        grid,
      }),
  },
  {
    name: "an unknown parameter",
    ErrorType: RequirementError,
    text: "Cannot use scale: its params must be factor: current value is factor, offset",
    command: (device) =>
      wrong({ kernel: scale, buffers: pair(device), params: { factor: 1, offset: 2 }, grid }),
  },
  {
    name: "an unknown constant",
    ErrorType: RequirementError,
    text: "current value is TILE",
    command: (device) =>
      wrong({
        kernel: scale,
        buffers: pair(device),
        params: { factor: 1 },
        constants: { TILE: 8 },
        grid,
      }),
  },
  {
    name: "a fraction for a u32 parameter",
    ErrorType: RequirementError,
    text: "Cannot use multiply_add: count must be an integer from 0 to 4294967295: current value",
    command: (device) =>
      dispatch({
        kernel: multiplyAdd,
        buffers: pair(device),
        params: { count: 0.5, addend: 0 },
        grid,
      }),
  },
  {
    name: "NaN for an f32 parameter",
    ErrorType: RequirementError,
    text: "Cannot use scale: factor must be a number: current value is NaN",
    command: (device) =>
      dispatch({ kernel: scale, buffers: pair(device), params: { factor: NaN }, grid }),
  },
  {
    name: "a window off the 256-byte grid",
    ErrorType: RequirementError,
    text: "the offset of input of scale must be a multiple of 256: current value is 128",
    command: (device) => {
      const { input, output } = pair(device);
      const window = { buffer: input, byteOffset: 128, byteLength: 256 };
      return dispatch({
        kernel: scale,
        buffers: { input: window, output },
        params: { factor: 1 },
        grid,
      });
    },
  },
  {
    name: "a window past the end",
    ErrorType: RequirementError,
    text: "byteLength in in must be an integer from 0 to 1024: current value is 2048",
    command: (device) => {
      const { input, output } = pair(device);
      const window = { buffer: input, byteOffset: 1024, byteLength: 2048 };
      return dispatch({
        kernel: scale,
        buffers: { input: window, output },
        params: { factor: 1 },
        grid,
      });
    },
  },
  {
    name: "a binding over the limit",
    ErrorType: GpuError,
    text:
      "Cannot record step: counter of increment (huge) must have at most 4096 bytes: current value is 4100",
    command: (device) =>
      dispatch({
        kernel: increment,
        buffers: { counter: device.createBuffer("huge", 4100) },
        params: {},
        grid,
      }),
  },
  {
    name: "a grid over the limit",
    ErrorType: GpuError,
    text: "Cannot record step: grid[1] of increment must be at most 65535: current value is 65536",
    command: (device) =>
      dispatch({
        kernel: increment,
        buffers: { counter: device.createBuffer("counter", 4) },
        params: {},
        grid: [1, 65536, 1],
      }),
  },
  {
    name: "reading what is written in the same dispatch",
    ErrorType: RequirementError,
    text: "buffer of both output and input is in",
    command: (device) => {
      const { input } = pair(device);
      return dispatch({
        kernel: scale,
        buffers: { input, output: { buffer: input, byteOffset: 1024, byteLength: 4 } },
        params: { factor: 1 },
        grid,
      });
    },
  },
  {
    name: "another subgroup size",
    ErrorType: GpuError,
    text: "Cannot record step: increment must have subgroups of 3: current value is",
    command: (device) =>
      wrong({
        kernel: { ...increment, subgroupSize: 3 },
        buffers: { counter: device.createBuffer("counter", 4) },
        params: {},
        grid,
      }),
  },
  {
    name: "a copy within one buffer",
    ErrorType: RequirementError,
    text: "source and target of a copy must be two buffers: current buffer of both is in",
    command: (device) => {
      const { input } = pair(device);
      return { source: input, sourceOffset: 0, target: input, targetOffset: 8, byteLength: 8 };
    },
  },
  {
    name: "a copy of half words",
    ErrorType: RequirementError,
    text: "offset and length in in must be multiples of 4: current values are 2 and 4",
    command: (device) => {
      const { input, output } = pair(device);
      return { source: input, sourceOffset: 2, target: output, targetOffset: 0, byteLength: 4 };
    },
  },
];

for (const backend of testBackends) {
  for (const { name, ErrorType, text, command } of refusals) {
    Deno.test(`${backend}: record refuses ${name}`, async () => {
      using device = await openDevice({ backend, maxBindingBytes: 4096 });
      const commands = [command(device)];
      const before = device.usage.liveBytes;
      await assertRejects(() => device.record("step", commands), ErrorType, text);
      assertEquals(device.usage.liveBytes, before);
    });
  }
}

interface Step {
  readonly kind: "write" | "copy" | "run" | "submit";
  readonly from: number;
  readonly offset: number;
  readonly value: number;
}

const WORDS = 70;

/** Runs a random program over three buffers; `run` and `copy` gather commands until the next `submit`. */
async function runProgram(device: Device, program: readonly Step[]): Promise<Uint32Array[]> {
  const buffers = [0, 1, 2].map((index) => device.createBuffer(`buffer ${index}`, 4 * WORDS));
  let commands: Command[] = [];
  for (const { kind, from, offset, value } of program) {
    const [source, target] = [buffers[from]!, buffers[(from + 1) % 3]!];
    const words = WORDS - offset;
    if (kind === "write") device.write(source, 4 * offset, new Uint32Array(words).fill(value));
    else if (kind === "copy") {
      commands.push({
        source,
        sourceOffset: 0,
        target,
        targetOffset: 4 * offset,
        byteLength: 4 * words,
      });
    } else if (kind === "run") {
      const params = { count: words, addend: value };
      const constants = { FACTOR: from + 1, SHIFT: from };
      const bound = { input: source, output: target };
      const { length } = commands;
      commands.push(
        dispatch({
          kernel: multiplyAdd,
          buffers: bound,
          constants,
          params,
          grid: [length % 3, 1, 1],
        }),
      );
    } else {
      using recording = await device.record("program", commands);
      device.submit(recording, recording);
      commands = [];
    }
  }
  const read = await Promise.all(buffers.map((buffer) => device.read(buffer)));
  for (const buffer of buffers) buffer[Symbol.dispose]();
  return read.map((bytes) => new Uint32Array(bytes));
}

Deno.test({
  name: "both devices leave the same words after any program",
  ignore: testBackends.length < 2,
  async fn() {
    const step = fc.record({
      kind: fc.constantFrom<Step["kind"][]>("write", "copy", "run", "run", "submit"),
      from: fc.integer({ min: 0, max: 2 }),
      offset: fc.integer({ min: 0, max: WORDS - 1 }),
      value: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    });
    const gpu = await testDevice(gpuBackend);
    const reference = await testDevice("reference");
    const property = fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (program) => {
      const finished = [...program, { kind: "submit", from: 0, offset: 0, value: 0 } as const];
      assertEquals(await runProgram(gpu, finished), await runProgram(reference, finished));
    });
    await fc.assert(property, { seed: 11, numRuns: 60 });
  },
});
