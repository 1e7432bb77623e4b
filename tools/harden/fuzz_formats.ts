/**
 * The kinds of files that users load: how each is damaged, and what is done with it.
 *
 * @module
 */

import { pick, type Random, randomInteger } from "../../core/random.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import { openModelFiles } from "../../models/open.ts";
import { chatTemplateOf, renderChat } from "../../models/tokenizer/chat_template.ts";
import { createTokenizer, type TokenizerFiles } from "../../models/tokenizer/tokenizer.ts";
import {
  encodeGguf,
  encodeSafetensors,
  type WrittenGguf,
  type WrittenTensor,
  type WrittenValue,
} from "../../tests/support/model_writer.ts";
import { rawHeader } from "../../tests/support/bad_files.ts";
import { damageBytes, damageJson, damageText, type Json, oddValue } from "./fuzz_mutations.ts";
import {
  CONFIGS,
  GGUF_KEYS,
  GGUFS,
  TEMPLATE_WORDS,
  TEMPLATES,
  TOKENIZER_CONFIG,
  TOKENIZERS,
  WEIGHTS,
} from "./fuzz_samples.ts";

/** What a case needs. */
export interface FuzzPlace {
  /** Random numbers of the case. */
  readonly random: Random;
  /** A folder for its files; each case of the kind writes the same ones. */
  readonly folder: string;
}

/** Damages a file of one kind and loads it; a refusal of the toolkit is thrown as it is. */
type FuzzFormat = (place: FuzzPlace) => Promise<void> | void;

/** The kinds by name. */
export const FORMATS: Readonly<Record<string, FuzzFormat>> = {
  gguf: fuzzGguf,
  safetensors: fuzzSafetensors,
  config: fuzzConfig,
  index: fuzzIndex,
  tokenizer: fuzzTokenizer,
  template: fuzzTemplate,
};

const CHAT = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "  \u00c7a va? \u{1f99c}\n" },
  { role: "assistant", content: "<think>\nhm\n</think>\n\n    return x\n" },
];
const TEXTS = [
  "hello world 12",
  " \u00c7a  va \u{1f99c}\n\n<|im_end|></s>",
  "",
  "\ud800\u0130\u1e9e",
];

const GOOD_GGUFS = GGUFS.map(encodeGguf);

/** Writes files at once: waiting for each costs more than all else. Returns the path of the first. */
function write(folder: string, files: Readonly<Record<string, Uint8Array | object>>): string {
  for (const [name, content] of Object.entries(files)) {
    const isText = !(content instanceof Uint8Array);
    const bytes = isText ? new TextEncoder().encode(JSON.stringify(content)) : content;
    Deno.writeFileSync(`${folder}/${name}`, bytes);
  }
  return `${folder}/${Object.keys(files)[0]}`;
}

async function fuzzGguf({ random, folder }: FuzzPlace): Promise<void> {
  const parts = pick(random, GGUFS);
  if (random() < 0.002) {
    writeLongList(random, `${folder}/x.gguf`, parts);
    return await openAll(`${folder}/x.gguf`, random);
  }
  const isWhole = random() < 0.4;
  const encoded = encodeGguf(isWhole ? parts : damageParts(random, parts));
  const isDamaged = isWhole || random() < 0.2;
  const bytes = isDamaged ? damageBytes(random, encoded, GOOD_GGUFS) : encoded;
  await openAll(write(folder, { "x.gguf": bytes }), random);
}

/** Sizes of elements by the number of their type: bytes, integers, floats, flags, empty texts, long integers. */
const LIST_TYPES: readonly (readonly [number, number])[] = [
  [0, 1],
  [5, 4],
  [6, 4],
  [7, 1],
  [8, 8],
  [10, 8],
];

/** Writes a file one of whose lists has millions of zeros; they are a hole of the file, and take no memory here. */
function writeLongList(random: Random, path: string, parts: WrittenGguf): void {
  const key = pick(random, GGUF_KEYS);
  const metadata = parts.metadata.filter(([other]) => other !== key);
  const bytes = encodeGguf({ ...parts, metadata: [[key, ["i32s", []]], ...metadata] });
  const [type, size] = pick(random, LIST_TYPES);
  const count = 32 * randomInteger(random, (type === 8 ? 2 ** 20 : 46 * 2 ** 20 / size) / 32);
  const list = 24 + 8 + key.length + 4; // a header of 24 bytes, the key, the type of the value
  const view = new DataView(bytes.buffer);
  view.setUint32(list, type, true);
  view.setBigUint64(list + 4, BigInt(count), true);
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  file.writeSync(bytes.subarray(0, list + 12));
  file.seekSync(count * size, Deno.SeekMode.Current);
  file.writeSync(bytes.subarray(list + 12));
}

function damageParts(random: Random, { metadata, tensors }: WrittenGguf): WrittenGguf {
  const entries = metadata.map(([key, value]): [string, WrittenValue] => [key, value]);
  const weights = [...tensors];
  for (let count = 1 + randomInteger(random, 3); count > 0; count--) {
    const at = randomInteger(random, entries.length);
    const kind = randomInteger(random, 6);
    if (kind === 0) entries.splice(at, 1);
    else if (kind === 1) entries[at]![0] = pick(random, GGUF_KEYS);
    else if (kind === 2) weights.splice(randomInteger(random, weights.length), 1);
    else if (kind === 3) {
      const index = randomInteger(random, weights.length);
      weights[index] = damageTensor(random, weights[index]!);
    } else entries[at]![1] = oddMetadata(random, entries[at]![1]);
    if (entries.length === 0 || weights.length === 0) break;
  }
  return { metadata: entries, tensors: weights };
}

function oddMetadata(random: Random, [type, value]: WrittenValue): WrittenValue {
  const number = () => {
    const odd = oddValue(random);
    return typeof odd === "number" ? odd : randomInteger(random, 300);
  };
  const u32 = () => Math.abs(Math.trunc(number())) % 2 ** 32;
  const text = () => String(oddValue(random)).slice(0, 5000).toWellFormed();
  const list = Array.isArray(value) && type !== "lists" ? value as readonly unknown[] : [];
  const kept = list.map((item) => random() < 0.98 ? item : undefined);
  const choices: readonly (() => WrittenValue)[] = [
    () => ["u32", u32()],
    () => ["u64", Math.abs(Math.trunc(number())) % 2 ** 53],
    () => ["f32", pick(random, [number(), NaN, Infinity])],
    () => ["bool", randomInteger(random, 3)],
    () => ["string", text()],
    () => ["strings", kept.map((item) => typeof item === "string" ? item : text().slice(0, 99))],
    () => ["i32s", kept.map((item) => typeof item === "number" ? item : number() | 0)],
    () => ["f32s", kept.map((item) => typeof item === "number" ? item : number())],
    () => ["lists", [["i32s", [1, 2]], ["strings", [text()]]]],
  ];
  if (type === "strings" && random() < 0.7) return choices[5]!();
  if (type === "i32s" && random() < 0.7) return choices[6]!();
  return pick(random, choices)();
}

const DAMAGED_TYPES: readonly string[] = [
  ...["F16", "BF16", "F8_E4M3", "Q4_0", "Q8_0", "Q6_K", "MXFP4", "IQ1_S", "I64", "nonsense"],
];

function damageTensor(random: Random, tensor: WrittenTensor): WrittenTensor {
  const size = () => pick(random, [0, 1, 2, 3, 24, 37, 2 ** 31, 2 ** 53]);
  const changes: readonly (() => Partial<WrittenTensor>)[] = [
    () => ({ type: pick(random, DAMAGED_TYPES) }),
    () => ({ type: randomInteger(random, 64) }),
    () => ({ shape: Array.from({ length: 1 + randomInteger(random, 5) }, size) }),
    () => ({ shape: tensor.shape.toReversed() }),
    () => ({ name: pick(random, WEIGHTS).name }),
    () => ({ name: tensor.name.replace(/\w+$/, pick(random, ["bias", "weight", "scale"])) }),
    () => ({ bytes: damageBytes(random, tensor.bytes) }),
    () => ({ bytes: tensor.bytes.map(() => pick(random, [0, 127, 128, 255])) }),
  ];
  return { ...tensor, ...pick(random, changes)() };
}

async function fuzzSafetensors({ random, folder }: FuzzPlace): Promise<void> {
  if (random() < 0.02) {
    const end = 8 + Number(new DataView(GOOD.buffer).getBigUint64(0, true));
    const text = new TextDecoder().decode(GOOD.subarray(8, end));
    write(folder, {
      "config.json": CONFIG,
      "x.safetensors": rawHeader(withDeepList(random, text)),
    });
    return await openAll(`${folder}/x.safetensors`, random);
  }
  const weights = WEIGHTS.map((tensor) => random() < 0.02 ? damageTensor(random, tensor) : tensor);
  const names = WEIGHTS.map(({ name }) => name).concat("__metadata__", "dtype", "shape");
  const isWhole = random() < 0.4;
  const change = (entries: unknown) =>
    isWhole ? entries : damageJson(random, entries as Json, names);
  const encoded = encodeSafetensors(weights, change);
  const bytes = isWhole || random() < 0.2 ? damageBytes(random, encoded) : encoded;
  write(folder, { "config.json": CONFIG, "model.safetensors": bytes });
  await openAll(`${folder}/model.safetensors`, random);
}

const CONFIG = { ...CONFIGS[0], rope_scaling: null, use_sliding_window: false };
const GOOD = encodeSafetensors(WEIGHTS);

async function fuzzConfig({ random, folder }: FuzzPlace): Promise<void> {
  const config = random() < 0.5 ? CONFIG as { [key: string]: Json } : pick(random, CONFIGS);
  const keys = [...Object.keys(config), ...Object.keys(config.rope_scaling ?? {}), "type"];
  write(folder, {
    "config.json": damagedText(random, config, keys),
    "generation_config.json": damagedText(random, { eos_token_id: [1, 0], bos_token_id: 1 }, keys),
    "model.safetensors": GOOD,
  });
  await openAll(`${folder}/model.safetensors`, random);
}

/** JSON of a damaged value, sometimes with damaged text or numbers of Python. */
function damagedText(random: Random, value: Json, keys: readonly string[]): Uint8Array {
  const text = JSON.stringify(random() < 0.85 ? damageJson(random, value, keys) : value);
  const python = random() < 0.1
    ? text.replace(/\b\d+\b/, pick(random, ["NaN", "-Infinity"]))
    : text;
  const deep = random() < 0.02 ? withDeepList(random, python) : python;
  const bytes = new TextEncoder().encode(deep);
  return random() < 0.15 ? damageBytes(random, bytes) : bytes;
}

/** Puts a list of lists, far deeper than a call stack, in the place of a number. */
function withDeepList(random: Random, text: string): string {
  const depth = 10 ** randomInteger(random, 6);
  const numbers = [...text.matchAll(/\d+/g)];
  const { index, 0: number } = pick(random, numbers);
  const list = "[".repeat(depth) + (random() < 0.8 ? "]".repeat(depth) : "");
  return text.slice(0, index) + list + text.slice(index + number.length);
}

const HALF = WEIGHTS.length >> 1;
const SHARDS = {
  "part-0.safetensors": encodeSafetensors(WEIGHTS.slice(0, HALF)),
  "part-1.safetensors": encodeSafetensors(WEIGHTS.slice(HALF)),
};
const INDEX: Json = {
  metadata: { total_size: 1 },
  weight_map: Object.fromEntries(
    WEIGHTS.map(({ name }, at) => [name, `part-${at < HALF ? 0 : 1}.safetensors`]),
  ),
};

async function fuzzIndex({ random, folder }: FuzzPlace): Promise<void> {
  const keys = ["weight_map", ...Object.keys(SHARDS), ...WEIGHTS.map(({ name }) => name)];
  const path = write(folder, {
    "model.safetensors.index.json": damagedText(random, INDEX, keys),
    "config.json": CONFIG,
    ...SHARDS,
  });
  await openAll(path, random);
}

/** Opens a model and does what commands do with it; every twentieth good one is loaded as well. */
async function openAll(path: string, random: Random): Promise<void> {
  await using model = await openModelFiles(path);
  const [name] = model.source.tensors.keys();
  await model.source.readRows(name!, 0, 1);
  if (model.chatTemplate !== undefined) renderChat(model.chatTemplate, CHAT);
  if (model.tokenizer !== undefined) useTokenizer(model.tokenizer);
  if (random() > 0.05) return;
  await using device = await openDevice({ backend: "reference" });
  using _loaded = await loadModel(path, { device });
}

function useTokenizer(files: TokenizerFiles): void {
  const tokenizer = createTokenizer(files);
  for (const text of TEXTS) tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: true });
  tokenizer.encodeWithOffsets(TEXTS[0]!);
  for (let id = 0; id < Math.min(300, tokenizer.vocabulary); id++) tokenizer.tokenText(id);
}

function fuzzTokenizer({ random }: FuzzPlace): void {
  const sample = pick(random, TOKENIZERS);
  const keys = ["type", "Regex", "String", "content", "behavior", "id", ...Object.keys(sample)];
  const json = damageJson(random, sample, keys);
  const config = random() < 0.2
    ? damageJson(random, TOKENIZER_CONFIG, Object.keys(TOKENIZER_CONFIG))
    : TOKENIZER_CONFIG;
  if (!isObject(json) || !isObject(config)) return;
  const template = chatTemplateOf(config);
  if (template !== undefined) renderChat(template, CHAT);
  useTokenizer({ json, config });
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fuzzTemplate({ random }: FuzzPlace): void {
  let template = pick(random, TEMPLATES);
  if (random() < 0.3) template += pick(random, TEMPLATES);
  renderChat(damageText(random, template, TEMPLATE_WORDS), CHAT, { eosToken: "</s>" });
}
