/**
 * What leaves the page: texts for the clipboard, and files.
 *
 * @module
 */

/** Tells everybody, readers of screens included. */
export function say(text: string): void {
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

/** Saves a text or bytes as a file. */
export function saveFile(content: string | Uint8Array<ArrayBuffer> | Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`${name} was saved.`);
}

/** Points of a picture for each pixel of a figure, so that it can be printed. */
const PIXELS = 2;

/**
 * Draws a figure as a picture.
 *
 * @param svg A whole SVG file.
 * @param size Width and height in pixels of the page.
 * @returns A PNG file.
 * @throws {Error} If the browser cannot draw it.
 */
export async function pngOf(
  svg: string,
  { width, height }: { readonly width: number; readonly height: number },
): Promise<Blob> {
  const address = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(PIXELS * width);
    canvas.height = Math.ceil(PIXELS * height);
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, fail) =>
      canvas.toBlob(
        (blob) => blob ? done(blob) : fail(new Error("it is too large for the browser")),
        "image/png",
      )
    );
  } finally {
    URL.revokeObjectURL(address);
  }
}
