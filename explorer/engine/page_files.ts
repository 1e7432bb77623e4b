/**
 * Files of the page as addresses that models are read from: files that were dropped, and those of the embedded pair, which
 * are fetched whole since not every static host answers requests for ranges.
 *
 * @module
 */

/** Addresses that no server has; `invalid` is reserved for that. */
const ORIGIN = "https://page.invalid/";

/** Files by address, and a `fetch` that answers for them. */
export class PageFiles {
  readonly #files = new Map<string, Blob>();

  /**
   * Adds a file.
   *
   * @param path Path below the invented origin, as in `large/config.json`.
   * @returns Its address.
   */
  add(path: string, file: Blob): string {
    const address = ORIGIN + path.split("/").map(encodeURIComponent).join("/");
    this.#files.set(address, file);
    return address;
  }

  /** Forgets all files. */
  clear(): void {
    this.#files.clear();
  }

  /**
   * Answers requests for these files, and passes all others on.
   *
   * @param next The original.
   * @returns The function to take its place.
   */
  serve(next: typeof fetch): typeof fetch {
    return async (input, init) => {
      const address = input instanceof Request ? input.url : String(input);
      if (!address.startsWith(ORIGIN)) return await next(input, init);
      const file = this.#files.get(address);
      if (file === undefined) return new Response(null, { status: 404 });
      return fileAnswer(file, new Headers(init?.headers).get("range"));
    };
  }

  /** Writes the names of files where a message has their addresses. */
  named(message: string): string {
    return message.replaceAll(
      new RegExp(`${ORIGIN}([^\\s:]*)`, "g"),
      (_, path) => decodeURIComponent(path),
    );
  }
}

/**
 * Frees what a browser has read. `transfer(0)` does so only for buffers that a script has made: Chromium keeps its own until
 * it collects garbage, and does not count them towards the next time. What is sent to a closed port goes at once.
 */
function free(bytes: ArrayBuffer): void {
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.postMessage(null, [bytes]);
  port1.close();
}

/** A file, or the range of it that is asked for. */
function fileAnswer(file: Blob, range: string | null): Response {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
  if (first === undefined) return new Response(wholeOf(file));
  const end = Math.min(Number(last), file.size - 1);
  if (Number(first) > end) return new Response(null, { status: 416 });
  const headers = { "content-range": `bytes ${first}-${end}/${file.size}` };
  return new Response(wholeOf(file.slice(Number(first), end + 1)), { status: 206, headers });
}

/**
 * A body of one piece: a blob's own comes in small ones, whose memory browsers keep long after a model of gigabytes has been
 * read.
 */
function wholeOf(blob: Blob): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      try {
        const bytes = await blob.arrayBuffer();
        controller.enqueue(new Uint8Array(bytes.slice()));
        free(bytes);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
    },
  });
}
