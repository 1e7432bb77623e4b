/**
 * Counts what a lane keeps in private memory, from the text of a kernel.
 *
 * @module
 */

/** Words of a value of a type. */
const TYPE_WORDS: Readonly<Record<string, number>> = {
  vec2u: 2,
  vec2f: 2,
  vec3u: 3,
  vec3f: 3,
  vec4u: 4,
  vec4f: 4,
  mat2x4f: 8,
};

/** Words of what functions give, where it is not one. */
const RESULT_WORDS: Readonly<Record<string, number>> = {
  ...TYPE_WORDS,
  multiply_rows: 8,
  key_piece: 8,
  value_piece: 8,
  unpack_halves: 8,
  value_quad: 4,
  row_sums: 4,
  part_sum: 4,
  tile_place: 2,
  softmax_start: 2,
};

/** The constants that a text declares. */
function constantsOf(wgsl: string): ReadonlyMap<string, number> {
  const found = wgsl.matchAll(/^const (\w+): u32 = (?:u32\()?(\d+)\)?;/gm);
  return new Map([...found].map(([, name, value]) => [name!, Number(value)]));
}

/** Value of a product or quotient of numbers and constants, such as `2u * VEC4S`. */
function evaluate(expression: string, constants: ReadonlyMap<string, number>): number {
  const [first, ...rest] = expression.split(/\s*([*/])\s*/);
  const valueOf = (word: string) => constants.get(word) ?? parseInt(word);
  let value = valueOf(first!);
  for (let i = 0; i < rest.length; i += 2) {
    value = rest[i] === "*" ? value * valueOf(rest[i + 1]!) : value / valueOf(rest[i + 1]!);
  }
  if (!Number.isFinite(value)) throw new Error(`Cannot evaluate ${expression}`);
  return value;
}

/**
 * Words of the variable that a line declares; 0 if it declares none, or a scalar that does not change: these are indices
 * and conditions, most of them the same in all lanes.
 */
function declaredWords(line: string, constants: ReadonlyMap<string, number>): number {
  const declaration = /^\s*(?:for \()?(?:var|let) \w+(?:: (?<type>[^=;]+))?(?: = (?<value>.*))?/
    .exec(line)?.groups;
  if (declaration === undefined) return 0;
  const { type, value = "" } = declaration;
  const array = /^array<(\w+), ([^>]+)>/.exec((type ?? value).trim());
  if (array) return (TYPE_WORDS[array[1]!] ?? 1) * evaluate(array[2]!, constants);
  if (type !== undefined) return TYPE_WORDS[type.trim()] ?? 1;
  const scalar = line.trim().startsWith("let ") ? 0 : 1;
  return RESULT_WORDS[/^(\w+)\(/.exec(value)?.[1] ?? ""] ?? scalar;
}

/**
 * Counts the 32-bit words that a lane keeps at once: the most that the variables of open scopes take, in the entry point
 * together with the function that takes most. Unrolled loops must be written out.
 *
 * @param wgsl Text of a kernel.
 * @returns Words; as many registers if a compiler reuses none.
 */
export function privateWords(wgsl: string): number {
  const constants = constantsOf(wgsl);
  const functions: number[] = [];
  let entry = 0;
  let isEntry = false;
  let scopes: number[] = [];
  let most = 0;
  for (const line of wgsl.split("\n").map((text) => text.replace(/\/\/.*/, ""))) {
    if (line.startsWith("@compute")) isEntry = true;
    if (line.startsWith("fn ")) {
      scopes = [];
      most = 0;
    }
    const words = declaredWords(line, constants);
    if (scopes.length > 0) scopes[scopes.length - 1]! += words;
    most = Math.max(most, scopes.reduce((sum, scope) => sum + scope, 0));
    for (const brace of line.match(/[{}]/g) ?? []) {
      if (brace === "{") scopes.push(0);
      else scopes.pop();
    }
    if (!line.startsWith("}")) continue;
    if (isEntry) entry = most;
    else functions.push(most);
    isEntry = false;
  }
  return entry + Math.max(0, ...functions);
}
