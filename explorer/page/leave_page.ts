/**
 * What leaves the page: texts for the clipboard, and files.
 *
 * @module
 */

/** Tells everybody, readers of screens included. */
function say(text: string): void {
  document.getElementById("said")!.textContent = text;
}

/**
 * Copies a text.
 *
 * @param what What it is, for the message.
 */
export async function copyText(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} is in the clipboard.`);
  } catch {
    // Without permission a reader can still copy by hand.
    prompt(`${what}, to be copied:`, text);
  }
}

/** Saves a text as a file. */
export function saveText(text: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`${name} was saved.`);
}
