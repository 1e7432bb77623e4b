/**
 * Damaged and unsuitable GGUF files end in an error that says what is wrong.
 *
 * @module
 */

import { assert, assertRejects } from "@std/assert";
import { openModelFiles } from "../../../models/open.ts";
import {
  checkError,
  gguf,
  goodGguf,
  hostileGguf,
  withMetadata,
  withTensor,
  withU64,
} from "../../support/bad_files.ts";
import { encodeGguf, temporaryFolder, writeFiles } from "../../support/model_writer.ts";

const duplicate = goodGguf.tensors[1]!.name;
/** A file whose key is a list of a list, and so on; each holds one list. */
function nestedLists(depth: number): Uint8Array<ArrayBuffer> {
  const head = encodeGguf({ metadata: [["k", ["lists", []]]], tensors: [] }).slice(0, 37);
  const level = [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
  const lists = Array.from({ length: depth }, () => level).flat();
  return Uint8Array.from([...head, ...lists, ...new Uint8Array(64)]);
}

const badGgufs: readonly (readonly [string, Uint8Array<ArrayBuffer>, RegExp])[] = [
  ["nothing in it", new Uint8Array(0), /needs at least 4 bytes: current value is 0/],
  ["three bytes", gguf.slice(0, 3), /needs at least 4 bytes/],
  ["a cut header", gguf.slice(0, 200), /the header must end within the file/],
  ["cut data", gguf.slice(0, -100), /the file must have at least \d+ bytes for tensor "/],
  [
    "another magic",
    withU64(gguf, 0, 0x3046544c47n),
    /must begin with 0x46554747: current value is 0x46544c47/,
  ],
  [
    "a Git LFS pointer in its place",
    new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
    /must begin with 0x46554747: current value is a Git LFS pointer, in whose place/,
  ],
  [
    "a web page in its place",
    new TextEncoder().encode("\n<html><head>"),
    /must begin with 0x46554747: current value is a web page/,
  ],
  [
    "lists nested too deep",
    nestedLists(8),
    /lists of "k" must be nested less than 8 deep/,
  ],
  [
    "version 1",
    encodeGguf({ ...goodGguf, version: 1 }),
    /the GGUF version must be 2 or 3: current value is 1/,
  ],
  [
    "version 4",
    encodeGguf({ ...goodGguf, version: 4 }),
    /the GGUF version must be 2 or 3: current value is 4/,
  ],
  [
    "big-endian numbers",
    encodeGguf({ ...goodGguf, version: 0x03000000 }),
    /byte order must be little-endian/,
  ],
  [
    "too many tensors",
    withU64(gguf, 8, 2n ** 40n),
    /number of tensors must be at most 65536: current value is 1099511627776/,
  ],
  ["more tensors than it holds", withU64(gguf, 8, 5000n), /Cannot read/],
  ["too many keys", withU64(gguf, 16, 2n ** 63n), /number of metadata keys must be at most 65536/],
  ["an endless key", withU64(gguf, 24, 2n ** 62n), /length of a text must be at most/],
  ["a key beyond its end", withU64(gguf, 24, 2n ** 40n), /the header must end within the file/],
  ["an endless text", hostileGguf(8, [2n ** 60n]), /Cannot read/],
  [
    "an endless list of texts",
    hostileGguf(9, [2n ** 33n]),
    /length of "k" must be at most 1048576/,
  ],
  ["a value of unknown type", hostileGguf(77, []), /"k" must have one of the types of GGUF/],
  [
    "an unknown tensor type",
    withTensor(2, { type: 99 }),
    /must have one of the types BF16, F16, .*: current value is number 99/,
  ],
  [
    "a type without kernels",
    withTensor(2, { type: "IQ2_XXS" }),
    /must have one of the types .*: current value is IQ2_XXS/,
  ],
  [
    "rows of broken blocks",
    withTensor(0, { type: "Q4_0" }),
    /of type Q4_0 must have a size below 2\^53 and rows of whole blocks of 32/,
  ],
  [
    "an empty tensor",
    withTensor(0, { shape: [0, 24] }),
    /vocab_size must be an integer from 1/,
  ],
  [
    "a tensor beyond 2^53",
    withTensor(0, { shape: [2 ** 40, 2 ** 40] }),
    /must have a size below 2\^53/,
  ],
  [
    "five axes",
    withTensor(0, { shape: [1, 1, 1, 1, 1] }),
    /must have 1 to 4 axes: current value is 5/,
  ],
  [
    "overlapping tensors",
    encodeGguf({ ...goodGguf, offsets: { [duplicate]: 32 } }),
    /must not overlap/,
  ],
  [
    "a tensor far outside",
    encodeGguf({ ...goodGguf, offsets: { [duplicate]: 2 ** 50 } }),
    /the file must have at least/,
  ],
  ["equal tensor names", withTensor(2, { name: duplicate }), /tensor names must differ/],
  [
    "equal keys",
    encodeGguf({ ...goodGguf, metadata: [...goodGguf.metadata, goodGguf.metadata[0]!] }),
    /metadata keys must differ/,
  ],
  [
    "an alignment of 3",
    withMetadata(["general.alignment", ["u32", 3]]),
    /general\.alignment must be a power of two/,
  ],
  [
    "one part of several",
    withMetadata(["split.count", ["u32", 3]]),
    /the name of a part of a split file must end in its number and theirs, as in -00001-of-00003.gguf/,
  ],
  [
    "an unknown family",
    withMetadata(["general.architecture", ["string", "gemma4"]]),
    /general\.architecture must be one of gemma2, .*qwen2, qwen3: current value is "gemma4"/,
  ],
  [
    "no sizes",
    encodeGguf({ ...goodGguf, metadata: goodGguf.metadata.slice(0, 1) }),
    /embedding_length must be an integer from 1/,
  ],
  [
    "an epsilon that is no number",
    withMetadata(["qwen2.attention.layer_norm_rms_epsilon", ["f32", NaN]]),
    /rms_epsilon must be a number above 0/,
  ],
  [
    "a missing tensor",
    encodeGguf({ ...goodGguf, tensors: goodGguf.tensors.slice(0, -2) }),
    /Cannot load Qwen2: tensor "model\.norm\.weight" must be \[24\]: current value is missing/,
  ],
  [
    "another width",
    withMetadata(["qwen2.feed_forward_length", ["u32", 41]]),
    /Cannot load Qwen2: tensor "model\.layers\.0\.mlp\.gate_proj\.weight" must be \[41, 24\]: current shape is \[40, 24\]/,
  ],
  [
    "biases of another kind",
    withTensor(5, { name: "blk.0.attn_output.bias" }),
    /Cannot load Qwen2: tensor "model/,
  ],
];

for (const [what, bytes, message] of badGgufs) {
  Deno.test(`openModelFiles() rejects a GGUF file with ${what}`, async () => {
    await using folder = await temporaryFolder();
    const path = await writeFiles(folder.path, { "bad.gguf": bytes });
    const error = await assertRejects(() => openModelFiles(path), Error);
    assert(checkError(error, message));
  });
}
