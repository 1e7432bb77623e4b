/**
 * Decides which Chromium tests see.
 *
 * @module
 */

/**
 * Sets where Chromium is looked for, until disposal.
 *
 * @param path Path of a program; `none` hides Chromium, whose start takes most of a test's time.
 */
export function useChromium(path: string): Disposable {
  const before = Deno.env.get("SMALLKV_CHROMIUM");
  Deno.env.set("SMALLKV_CHROMIUM", path);
  return {
    [Symbol.dispose]() {
      if (before === undefined) Deno.env.delete("SMALLKV_CHROMIUM");
      else Deno.env.set("SMALLKV_CHROMIUM", before);
    },
  };
}
