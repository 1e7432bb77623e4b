import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command, CommandIo } from "../../cli/command.ts";
import type { OpenEngine } from "../../experiments/runner/engine.ts";
import { runCommandLine } from "../../cli/command_line.ts";
import { extractCommand } from "../../cli/extract.ts";
import { fittedMapJson, parseFittedMap } from "../../cli/fitted_map_file.ts";
import { infoCommand } from "../../cli/info.ts";
import { matchCommand } from "../../cli/match.ts";
import { reproduceCommand } from "../../cli/reproduce.ts";
import { verifiedText } from "../../cli/verified_text.ts";
import { VERIFIED_MODELS } from "../../models/verified.ts";
import { useChromium } from "../support/chromium.ts";
import { fakeEngine, fakeExperiment } from "./fake_engine.ts";

const openEngine = fakeEngine();
const COMMANDS = [
  extractCommand({ openEngine }),
  matchCommand({ openEngine }),
  infoCommand({ openEngine }),
  reproduceCommand({
    openEngine,
    experiments: [fakeExperiment("first", { count: 1 })],
  }),
];

async function run(
  words: readonly string[],
  commands: readonly Command[] = COMMANDS,
): Promise<{ code: number; out: string; error: string }> {
  let out = "";
  let error = "";
  const io: CommandIo = {
    out: (text) => out += text,
    error: (text) => error += text,
    isInteractive: false,
    columns: () => 100,
    outColumns: () => Infinity,
    signal: new AbortController().signal,
  };
  using _ = useChromium("none");
  const code = await runCommandLine(commands, words, io);
  return { code, out, error };
}

/** Runs a test in a folder with `ids.json` (120 ids) and `text.txt` (120 letters). */
async function withFolder(
  test: (place: (name: string) => string, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "extract-"));
  const place = (name: string) => join(folder, name);
  const ids = Array.from({ length: 120 }, (_, index) => index * 5 % 32);
  await writeFile(place("ids.json"), JSON.stringify(ids));
  await writeFile(place("text.txt"), "ab".repeat(60));
  try {
    await test(place, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

interface Header {
  readonly [name: string]: {
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly data_offsets: readonly [number, number];
  };
}

async function readHeader(path: string): Promise<Header & { __metadata__?: { texts?: string } }> {
  const bytes = new Uint8Array(await readFile(path));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  return JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
}

/** Names and texts of the files of a folder. */
async function contents(folder: string): Promise<[string, string][]> {
  const names = (await readdir(folder)).sort();
  return await Promise.all(
    names.map(async (name) => [name, await readFile(join(folder, name), "utf8")]),
  );
}

async function readTensors(path: string): Promise<Record<string, Tensor>> {
  const bytes = new Uint8Array(await readFile(path));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = await readHeader(path);
  const tensors: Record<string, Tensor> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { shape, data_offsets: [start, end] } = entry;
    const values = new Float32Array(bytes.slice(8 + length + start, 8 + length + end).buffer);
    tensors[name] = { shape, values };
  }
  return tensors;
}

Deno.test("extract writes logits, accumulated attention and named heads", () =>
  withFolder(async (place) => {
    const out = place("a.safetensors");
    const words = ["--logits", "all", "--attention", "1:0,0:1,1:0", "--accumulated", "--out", out];
    const { code } = await run(["extract", "--tokens", place("ids.json"), ...words]);
    assertEquals(code, 0);
    const tensors = await readTensors(out);
    assertEquals(
      Object.entries(tensors).map(([name, { shape }]) => [name, shape]),
      [
        ["tokens", [120]],
        ["logits", [120, 32]],
        ["accumulated", [2, 2, 120]],
        ["attention.0.1", [120, 120]],
        ["attention.1.0", [120, 120]],
      ],
    );
    assertEquals(tensors["attention.1.0"]!.values[0], 100);
    assertEquals(tensors["logits"]!.values[33], 33);
  }));

Deno.test("extract writes all maps as one tensor and the last logits as one row", () =>
  withFolder(async (place) => {
    const out = place("a.safetensors");
    const words = ["--attention", "all", "--logits=last", "--out", out];
    const { code } = await run(["extract", "--text", place("text.txt"), ...words]);
    assertEquals(code, 0);
    const { attention, logits } = await readTensors(out);
    assertEquals(attention!.shape, [2, 2, 120, 120]);
    const firsts = [0, 1, 2, 3].map((head) => attention!.values[head * 120 * 120]);
    assertEquals(firsts, [0, 10, 100, 110]);
    assertEquals(logits!.shape, [1, 32]);
  }));

Deno.test("extract writes ids, texts, and states under TransformerLens' names", () =>
  withFolder(async (place) => {
    const out = place("a.safetensors");
    const words = ["--keys", "--values", "--hidden", "--out", out];
    const { code, error } = await run(["extract", "--text", place("text.txt"), ...words]);
    assertEquals(code, 0, error);
    const { __metadata__: metadata, ...header } = await readHeader(out);
    assertEquals(
      Object.entries(header).map(([name, { dtype, shape }]) => [name, dtype, shape]),
      [
        ["tokens", "I32", [120]],
        ["hook_embed", "F32", [120, 16]],
        ...[0, 1].flatMap((layer) => [
          [`blocks.${layer}.attn.hook_rot_k`, "F32", [120, 1, 8]],
          [`blocks.${layer}.attn.hook_v`, "F32", [120, 1, 8]],
          [`blocks.${layer}.hook_resid_post`, "F32", [120, 16]],
        ]),
      ],
    );
    assertEquals(JSON.parse(metadata!.texts!).slice(0, 3), ["a", "b", "a"]);
    const tensors = await readTensors(out);
    assertEquals([...new Int32Array(tensors["tokens"]!.values.buffer, 0, 2)], [1, 2]);
    assertEquals(tensors["hook_embed"]!.values[5], 5);
    assertEquals(tensors["blocks.1.attn.hook_rot_k"]!.values[0], 120 * 8);
    assertEquals(tensors["blocks.1.attn.hook_v"]!.values[9], -(120 * 8 + 9));
    assertEquals(tensors["blocks.1.hook_resid_post"]!.values[0], 2 * 120 * 16);
  }));

Deno.test("extract refuses a file above the limit and says how large it would be", () =>
  withFolder(async (place, folder) => {
    // The limit is that of what is held at once, too.
    const given: (number | undefined)[] = [];
    const watched: OpenEngine = async (...parts) => {
      const engine = await openEngine(...parts);
      const openModel: typeof engine.openModel = async (...which) => {
        const model = await engine.openModel(...which);
        const trace: typeof model.trace = (tokens, more) => {
          given.push(more?.maxBytes);
          return model.trace(tokens, more);
        };
        return { ...model, trace };
      };
      return { ...engine, openModel };
    };
    const all = ["extract", "--tokens", place("ids.json"), "--logits", "all"];
    const raised = [...all, "--max-bytes", "9000000", "--out", place("a")];
    assertEquals((await run(raised, [extractCommand({ openEngine: watched })])).code, 0);
    assertEquals(given, [9000000]);
    const words = ["extract", "--tokens", place("ids.json"), "--attention", "all", "--out"];
    const { out } = await run([...words, place("a")]);
    const { size } = await Deno.stat(place("a"));
    assert(size > 230880, "tensors and a header");
    assertMatch(out, new RegExp(`, ${size} bytes\n$`));
    const limit = ["--max-bytes", String(size - 1)];
    const { code, error } = await run([...words, place("b"), ...limit]);
    assertEquals(code, 1);
    assertMatch(
      error,
      new RegExp(`at most ${size - 1} bytes, see --max-bytes: current size is ${size}`),
    );
    assertEquals((await readdir(folder)).sort(), ["a", "ids.json", "text.txt"]);
  }));

Deno.test("match writes window, sets, matches and similarities", () =>
  withFolder(async (place) => {
    const out = place("match.json");
    const words = ["--window", "110", "--top", "0.1", "--out", out];
    const { code } = await run(["match", "--tokens", place("ids.json"), ...words]);
    assertEquals(code, 0);
    const content = JSON.parse(await readFile(out, "utf8"));
    assertEquals(Object.keys(content), [
      "window",
      "topTokens",
      "match",
      "similarity",
      "cosine",
    ]);
    assertEquals(content.window, 110);
    assertEquals(content.topTokens, 11);
    assertEquals(content.match, [0, 1, 2, 3]);
    assertEquals(content.similarity, [1, 1, 1, 1]);
  }));

Deno.test("match leaves out small layers with a window, as decoding does, unless --layers any is given", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--out", place("match.json")];
    const pair = ["--large", "windowed large", "--small", "windowed large"];
    const matched = async (...more: string[]) => {
      const { code, error } = await run(["match", ...words, ...pair, ...more]);
      assertEquals(code, 0, error);
      return JSON.parse(await readFile(place("match.json"), "utf8")).match;
    };
    assert((await matched()).every((head: number) => head >= 2));
    assertEquals(await matched("--layers", "any"), [0, 1, 2, 3]);
  }));

Deno.test("extract and match do not write over what they read, and match refuses --out before it runs", () =>
  withFolder(async (place, folder) => {
    await writeFile(place("model.gguf"), "weights");
    await writeFile(place("model-00001-of-00002.gguf"), "weights");
    await writeFile(place("model-00002-of-00002.gguf"), "weights");
    await writeFile(place("config.json"), "{}");
    await symlink(place("ids.json"), place("link"));
    const before = await contents(folder);
    const [ids, model] = [["--tokens", place("ids.json")], place("model.gguf")];
    const cases: [string[], string, string][] = [
      [["extract", "--accumulated", ...ids], "ids.json", "--tokens"],
      [["extract", "--accumulated", ...ids], "link", "--tokens"],
      [["extract", "--accumulated", "--text", place("text.txt")], "./text.txt", "--text"],
      [["extract", "--accumulated", ...ids, "--model", model], "model.gguf", "--model"],
      [["extract", "--accumulated", ...ids, "--model", folder], "config.json", "--model"],
      [
        ["extract", "--accumulated", ...ids, "--model", place("model-00001-of-00002.gguf")],
        "model-00002-of-00002.gguf",
        "--model",
      ],
      [["match", ...ids], "ids.json", "--tokens"],
      [["match", ...ids, "--large", place("text.txt"), "--small", model], "model.gguf", "--small"],
    ];
    for (const [words, out, flag] of cases) {
      const { code, error } = await run([...words, "--out", place(out)]);
      assertEquals(code, 2, words.join(" "));
      assertMatch(error, new RegExp(`--out must be another file than ${flag} reads: current`));
    }
    const { code, error } = await run(["match", ...ids, "--out", folder]);
    assertEquals(code, 1);
    assertEquals(error.includes("model"), false, "it should not have run one");
    assertMatch(error, /the path must not be a folder/);
    assertEquals(await contents(folder), before);
  }));

Deno.test("match --by fitted writes a map that generate --match-map can take", () =>
  withFolder(async (place) => {
    const out = place("map.json");
    const words = ["--by", "fitted", "--fit-rows", "8", "--fit-heads", "3", "--out", out];
    const { code, out: told, error } = await run([
      "match",
      "--tokens",
      place("ids.json"),
      ...words,
    ]);
    assertEquals(code, 0, error);
    assertMatch(told, /a map of 2 head groups, mean cosine 0\.99/);
    const { fittedMap, cosine } = JSON.parse(await readFile(out, "utf8"));
    assertEquals([fittedMap.version, fittedMap.groups, fittedMap.width], [1, 2, 3]);
    assertEquals(cosine.length, 2);
    const map = parseFittedMap(fittedMap);
    assert(typeof map !== "string");
    assertEquals(fittedMapJson(map), fittedMap);
    const wrong: [object, RegExp][] = [
      [{ version: 2 }, /version is 2, not 1/],
      [{ groups: 0 }, /sizes are 0 and 3/],
      [{ sources: [1] }, /no 6 heads under sources/],
      [{ weights: [1, 2, 3, 4, 5, null] }, /no 6 numbers under weights/],
    ];
    for (const [change, message] of wrong) {
      assertMatch(String(parseFittedMap({ ...fittedMap, ...change })), message);
    }
    const refused = await run([
      "match",
      "--tokens",
      place("ids.json"),
      "--fit-rows",
      "8",
      "--out",
      out,
    ]);
    assertMatch(refused.error, /--fit-rows must go with --by fitted/);
  }));

Deno.test("match uses the beginning of a text that is longer than the context", () =>
  withFolder(async (place) => {
    const ids = JSON.parse(await readFile(place("ids.json"), "utf8"));
    await writeFile(place("long.json"), JSON.stringify([...ids, ...Array(700).fill(3)]));
    await writeFile(place("long.txt"), "ab".repeat(500));
    const matched = async (...words: string[]) => {
      const { code, error } = await run(["match", ...words, "--out", place("match.json")]);
      assertEquals(code, 0, error);
      return JSON.parse(await readFile(place("match.json"), "utf8"));
    };
    const window = ["--window", "110"];
    assertEquals(
      await matched("--tokens", place("long.json"), ...window),
      await matched("--tokens", place("ids.json"), ...window),
    );
    assertEquals((await matched("--text", place("long.txt"))).window, 200);
    const words = ["match", "--tokens", place("long.json"), "--window", "600"];
    const { code, error } = await run([...words, "--out", place("x")]);
    assertEquals(code, 1);
    assertMatch(error, /must fit the context of fake large, 512: current count is 600/);
  }));

Deno.test("commands refuse input that does not fit, with exit code 1 and no file", () =>
  withFolder(async (place, folder) => {
    await writeFile(place("short.json"), "[1,2,3]");
    const files: [string, string | Uint8Array, RegExp][] = [
      ["object.json", "{}", /must hold a JSON array of token ids: current type is object/],
      ["broken.json", "[1,", /must hold a JSON array of token ids: current error is/],
      ["empty.json", "[]", /tokens must not be empty: current count is 0/],
      ["large.json", "[0,32]", /token 1 must be an integer from 0 to 31.*: current value is 32/],
      ["half.json", "[0.5]", /current value is 0\.5/],
      ["text.json", '["a"]', /current value is "a"/],
      ["long.json", JSON.stringify(Array(513).fill(1)), /512: current count is 513/],
      ["bytes.json", new Uint8Array([0xff, 0xfe, 0x00]), /the text must be UTF-8/],
    ];
    for (const [name, content, message] of files) {
      await writeFile(place(name), content);
      const commands = [["extract", "--accumulated"], ["match"]];
      // Of a longer text, matching uses the beginning.
      for (const words of name === "long.json" ? commands.slice(0, 1) : commands) {
        const input = ["--tokens", place(name), "--out", place("out")];
        const { code, error } = await run([...words, ...input]);
        assertEquals(code, 1, name);
        assertMatch(error, /^Cannot /m);
        assertMatch(error, message);
      }
    }
    const short = await run(["match", "--tokens", place("short.json"), "--out", place("out")]);
    assertMatch(short.error, /at least 100 tokens: current count is 3/);
    assertEquals(short.code, 1);
    assertEquals((await readdir(folder)).includes("out"), false);
  }));

Deno.test("commands say what is wrong with their options and end with 2", () =>
  withFolder(async (place) => {
    const tokens = ["--tokens", place("ids.json")];
    const cases: [string[], RegExp][] = [
      [[], /^Usage/],
      [["fly"], /its name must be one of extract, match, info, reproduce: current value is fly/],
      [["extract", "--out", "x", "--accumulated"], /one of --text and --tokens/],
      [["extract", ...tokens, "--text", "a", "--out", "x"], /current value is both/],
      [["extract", ...tokens, "--accumulated"], /--out must be given/],
      [
        ["extract", ...tokens, "--out", "x"],
        /one of --logits, --attention, --accumulated, --keys, .* must be given/,
      ],
      [["extract", ...tokens, "--out", "x", "--attention", "1"], /must be all or LAYER:HEAD/],
      [["extract", ...tokens, "--out", "x", "--logits", "some"], /one of last, all/],
      [["extract", "loose", ...tokens], /every value must follow an option/],
      [["match", ...tokens, "--out", "x", "--top", "0"], /--top must be a share above 0/],
      [["match", ...tokens, "--out", "x", "--window", "50"], /from 100 to/],
    ];
    for (const [words, message] of cases) {
      const { code, error, out } = await run(words);
      assertEquals(code, 2, words.join(" "));
      assertMatch(error + out, message);
    }
  }));

Deno.test("extract names a head that the model lacks", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--attention", "2:0", "--out", place("x")];
    const { code, error } = await run(["extract", ...words]);
    assertEquals(code, 1);
    assertMatch(error, /must be from 0:0 to 1:1: current value is 2:0/);
  }));

Deno.test("info shows device, versions and models", async () => {
  const { code, out } = await run(["info"]);
  assertEquals(code, 0);
  for (const word of ["reference", "made up", "fake large", "fake small", "vocabulary  32"]) {
    assert(out.includes(word), word);
  }
  for (
    const line of [
      "family      Qwen2",
      "parameters  4000 (0.00400 million)",
      "stored as   F16 75.0 %, Q8_0 25.0 %; 0.20 bits per parameter, 100 B",
      // 512 tokens, 2 layers, 1 KV head of 8 elements: 64 bytes a token
      "cache       32.0 KiB at 512 tokens; 16.0 KiB at 50 %, 6.4 KiB at 20 %, 3.2 KiB at 10 %, 1.6 KiB at 5 %",
    ]
  ) assert(out.includes(`  ${line}\n`), `${line} in ${out}`);
  const { out: sized } = await run(["info", "a.gguf", "--tokens", "10,100"]);
  assertMatch(sized, /cache {7}640 B at 10 tokens; 320 B at 50 %, 128 B at 20 %/);
  assertMatch(sized, /cache {7}6\.3 KiB at 100 tokens/);
  assertEquals((await run(["info", "--tokens", "many"])).code, 2);
});

Deno.test("info --verified prints the register without opening anything", async () => {
  const { code, out } = await run(["info", "--verified"]);
  assertEquals(code, 0);
  const [head, ...rows] = out.trimEnd().split("\n");
  assertMatch(head!, /^model +device +tokens +mean KL/);
  assertEquals(rows.map((row) => row.split(/ {2,}/)[0]), VERIFIED_MODELS.map(({ model }) => model));
  const { out: json } = await run(["info", "--verified", "--json"]);
  assertEquals(JSON.parse(json), VERIFIED_MODELS);
  assertMatch((await run(["info", "--json"])).error, /--json must come with --verified/);
  const named = await run(["info", "a.gguf", "--verified"]);
  assertEquals(named.code, 2);
  assertMatch(named.error, /--verified must come without MODEL: current value is a\.gguf/);
  const device = await run(["info", "--verified", "--device", "cpu"]);
  assertEquals([device.code, device.out], [2, ""]);
  assertMatch(device.error, /--verified and --device exclude each other/);
  assertEquals(verifiedText([]), "No model was verified.\n");
});

Deno.test("info counts what layers with a window hold", async () => {
  const { out } = await run(["info", "windowed.gguf", "--tokens", "200,400"]);
  // 32 bytes a token and layer; the window of one of them is 100, which makes 256 slots.
  assertMatch(out, /cache {7}12\.5 KiB at 200 tokens; /);
  assertMatch(out, /cache {7}20\.5 KiB at 400 tokens; 9\.4 KiB at 50 %, .*3\.8 KiB at 5 %/);
});

Deno.test("every command has help with examples", async () => {
  for (const { name } of COMMANDS) {
    const { code, out } = await run([name, "--help"]);
    assertEquals(code, 0);
    assertMatch(out, new RegExp(`Usage: deno task ${name}`));
    assertMatch(out, new RegExp(`Examples:\\n  deno task ${name}`));
    assert(out.split("\n").every((line) => line.length <= 110), name);
  }
});

Deno.test("no command line makes the program crash", () =>
  withFolder(async (place, folder) => {
    const known = COMMANDS.flatMap(({ name, options }) => [
      name,
      ...Object.keys(options).map((option) => `--${option}`),
    ]);
    const values = [place("ids.json"), "all", "0:0", "last", "0.2", "200", "-1", "smoke", ""];
    const word = fc.oneof(fc.constantFrom(...known, ...values, "--", "-", "-h"), fc.string());
    // Whatever the words say, files may only appear here.
    const line = fc.tuple(fc.constantFrom(...COMMANDS.map(({ name }) => name)), fc.array(word))
      .map((
        [name, words],
      ) => [name, ...words, ...(name === "info" ? [] : ["--out", place("out")])]);
    await fc.assert(
      fc.asyncProperty(line, async (words) => {
        const { code, error } = await run(words);
        assert([0, 1, 2].includes(code), `${code}`);
        if (code !== 0) assertMatch(error, /^(?:Cannot |.*: Cannot )/m);
        await rm(place("out"), { recursive: true, force: true });
      }),
      { seed: 14, numRuns: 300 },
    );
    assertEquals((await readdir(folder)).sort(), ["ids.json", "text.txt"]);
  }));
