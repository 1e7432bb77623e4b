/**
 * Names of GGUF files that are split into parts: `NAME-00001-of-00003.gguf` and so on.
 *
 * @module
 */

const PART = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/is;

/**
 * Names of all parts of the file that one belongs to.
 *
 * @param location Path, address or name of a part, or of any other file.
 * @returns The parts in order; the location alone if it is not the name of a part.
 */
export function partNames(location: string): readonly string[] {
  const [, stem, number, count, ending] = PART.exec(location) ?? [];
  if (number === undefined || Number(number) < 1 || Number(number) > Number(count)) {
    return [location];
  }
  return Array.from({ length: Number(count) }, (_, index) => {
    return `${stem}-${String(index + 1).padStart(5, "0")}-of-${count}${ending}`;
  });
}

/**
 * Name of the file that a part belongs to.
 *
 * @returns The name without the numbers; other names as they are.
 */
export function wholeName(location: string): string {
  return location.replace(PART, "$1$4");
}

/** One file of every model among files: those that are not split, and of others the part that sorts first. */
export function firstParts(names: readonly string[]): readonly string[] {
  const first = new Map<string, string>();
  for (const name of names.toSorted()) {
    const key = partNames(name).length > 1 ? partNames(name)[0]! : name;
    if (!first.has(key)) first.set(key, name);
  }
  return [...first.values()];
}
