/**
 * Reads from WGSL what a contract states.
 *
 * @module
 */

/** What a shader says about itself. */
export interface ParsedWgsl {
  /** Comment lines before the first line of code. */
  readonly header: string;
  /** Source without comments. */
  readonly code: string;
  /** Names of the functions marked `@compute`. */
  readonly entryPoints: readonly string[];
  /** Storage bindings of group 0 in order of their numbers, in the words of a contract. */
  readonly bindings: readonly (readonly [string, string])[];
  /** Fields of `Params` and their types. */
  readonly params: readonly (readonly [string, string])[];
  /** Names of the overrides. */
  readonly overrides: readonly string[];
  /** Overrides and top-level constants with their defaults. */
  readonly constants: readonly (readonly [string, number])[];
  /** Whether it has workgroup variables. */
  readonly hasWorkgroupMemory: boolean;
}

/**
 * Parses the declarations of a shader.
 *
 * @param wgsl Source as the project writes it: a header comment, one declaration per line.
 * @throws {Error} If bindings are not numbered from 0, `Params` is not group 1 binding 0, or a default is not a number.
 */
export function parseWgsl(wgsl: string): ParsedWgsl {
  const code = wgsl.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
  const constants = [
    ...code.matchAll(/^(override|const)\s+(\w+)\s*(?::\s*\w+)?\s*=\s*([^;]+);/gm),
  ].map(([, keyword, name, value]) => ({ keyword, name: name!, value: literal(value!) }));
  return {
    header: /^(\/\/.*\n)*/.exec(wgsl)![0],
    code,
    entryPoints: [...code.matchAll(/@compute[^;{]*?\bfn\s+(\w+)/g)].map((match) => match[1]!),
    bindings: storageBindings(code),
    params: paramsFields(code),
    overrides: constants.filter(({ keyword }) => keyword === "override").map(({ name }) => name),
    constants: constants.map(({ name, value }) => [name, value] as const),
    hasWorkgroupMemory: /\bvar<workgroup>/.test(code),
  };
}

/** Overrides and constants may be computed from others; those count as NaN and cannot be in a contract. */
function literal(text: string): number {
  return Number(text.trim().replace(/[uif]$/, ""));
}

function storageBindings(code: string): [string, string][] {
  const pattern =
    /@group\((\d+)\)\s*@binding\((\d+)\)\s*var<storage(?:,\s*(\w+))?>\s*(\w+)\s*:\s*([^;]+);/g;
  const found = [...code.matchAll(pattern)];
  return found.map(([text, group, binding, access = "read", name, type], index) => {
    if (group !== "0" || binding !== String(index)) {
      throw new Error(`Storage must be group 0, bindings from 0 in order: current line is ${text}`);
    }
    const verb = access === "read_write" ? "write" : access;
    return [name!, `${verb} ${elementFamily(type!)}`];
  });
}

/** Scalar type inside `array<vec4<f32>>`, `array<vec4f>`, `array<atomic<u32>>` and the like; halves count as words. */
function elementFamily(type: string): string {
  if (/\bvec4<f16>/.test(type)) return "u32";
  const element = /(f32|u32|i32|vec[234]([fui]))/.exec(type);
  if (element === null) throw new Error(`Elements must be f32 or u32: current type is ${type}`);
  return element[2] === undefined ? element[1]! : `${element[2]}32`;
}

function paramsFields(code: string): [string, string][] {
  const uniforms = [
    ...code.matchAll(/@group\((\d+)\)\s*@binding\((\d+)\)\s*var<uniform>\s*\w+\s*:\s*(\w+)/g),
  ].map((match) => match.slice(1).join(" "));
  if (uniforms.length === 0) return [];
  if (uniforms.length > 1 || uniforms[0] !== "1 0 Params") {
    throw new Error(`The only uniform must be Params at group 1 binding 0: current is ${uniforms}`);
  }
  const body = /struct\s+Params\s*\{([^}]*)\}/.exec(code);
  if (body === null) throw new Error("Params must be declared: there is no such struct");
  return [...body[1]!.matchAll(/(\w+)\s*:\s*(\w+)/g)].map((match) => [match[1]!, match[2]!]);
}
