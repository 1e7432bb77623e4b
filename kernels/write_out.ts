/**
 * Turns a `.wgsl` file that serves several variants of a kernel into the text of one of them.
 *
 * Such a file adds three things to WGSL, which look like comments or plain loops:
 *
 * - `const NAME: u32 = 64;` gets the variant's value
 * - `//# if NAME`, `//# if !NAME`, `//# else` and `//# end` keep lines only where the constant is not 0, or only where it is
 * - a loop marked `// unroll` from 0 to a constant is written out, so that arrays indexed by its variable become registers
 *   and the lane of a broadcast is a constant; conditions inside it may name its variable
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";

/** Values of the constants of a variant; conditions may name constants that the text does not declare. */
export type VariantConstants = Readonly<Record<string, number>>;

/**
 * Writes the text of a variant.
 *
 * @param wgsl Text of the file.
 * @param constants Values of its constants.
 * @returns WGSL that compiles alone.
 * @throws {RequirementError} If a condition or a marked loop names no constant, or does not end.
 */
export function writeOut(wgsl: string, constants: VariantConstants): string {
  const lines = wgsl.split("\n").map((line) =>
    line.replace(
      /^const (\w+): (u32|f32) = [^;]*;/,
      (declaration, name: string, type: string) =>
        name in constants ? `const ${name}: ${type} = ${type}(${constants[name]});` : declaration,
    )
  );
  return expand(lines, constants).join("\n");
}

function valueOf(name: string, constants: VariantConstants): number {
  const value = constants[name];
  if (value !== undefined) return value;
  throw new RequirementError({
    action: "write a kernel out",
    requirement: `conditions and loops must name one of ${Object.keys(constants).join(", ")}`,
    current: name,
  });
}

const LOOP = /^(\s*)for \(var (\w+) = 0u; \2 < (\w+); \2\+\+\) \{ {2}\/\/ unroll$/;

function expand(lines: readonly string[], constants: VariantConstants): string[] {
  const written: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    const condition = /^\/\/# if (!?)(\w+)$/.exec(line);
    const [, indent, variable, bound] = LOOP.exec(line) ?? [];
    if (condition) {
      const isMet = (valueOf(condition[2]!, constants) !== 0) === (condition[1] === "");
      const { middle, end } = branches(lines, at);
      const chosen = isMet ? lines.slice(at + 1, middle) : lines.slice(middle + 1, end);
      written.push(...expand(chosen, constants));
      at = end;
    } else if (bound !== undefined) {
      const end = lines.indexOf(`${indent}}`, at);
      if (end < 0) throw unclosed(line);
      const body = lines.slice(at + 1, end);
      for (let index = 0; index < valueOf(bound, constants); index++) {
        const round = body.map((text) =>
          text.startsWith("//#")
            ? text
            : text.replaceAll(new RegExp(`\\b${variable}\\b`, "g"), `${index}u`)
        );
        const text = expand(round, { ...constants, [variable!]: index });
        const isScope = text.some((other) => /^\s*(let|var) /.test(other));
        written.push(...isScope ? [`${indent}{`, ...text, `${indent}}`] : text);
      }
      at = end;
    } else written.push(line);
  }
  return written;
}

/** Lines of the `else` and the end of the condition that starts at a line. */
function branches(lines: readonly string[], start: number): { middle: number; end: number } {
  let depth = 0;
  let middle: number | undefined;
  for (let at = start; at < lines.length; at++) {
    if (lines[at]!.startsWith("//# if ")) depth++;
    if (lines[at] === "//# else" && depth === 1) middle = at;
    if (lines[at] === "//# end") depth--;
    if (depth === 0) return { middle: middle ?? at, end: at };
  }
  throw unclosed(lines[start]!);
}

function unclosed(line: string): RequirementError {
  return new RequirementError({
    action: "write a kernel out",
    requirement: "conditions and marked loops must end",
    current: line.trim(),
  });
}
