/**
 * Lines of a stream, as they come.
 *
 * @module
 */

/**
 * Splits a stream into lines; a line is passed on as soon as its end is there.
 *
 * @param bytes Text in UTF-8, with either kind of line end; not touched before the first line is asked for.
 * @returns Lines without their ends; the last one also if nothing ends it, unless it is empty.
 */
export async function* readLines(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of bytes) {
    const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield withoutReturn(line);
  }
  rest += decoder.decode();
  if (rest !== "") yield withoutReturn(rest);
}

function withoutReturn(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

/**
 * Waits for something that a signal may make unwanted.
 *
 * @param wanted What is waited for; nobody sees how it ends once the signal has aborted.
 * @param signal Ends the wait.
 * @returns What came.
 * @throws The signal's reason if it aborts first.
 */
export async function untilAborted<T>(wanted: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([wanted, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
