/**
 * Damaged and unsuitable safetensors files end in an error that says what is wrong.
 *
 * @module
 */

import { assert, assertRejects } from "@std/assert";
import { openModelFiles } from "../../../models/open.ts";
import { checkError, rawHeader, safetensors, weights, withU64 } from "../../support/bad_files.ts";
import {
  configJson,
  encodeSafetensors,
  temporaryFolder,
  TINY,
  writeFiles,
} from "../../support/model_writer.ts";

type Entries = Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>;

function withEntry(change: (entry: Entries[string], entries: Entries) => void) {
  return encodeSafetensors(weights, (entries) => {
    const typed = entries as Entries;
    change(typed["model.norm.weight"]!, typed);
    return typed;
  });
}

const oneTensor = `"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`;
const badSafetensors: readonly (readonly [string, Uint8Array<ArrayBuffer>, RegExp])[] = [
  ["nothing in it", new Uint8Array(0), /must have at least 8 bytes: current value is 0/],
  ["a cut header", safetensors.slice(0, 100), /the header length must be from 2 to 92/],
  [
    "cut data",
    safetensors.slice(0, -8),
    /the file must have at least \d+ bytes for tensor "lm_head\.weight"/,
  ],
  [
    "a header beyond its end",
    withU64(safetensors, 0, 2n ** 62n),
    /the header length must be from 2 to/,
  ],
  [
    "a Git LFS pointer in its place",
    new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
    /the header length must be from 2 to \d+: current value is a Git LFS pointer/,
  ],
  ["an empty header", withU64(safetensors, 0, 0n), /the header length must be from 2 to/],
  ["no JSON", rawHeader("{not json}"), /the header must be JSON/],
  ["no elements", withEntry((entry) => entry.shape = [0]), /must be 0 bytes apart for F32 \[0\]/],
  ["a list as header", rawHeader("[1,2]"), /the header must be a JSON object/],
  ["a number as tensor", rawHeader(`{"a":1}`), /tensor "a" must be an object/],
  [
    "equal names",
    rawHeader(`{${oneTensor},${oneTensor}}`),
    /tensor names must differ: current value is 1 repeated/,
  ],
  [
    "names equal but for escapes",
    rawHeader(`{${oneTensor},${oneTensor.replace("a", "\\u0061")}}`),
    /tensor names must differ/,
  ],
  [
    "very many brackets",
    rawHeader(`{"a":[${"[],".repeat(2 ** 18)}[]]}`),
    /at most 65536 tensors/,
  ],
  ["an open string", rawHeader(`{"${"x".repeat(2 ** 20)}`), /the header must be JSON/],
  [
    "an unknown type",
    withEntry((entry) => entry.dtype = "F8_E5M2"),
    /tensor "model\.norm\.weight" must have one of the types BF16, .*: current value is F8_E5M2/,
  ],
  [
    "a type of GGUF",
    withEntry((entry) => entry.dtype = "Q8_0"),
    /must have one of the types BF16, F16, F32: current value is Q8_0/,
  ],
  [
    "a negative axis",
    withEntry((entry) => entry.shape = [-24]),
    /must have a shape of at most 8 axes/,
  ],
  [
    "a broken axis",
    withEntry((entry) => entry.shape = [0.5]),
    /must have a shape of at most 8 axes/,
  ],
  [
    "another size",
    withEntry((entry) => entry.shape = [25]),
    /must be 100 bytes apart for F32 \[25\]/,
  ],
  [
    "offsets in reverse",
    withEntry((entry) => entry.data_offsets.reverse()),
    /must be two places in order/,
  ],
  ["overlapping tensors", withEntry((entry) => entry.data_offsets = [8, 104]), /must not overlap/],
  [
    "a tensor outside",
    withEntry((entry) => entry.data_offsets = [1e9, 1e9 + 96]),
    /the file must have at least/,
  ],
  [
    "another shape",
    withEntry((entry) => entry.shape = [1, 24]),
    /Cannot load Qwen2: tensor "model\.norm\.weight" must be \[24\]: current shape is \[1, 24\]/,
  ],
];

for (const [what, bytes, message] of badSafetensors) {
  Deno.test(`openModelFiles() rejects a safetensors file with ${what}`, async () => {
    await using folder = await temporaryFolder();
    await writeFiles(folder.path, { "config.json": configJson(TINY), "model.safetensors": bytes });
    const error = await assertRejects(() => openModelFiles(folder.path), Error);
    assert(checkError(error, message));
  });
}
