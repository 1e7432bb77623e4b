/**
 * Tests of `tools/verify.ts`. Those that run transformers need a Python that has it, which `SMALLKV_PYTHON` names.
 *
 * @module
 */

import { assert, assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { runCommandLine } from "../../cli/command_line.ts";
import { openEngine } from "../../experiments/runner/engine.ts";
import type { ModelConfig } from "../../models/config.ts";
import { openSafetensors } from "../../models/safetensors/safetensors.ts";
import { VERIFIED_MODELS } from "../../models/verified.ts";
import { verifyCommand } from "../../tools/verify.ts";
import { type ComparedTrace, compareTrace, faultsOf } from "../../tools/verify/compare.ts";
import { runReference } from "../../tools/verify/python.ts";
import { withVerifiedTable } from "../../tools/verify/table.ts";
import {
  configJson,
  encodeGguf,
  encodeSafetensors,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
  type WrittenTensor,
  type WrittenValue,
} from "../support/model_writer.ts";

function tensor(name: string, shape: number[], values: readonly number[]): WrittenTensor {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return { name, type: "F32", shape, bytes };
}

/** Two tokens, three ids, one head; the choice of the second row is not clear. */
const LOGITS = [2, 1, 0, 0, 3, 2.95];
const MAP = [1, 0, 0.25, 0.75];

async function compared(changes: { logits?: readonly number[]; map?: readonly number[] }) {
  await using folder = await temporaryFolder();
  const tensors = [tensor("logits", [2, 3], LOGITS), tensor("attention", [1, 2, 2], MAP)];
  const file = encodeSafetensors(tensors);
  await using reference = await openSafetensors(
    await writeFiles(folder.path, { "r.safetensors": file }),
  );
  const map = changes.map ?? MAP;
  const trace: ComparedTrace = {
    tokens: 2,
    logits: Float32Array.from(changes.logits ?? LOGITS),
    maps: [{ layer: 0, head: 0, queries: 2, keys: 2, values: Float32Array.from(map) }],
    accumulated: Float32Array.of(map[0]! + map[2]!, map[1]! + map[3]!),
  };
  return await compareTrace(reference, trace);
}

Deno.test("compareTrace() finds no difference where there is none", async () => {
  const figures = await compared({});
  assertEquals(figures, {
    meanKl: 0,
    largestKl: 0,
    clearTopOne: { same: 1, of: 1 },
    topOne: { same: 2, of: 2 },
    attentionMap: 0,
    columnSum: 0,
  });
  assertEquals(faultsOf(figures), []);
});

Deno.test("compareTrace() measures logits over the whole vocabulary, and choices where they are clear", async () => {
  const unclear = await compared({ logits: [2, 1, 0, 0, 2.95, 3] });
  assertEquals([unclear.clearTopOne, unclear.topOne], [{ same: 1, of: 1 }, { same: 1, of: 2 }]);
  const wrong = await compared({ logits: [1, 2, 0, 0, 3, 2.95] });
  // By hand: p = softmax(2, 1, 0), q has the first two exchanged, so that KL is (p0 - p1) * 1.
  const total = Math.exp(2) + Math.exp(1) + 1;
  const kl = (Math.exp(2) - Math.exp(1)) / total;
  assertAlmostEquals(wrong.largestKl, kl, 1e-3);
  assertAlmostEquals(wrong.meanKl, kl / 2, 1e-3);
  const faults = faultsOf(wrong);
  assertMatch(faults[0]!, /^meanKl must be at most 0\.002: current value is 0\.21/);
  assertMatch(faults[1]!, /^the same clear choices must be 99 % of 1: current number is 0$/);
});

Deno.test("compareTrace() measures maps, and sums relative to the largest of the head", async () => {
  const figures = await compared({ map: [1, 0, 0.5, 0.5] });
  assertEquals([figures.attentionMap, figures.columnSum], [0.25, 0.2]);
  assertEquals(faultsOf(figures).length, 2);
  const { attentionMap, columnSum } = await compared({ map: [1, 0, NaN, 0.75] });
  assertEquals([attentionMap, columnSum], [Infinity, Infinity]);
  await assertRejects(
    () => compared({ logits: [1, 2, 3, 4] }),
    Error,
    "its logits must have the shape [2,2] of this engine's: current shape is [2,3]",
  );
});

Deno.test("withVerifiedTable() replaces the table between its two lines and nothing else", () => {
  const document = "a\n<!-- Written by `deno task index` from models/verified.json -->\nold\n" +
    "<!-- End of what is written -->\nb\n";
  const text = withVerifiedTable(document);
  assert(
    text.startsWith("a\n<!-- Written") && text.endsWith("<!-- End of what is written -->\nb\n"),
  );
  assert(!text.includes("old"));
  for (const { model } of VERIFIED_MODELS) assert(text.includes(`| ${model} |`), model);
  assertEquals(withVerifiedTable(text), text);
  let message = "";
  try {
    withVerifiedTable("no lines");
  } catch (error) {
    message = String(error);
  }
  assertMatch(message, /must be lines of the document/);
});

/** A Python that prints a line and ends with a code. */
async function fakePython(line: string, code: number): Promise<string> {
  await using folder = await temporaryFolder();
  const path = `${folder.path}/python`;
  await Deno.writeTextFile(path, `#!/bin/sh\necho '${line}'\necho Traceback >&2\nexit ${code}\n`);
  await Deno.chmod(path, 0o755);
  const signal = new AbortController().signal;
  try {
    return JSON.stringify(await runReference({ python: path, name: "m", args: [], signal }));
  } catch (error) {
    return String(error).replace(path, "PYTHON").replaceAll(path, "PYTHON");
  }
}

Deno.test({
  name: "runReference() says what Python lacks, why it refuses, and how it failed",
  ignore: Deno.build.os === "windows",
  async fn() {
    assertEquals(await fakePython('{"torch": "2.0"}', 0), '{"torch":"2.0"}');
    assertEquals(
      await fakePython('{"missing": ["torch", "gguf"]}', 3),
      "DataError: Cannot verify m: PYTHON must have the packages of transformers: missing ones are torch, gguf; " +
        "PYTHON -m pip install torch gguf installs them",
    );
    assertEquals(
      await fakePython('{"requirement": "this must be", "state": "one is that"}', 4),
      "DataError: Cannot verify m: this must be: current one is that",
    );
    assertMatch(
      await fakePython("", 1),
      /transformers must run the model: current value is Traceback$/,
    );
    const signal = new AbortController().signal;
    await assertRejects(
      () => runReference({ python: "/no/python", name: "m", args: [], signal }),
      Error,
      "--python must name a Python interpreter: current value is /no/python",
    );
  },
});

const python = Deno.env.get("SMALLKV_PYTHON");

async function verify(...words: string[]): Promise<{ code: number; out: string; error: string }> {
  let [out, error] = ["", ""];
  const code = await runCommandLine([verifyCommand({ openEngine })], ["verify", ...words], {
    out: (text) => out += text,
    error: (text) => error += text,
    isInteractive: false,
    columns: () => 100,
    outColumns: () => Infinity,
    signal: new AbortController().signal,
  });
  return { code, out, error };
}

/** Runs the command on a tiny Llama in GGUF; `files` lie beside it, and FOLDER in words is theirs. */
async function verifyGguf(
  { metadata = [], weights = [], config = {}, files = {}, words = [] }: {
    readonly metadata?: readonly [string, WrittenValue][];
    readonly weights?: readonly WrittenTensor[];
    readonly config?: Partial<ModelConfig>;
    readonly files?: Readonly<Record<string, object>>;
    readonly words?: readonly string[];
  },
) {
  const llama: ModelConfig = {
    ...TINY,
    architecture: "llama",
    headDim: 6,
    hasQkvBias: false,
    ...config,
  };
  await using folder = await temporaryFolder();
  const vocabulary: [string, WrittenValue] = ["llama.vocab_size", ["u32", TINY.vocabulary]];
  const gguf = encodeGguf({
    metadata: [...ggufMetadata(llama), vocabulary, ...metadata],
    tensors: [...ggufTensors(tinyWeights(llama), llama.headDim), ...weights],
  });
  const ids = Array.from({ length: 20 }, (_, at) => at * 7 % TINY.vocabulary);
  const path = await writeFiles(folder.path, { "tiny.gguf": gguf, "ids.json": ids, ...files });
  const given = ["--tokens", `${folder.path}/ids.json`, "--length", "20", "--device", "cpu"];
  const more = words.map((word) => word.replace("FOLDER", folder.path));
  return await verify(path, ...given, "--python", python!, "--json", ...more);
}

const ropeFactors = tensor("rope_freqs.weight", [3], [1, 2, 4]);
const BIASES = { hasQkvBias: true, hasOutputBias: true };
const LINEAR = { rope_type: "linear", factor: 2 };
const configured = (more: object) => ({
  "config.json": {
    ...configJson({ ...TINY, architecture: "llama", headDim: 6, hasQkvBias: false }),
    ...more,
  },
});

Deno.test({
  name: "verify compares a GGUF file with transformers",
  ignore: python === undefined,
  async fn() {
    const { code, out, error } = await verifyGguf({});
    assertEquals(code, 0, error);
    const row = JSON.parse(out);
    assertEquals([row.model, row.family, row.tokens, row.figures.topOne], [
      ...["tiny", "Llama", 20],
      { same: 20, of: 20 },
    ]);
    assert(row.figures.meanKl < 1e-9 && row.figures.attentionMap < 1e-5, out);
    assertEquals(row.tokenizer, "unknown: token ids were given");
    assertEquals(row.reference.weights, "file");
  },
});

Deno.test({
  name:
    "verify refuses as a yardstick what transformers reads in part, and takes a configuration that says it",
  ignore: python === undefined,
  async fn() {
    const scaling: [string, WrittenValue][] = [
      ["llama.rope.scaling.type", ["string", "linear"]],
      ["llama.rope.scaling.factor", ["f32", 2]],
    ];
    const cases = [
      [
        { metadata: scaling },
        /keys that it ignores .* rope\.scaling\.type = linear, rope\.scaling\.factor = 2/,
      ],
      [{ weights: [ropeFactors] }, /it may ignore rope_freqs\.weight/],
      [{ config: BIASES }, /it may ignore blk\.0\.attn_\w+\.bias, .* and so on/],
    ] as const;
    for (const [given, message] of cases) {
      const { code, error } = await verifyGguf(given as Parameters<typeof verifyGguf>[0]);
      assertEquals(code, 1, error);
      assertMatch(error, message);
      assertMatch(error, /or --config .*\(or --reference .*\)/);
    }
    const files = configured({ rope_parameters: { ...LINEAR, rope_theta: 10000 } });
    const said = await verifyGguf({ metadata: scaling, files, words: ["--config", "FOLDER"] });
    assertEquals(said.code, 0, said.error);
    assertMatch(JSON.parse(said.out).reference.weights, /^configuration of /);
    const biased = await verifyGguf({
      config: BIASES,
      files: configured({ attention_bias: true }),
      words: ["--config", "FOLDER"],
    });
    assertEquals(biased.code, 0, biased.error);
    // Another rotation than the file's is seen.
    const other = configured({ rope_parameters: { ...LINEAR, factor: 8, rope_theta: 10000 } });
    const wrong = await verifyGguf({
      metadata: scaling,
      files: other,
      words: ["--config", "FOLDER"],
    });
    assertEquals(wrong.code, 3, wrong.error);
    assertMatch(wrong.error, /tiny differs: /);
  },
});

Deno.test("verify explains command lines that it cannot run", async () => {
  const cases: [string[], number, RegExp][] = [
    [[], 2, /MODEL must be one: current number is 0/],
    [["none.gguf"], 1, /MODEL must be a file or a folder: current path does not exist/],
    [["a", "--text", "t", "--tokens", "t"], 2, /--text and --tokens exclude each other/],
    [["a.gguf", "--config", "c", "--reference", "r"], 2, /exclude each other/],
    [["folder", "--config", "c"], 2, /--config must go with a \.gguf file/],
  ];
  for (const [words, code, message] of cases) {
    const result = await verify(...words, "--device", "reference");
    assertEquals(result.code, code, result.error);
    assertMatch(result.error, message);
  }
});
