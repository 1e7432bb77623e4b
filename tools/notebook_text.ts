/**
 * Removes from the text of outputs what differs between runs and machines.
 *
 * @module
 */

/** A name that belongs to this machine, and what stands for it. */
interface MachineName {
  readonly name: string;
  readonly placeholder: string;
}

/** Durations and rates, as "1.5 s", "3 min 05 s" or "40 tokens/s". */
const TIMES = /(?<![\w.])\d[\d,.]*(?= ?(?:ns|µs|ms|s|min|h)\b| (?:tokens|steps|GB|MB)\/s)/g;
/** Clock times and dates of ISO 8601. */
const DATES = /\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z?)?/g;
// deno-lint-ignore no-control-regex
const COLORS = /\u001b\[[\d;]*m/g;

/** Durations of two units once their numbers are gone: whether a run took over a minute is noise, too. */
const LONG_TIMES = /… ?h … ?min|… ?min … ?s\b/g;

/** Stands for a duration's number. */
const ANY_TIME = "…";

/**
 * Strips text of times and machine names.
 *
 * @param names Names to replace, as {@linkcode machineNames} gives them.
 * @returns Text that another run on another machine would also write.
 */
export function stripText(text: string, names: readonly MachineName[] = []): string {
  let stripped = text.replace(COLORS, "").replace(DATES, ANY_TIME).replace(TIMES, ANY_TIME)
    .replace(LONG_TIMES, `${ANY_TIME} s`);
  for (const { name, placeholder } of names) stripped = stripped.replaceAll(name, placeholder);
  return stripped;
}

/**
 * Names of this machine that must not be stored.
 *
 * @returns Project folder, home folder and host name, longest first.
 */
export function machineNames(root: string): MachineName[] {
  const known = [
    { name: root.replace(/\/$/, ""), placeholder: "PROJECT" },
    { name: Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE") ?? "", placeholder: "HOME" },
    { name: Deno.hostname(), placeholder: "HOST" },
  ];
  return known.filter(({ name }) => name.length > 3).sort((a, b) => b.name.length - a.name.length);
}

/** A number, as text writes it. */
const NUMBER = /(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])/gi;

/**
 * Compares two texts; numbers count as equal if they agree to three significant digits.
 *
 * @returns Whether they say the same; space between words does not matter.
 */
export function isSameText(a: string, b: string): boolean {
  const [first, second] = [numbersOf(a), numbersOf(b)];
  return first.frame === second.frame &&
    first.numbers.every((number, index) => isSameNumber(number, second.numbers[index]!));
}

function numbersOf(text: string): { readonly frame: string; readonly numbers: readonly number[] } {
  const numbers: number[] = [];
  const frame = text.replace(NUMBER, (number) => {
    numbers.push(Number(number.replace("−", "-")));
    return "#";
  });
  // Columns and their rules are as wide as their widest number.
  return { frame: frame.replace(/\s+/g, " ").replace(/[-─]{2,}/g, "--").trim(), numbers };
}

/** Below this, only rounding errors are left of sums that cancel out. */
const SMALLEST = 1e-6;

/**
 * Compares two numbers to three significant digits, without the cliff of rounding both.
 *
 * @returns Whether they differ by at most half a unit of the third digit of the larger one.
 */
export function isSameNumber(a: number, b: number): boolean {
  if (Object.is(a, b) || (Number.isNaN(a) && Number.isNaN(b))) return true;
  const size = Math.max(Math.abs(a), Math.abs(b));
  if (!Number.isFinite(size)) return false;
  if (size < SMALLEST) return true;
  const unit = 10 ** (Math.floor(Math.log10(size)) - 2);
  return Math.abs(a - b) <= unit / 2 * (1 + 1e-9);
}
