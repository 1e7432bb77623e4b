/**
 * Pieces of WGSL that the generated attention kernels share.
 *
 * Their inner loops keep whole vectors in registers, so the loops over a head's elements must be written out for
 * each head size; no `.wgsl` file can do that.
 *
 * @module
 */

import type { KeyFormat } from "./attention_input.ts";

/** How the vectors that all lanes need reach them. */
export interface HandOut {
  /** Lanes of a workgroup; also those of a subgroup if `isSubgroup`. */
  readonly lanes: number;
  /** Whether a lane loads a piece and broadcasts it, or all lanes fill workgroup memory. */
  readonly isSubgroup: boolean;
}

/** Lanes of a workgroup that hands vectors out through workgroup memory. */
const MEMORY_LANES = 32;

/**
 * Chooses how vectors are handed out.
 *
 * Software adapters have narrow subgroups and broadcast for nothing. Where subgroups are wide, a broadcast takes the
 * time of several multiply-adds, while all lanes may read one word of workgroup memory at once.
 *
 * @param subgroupSize Lanes of a subgroup, 0 where there are none.
 * @returns Broadcasts in narrow subgroups, otherwise workgroup memory.
 */
export function handOut(subgroupSize: number): HandOut {
  return subgroupSize >= 4 && subgroupSize <= 8
    ? { lanes: subgroupSize, isSubgroup: true }
    : { lanes: MEMORY_LANES, isSubgroup: false };
}

/**
 * Names the variant of a kernel, as in `flash_attention_subgroup8_64` or `flash_attention_f32_keys_64`.
 *
 * @param stem Name of the kernel family.
 * @param options Elements of a head, how vectors are handed out, and how keys are stored.
 * @returns Entry point and label.
 */
export function variantName(
  stem: string,
  options: {
    readonly headDim: number;
    readonly handOut: HandOut;
    readonly keyFormat?: KeyFormat | undefined;
    readonly valueFormat?: KeyFormat | undefined;
  },
): string {
  const { headDim, handOut, keyFormat, valueFormat } = options;
  const keys = keyFormat === "f32" ? "_f32_keys" : "";
  const values = valueFormat === "f32" ? "_f32_values" : "";
  return `${stem}${keys}${values}${
    handOut.isSubgroup ? `_subgroup${handOut.lanes}` : ""
  }_${headDim}`;
}

/** Repeats a line of WGSL. */
export function repeat(count: number, line: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => line(index)).join("\n");
}

/**
 * Writes the `Params` struct and its binding.
 *
 * @param fields Names and types, in order.
 * @returns WGSL text.
 */
export function paramsText(fields: Readonly<Record<string, string>>): string {
  const lines = Object.entries(fields).map(([name, type]) => `  ${name}: ${type},`);
  return `struct Params {\n${
    lines.join("\n")
  }\n}\n@group(1) @binding(0) var<uniform> params: Params;\n`;
}

/** Element types of the bindings of attention kernels, where not `f32` or `u32`. */
export const VECTOR_BINDINGS: Readonly<Record<string, string>> = {
  qkv: "vec4f",
  keys: "vec4u",
  values: "vec4u",
  partial: "vec4f",
};

/**
 * Writes the storage bindings.
 *
 * @param bindings Names and uses, in order, as in a kernel's contract.
 * @param vectors Element types by name, where not `f32` or `u32`.
 * @returns WGSL text.
 */
export function bindingsText(
  bindings: Readonly<Record<string, string>>,
  vectors: Readonly<Record<string, string>> = VECTOR_BINDINGS,
): string {
  return Object.entries(bindings).map(([name, binding], index) => {
    const [use, type] = binding.split(" ");
    const access = use === "read" ? "read" : "read_write";
    const element = vectors[name] ?? type;
    return `@group(0) @binding(${index}) var<storage, ${access}> ${name}: array<${element}>;\n`;
  }).join("");
}

const EXACT_VALUES_NOTE = "bits of f32[sequences, kv_heads, capacity, head size]";
const EXACT_KEYS_NOTE = `${EXACT_VALUES_NOTE}, after RoPE`;

/** What the buffers hold, for the headers of generated kernels. */
const BUFFER_NOTES: Readonly<Record<string, string>> = {
  state: "u32: first sequence of the step, then the cached tokens of each sequence",
  qkv: "f32[rows, stride], query heads first, after RoPE",
  keys: "f16x2[sequences, kv_heads, capacity, head size / 2], after RoPE",
  values: "f16x2[sequences, kv_heads, capacity, head size / 2]",
  visible: "bits[query_heads, visible_words], one per position; read if is_masked is 1",
  log_sum: "f32[query_heads, rows], log-sum-exp of each row's scores",
};

/** What the header of a generated kernel says. */
export interface HeaderOptions {
  /** Entry point. */
  readonly name: string;
  /** What it computes. */
  readonly summary: string;
  /** What the workgroups along each axis are. */
  readonly grid: string;
  /** Storage bindings. */
  readonly bindings: Readonly<Record<string, string>>;
  /** What its own buffers hold, by name. */
  readonly notes: Readonly<Record<string, string>>;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KeyFormat | undefined;
  /** File of the twin. */
  readonly twin: string;
}

/**
 * Writes the comment that starts a kernel.
 *
 * @param options What it says.
 * @returns WGSL text.
 */
export function headerText(options: HeaderOptions): string {
  const notes: Record<string, string> = { ...BUFFER_NOTES, ...options.notes };
  if (options.keyFormat === "f32") notes.keys = EXACT_KEYS_NOTE;
  if (options.valueFormat === "f32") notes.values = EXACT_VALUES_NOTE;
  const buffers = (use: string, label: string) =>
    Object.entries(options.bindings).filter(([, binding]) => binding.startsWith(use))
      .map(([name], index) => `// ${index === 0 ? label : "      "}  ${name}: ${notes[name]}\n`)
      .join("");
  return `// ${options.name}: ${options.summary}
//
// grid    ${options.grid}
${buffers("read", "reads ")}${buffers("write", "writes")}// twin    ${options.twin}

`;
}

/** WGSL functions that unpack the two halves of a vector of eight. */
export const UNPACK_TEXT = `
fn low_half(packed: vec4u) -> vec4f {
  return vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

fn high_half(packed: vec4u) -> vec4f {
  return vec4f(unpack2x16float(packed.z), unpack2x16float(packed.w));
}
`;

/** WGSL function that reads 32 bits of `visible`, all ones if there is no mask. */
export const VISIBLE_TEXT = `
fn visible_bits(head: u32, word: u32) -> u32 {
  var bits = 0xffffffffu;
  if (params.is_masked == 1u) {
    bits = visible[head * params.visible_words + min(word, params.visible_words - 1u)];
  }
  return bits;
}
`;

/** Vectors of a tile that every lane needs. */
export interface TileVectors {
  /** Prefix of the names of the registers or of the workgroup array. */
  readonly name: string;
  /** Vectors handed out together. */
  readonly count: number;
  /** Pieces per vector: 8 halves, or 4 floats. */
  readonly pieces: number;
  /** Whether a piece holds 8 halves. */
  readonly isHalves: boolean;
  /** Writes the expression that loads a piece; both arguments are WGSL expressions. */
  readonly load: (vector: string, part: string) => string;
  /** Whether the vectors lie far apart, so that one load should reach for all of them; false if left out. */
  readonly isScattered?: boolean;
}

/** Pieces of a scattered vector that one lane loads; undefined if vectors and lanes do not go together so. */
function scatteredPieces(tile: TileVectors, { lanes, isSubgroup }: HandOut): number | undefined {
  const sharers = lanes / tile.count;
  const each = tile.pieces / sharers;
  const fits = Number.isInteger(sharers) && Number.isInteger(each);
  return tile.isScattered && isSubgroup && fits ? each : undefined;
}

/**
 * Writes the statements with which each lane loads its pieces and keeps them.
 *
 * @param tile What to load.
 * @param lanes How it will be handed out.
 * @returns WGSL text; for workgroup memory it needs a barrier after it.
 */
export function loadText(tile: TileVectors, lanes: HandOut): string {
  const { name, pieces, isHalves, load } = tile;
  const total = tile.count * pieces;
  const rounds = Math.ceil(total / lanes.lanes);
  const each = scatteredPieces(tile, lanes);
  return repeat(rounds, (round) => {
    const index = `${name}_index${round}`;
    const register = `${name}_piece${round}`;
    const first = round * lanes.lanes;
    const isWhole = first + lanes.lanes <= total;
    const bounded = isWhole ? `lane + ${first}u` : `min(lane + ${first}u, ${total - 1}u)`;
    const piece = each !== undefined
      ? load(`(lane % ${tile.count}u)`, `(lane / ${tile.count}u * ${each}u + ${round}u)`)
      : pieces % lanes.lanes === 0
      ? load(`${Math.floor(first / pieces)}u`, `(lane + ${first % pieces}u)`)
      : load(`(${index} / ${pieces}u)`, `(${index} % ${pieces}u)`);
    const text = `let ${index} = ${bounded};\nlet ${register} = ${piece};`;
    if (!isHalves) {
      return lanes.isSubgroup ? text : `${text}\n${name}_tile[${index}] = ${register};`;
    }
    return lanes.isSubgroup
      ? `${text}
let ${register}_low = low_half(${register});
let ${register}_high = high_half(${register});`
      : `${text}
${name}_tile[2u * ${index}] = low_half(${register});
${name}_tile[2u * ${index} + 1u] = high_half(${register});`;
  });
}

/**
 * Writes the expression for four elements of a vector that all lanes share.
 *
 * @param tile What was loaded.
 * @param lanes How it is handed out.
 * @param at Vector of the tile, index of the group of four, and for workgroup memory a WGSL offset in vectors.
 * @returns A WGSL expression of type `vec4f`.
 */
export function sharedVector(
  tile: TileVectors,
  lanes: HandOut,
  at: { readonly vector: number; readonly four: number; readonly offset?: string },
): string {
  const perPiece = tile.isHalves ? 2 : 1;
  if (!lanes.isSubgroup) {
    const fours = tile.pieces * perPiece;
    const base = at.offset ? `${at.offset} * ${fours}u + ` : "";
    return `${tile.name}_tile[${base}${at.vector * fours + at.four}u]`;
  }
  const piece = Math.floor(at.four / perPiece);
  const each = scatteredPieces(tile, lanes);
  const index = at.vector * tile.pieces + piece;
  const [round, lane] = each !== undefined
    ? [piece % each, at.vector + tile.count * Math.floor(piece / each)]
    : [Math.floor(index / lanes.lanes), index % lanes.lanes];
  const half = tile.isHalves ? (at.four % 2 === 0 ? "_low" : "_high") : "";
  return `subgroupBroadcast(${tile.name}_piece${round}${half}, ${lane}u)`;
}

/**
 * Writes the declaration of a tile in workgroup memory.
 *
 * @param tile What it will hold.
 * @param lanes How it is handed out.
 * @returns WGSL text, empty if lanes broadcast.
 */
export function tileText(tile: TileVectors, lanes: HandOut): string {
  if (lanes.isSubgroup) return "";
  return `var<workgroup> ${tile.name}_tile: array<vec4f, ${tileBytes(tile) / 16}>;\n`;
}

/**
 * Counts the bytes of a tile in workgroup memory.
 *
 * @param tile What it holds.
 * @returns Bytes.
 */
export function tileBytes(
  tile: Pick<TileVectors, "count" | "pieces" | "isHalves">,
): number {
  return tile.count * tile.pieces * (tile.isHalves ? 32 : 16);
}
