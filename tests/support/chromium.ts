/**
 * Decides which Chromium tests see.
 *
 * @module
 */

const NAME = "SMALLKV_CHROMIUM";
const original = Deno.env.get(NAME);

/** Choices that have not ended; the last one counts. */
const choices: { readonly path: string | undefined }[] = [{ path: original }];

/**
 * Sets where Chromium is looked for, until disposal. Choices may overlap and end in any order: once all have ended, later
 * tests see the Chromium that there was, and are not skipped.
 *
 * @param path Path of a program; `none` hides Chromium, whose start takes most of a test's time.
 */
export function useChromium(path: string): Disposable {
  const choice = { path };
  choices.push(choice);
  show();
  return {
    [Symbol.dispose]() {
      choices.splice(choices.indexOf(choice), 1);
      show();
    },
  };
}

/** Puts the choice that counts into the environment. */
function show(): void {
  const { path } = choices.at(-1)!;
  if (path === undefined) Deno.env.delete(NAME);
  else Deno.env.set(NAME, path);
}
