/**
 * Turns a `.wgsl` file that serves several variants of a kernel into the text of one of them.
 *
 * Three things in such a file are more than WGSL, and all of them look like comments or plain loops:
 *
 * - `const NAME: u32 = 64;` gets the variant's value
 * - `//# if NAME`, `//# if !NAME`, `//# else` and `//# end` keep lines only where the constant is not 0, or only where it is
 * - a loop marked `// unroll` from 0 to a constant is written out, so that arrays indexed by its variable become registers
 *   and the lane of a broadcast is a constant
 *
 * @module
 */

/** Values of the constants of a variant; conditions may name constants that the text does not declare. */
export type VariantConstants = Readonly<Record<string, number>>;

/**
 * Writes the text of a variant.
 *
 * @param wgsl Text of the file.
 * @param constants Values of its constants.
 * @returns WGSL that compiles alone.
 * @throws {TypeError} If a condition or a marked loop names no constant, or is not closed.
 */
export function writeOut(wgsl: string, constants: VariantConstants): string {
  const lines = chooseLines(wgsl.split("\n"), constants).map((line) =>
    line.replace(
      /^const (\w+): (u32|f32) = [^;]*;/,
      (declaration, name: string, type: string) =>
        name in constants ? `const ${name}: ${type} = ${type}(${constants[name]});` : declaration,
    )
  );
  return unroll(lines, constants).join("\n");
}

function valueOf(name: string, constants: VariantConstants): number {
  const value = constants[name];
  if (value !== undefined) return value;
  throw new TypeError(
    `Cannot write a kernel out: conditions and loops must name one of ${
      Object.keys(constants).join(", ")
    }: current value is ${name}`,
  );
}

function chooseLines(lines: readonly string[], constants: VariantConstants): string[] {
  const conditions: boolean[] = [];
  const chosen: string[] = [];
  for (const line of lines) {
    const [, word, negation, name] = /^\s*\/\/# (if|else|end)(?: (!?)(\w+))?$/.exec(line) ?? [];
    if (word === "if") conditions.push((valueOf(name!, constants) !== 0) === (negation === ""));
    else if (word === "else") conditions.push(!conditions.pop());
    else if (word === "end") conditions.pop();
    else if (conditions.every((isKept) => isKept)) chosen.push(line);
  }
  if (conditions.length === 0) return chosen;
  throw new TypeError(
    `Cannot write a kernel out: every condition must end: current value is ${conditions.length} open`,
  );
}

const LOOP = /^(\s*)for \(var (\w+) = 0u; \2 < (\w+); \2\+\+\) \{ {2}\/\/ unroll$/;

function unroll(lines: readonly string[], constants: VariantConstants): string[] {
  const written: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const [, indent, variable, bound] = LOOP.exec(lines[at]!) ?? [];
    if (bound === undefined) {
      written.push(lines[at]!);
      continue;
    }
    const end = lines.indexOf(`${indent}}`, at);
    const body = lines.slice(at + 1, end);
    const isScope = body.some((line) => /^\s*(let|var) /.test(line));
    for (let index = 0; index < valueOf(bound, constants); index++) {
      const round = body.map((line) =>
        line.replaceAll(new RegExp(`\\b${variable}\\b`, "g"), `${index}u`)
      );
      const text = unroll(round, constants);
      written.push(...isScope ? [`${indent}{`, ...text, `${indent}}`] : text);
    }
    at = end;
  }
  return written;
}
