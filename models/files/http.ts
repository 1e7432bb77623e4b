/**
 * Requests whose time and size are limited here, whatever a server promises.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";

/** A server could not be reached, fell silent or broke off; a later attempt may succeed. */
export class ConnectionError extends DataError {}

/** What to ask, and how long to wait. */
export interface RequestOptions extends Pick<RequestInit, "method" | "redirect" | "cache"> {
  /** Headers of the request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Longest silence in milliseconds; 10,000 if left out. */
  readonly silenceMs?: number | undefined;
  /** Ends the request. */
  readonly signal?: AbortSignal | undefined;
}

/** Bytes `first` to `last` of a file with `total` bytes. */
export interface ContentRange {
  /** First byte. */
  readonly first: number;
  /** Last byte. */
  readonly last: number;
  /** Size of the file. */
  readonly total: number;
}

/** Longest silence of a server in milliseconds, as in Python's hub client. */
const SILENCE_MS = 10_000;
/** A request may take this many silences, and longer only as bytes arrive. */
const SILENCES = 6;
/** Slowest rate at which a body may go on, in bytes per millisecond: 16 KiB/s. */
const SLOWEST = 16 * 1024 / 1000;
/** Longest delay of a timer. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * Sends a request.
 *
 * The answer, and each piece of its body, must come within `silenceMs`; the whole must be over within six times that
 * and the time that its bytes take at 16 KiB/s.
 *
 * @returns The answer, whatever its status; read or cancel its body.
 * @throws {ConnectionError} If there is none in time.
 * @throws The signal's reason if that aborts.
 */
export async function request(address: string, options: RequestOptions = {}): Promise<Answer> {
  const { silenceMs = SILENCE_MS, signal, ...init } = options;
  const patience = new Patience(address, { silenceMs, signal });
  const response = await patience.wait(() => fetch(address, { ...init, signal: patience.signal }));
  return new Answer(address, response, patience);
}

/** What a server answered; its body is read under the limits of the request. */
export class Answer {
  /** Status code. */
  readonly status: number;
  /** Headers. */
  readonly headers: Headers;
  readonly #body: ReadableStream<Uint8Array<ArrayBuffer>> | null;
  readonly #patience: Patience;

  /** Takes over a response; see {@linkcode request}. */
  constructor(readonly address: string, response: Response, patience: Patience) {
    this.status = response.status;
    this.headers = response.headers;
    this.#body = response.body;
    this.#patience = patience;
  }

  /** The range that the answer announces; undefined if it announces none that makes sense. */
  get range(): ContentRange | undefined {
    const parts = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(this.headers.get("content-range") ?? "");
    const [first, last, total] = (parts ?? []).slice(1).map(Number);
    if (first === undefined || last === undefined || !Number.isSafeInteger(total)) return undefined;
    return first <= last && last < total! ? { first, last, total: total! } : undefined;
  }

  /**
   * Reads the body in pieces.
   *
   * @param maxBytes Most bytes that it may have.
   * @throws {DataError} If it has more.
   * @throws {ConnectionError} If it breaks off, falls silent or takes too long.
   */
  async *pieces(maxBytes: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const reader = this.#body?.getReader();
    try {
      for (let count = 0; reader !== undefined;) {
        const { value, done } = await this.#patience.wait(() => reader.read());
        if (done) return;
        count += value.length;
        if (count > maxBytes) {
          throw new DataError(
            `Cannot read ${
              withoutQuery(this.address)
            }: its size must be at most ${maxBytes} bytes: current value is ${count} or more`,
          );
        }
        this.#patience.count(value.length);
        yield value;
      }
    } finally {
      // A signal alone would not end it: Deno forgets that of a request whose objects have been collected.
      reader?.cancel().catch(() => {});
      this.#patience.end();
    }
  }

  /** Reads the whole body; throws as {@linkcode Answer.pieces}. */
  async bytes(maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const pieces = await Array.fromAsync(this.pieces(maxBytes));
    // Without a copy, a caller who frees it leaves nothing behind.
    const [first] = pieces;
    if (pieces.length === 1 && first!.buffer.byteLength === first!.length) return first!;
    const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let offset = 0;
    for (const piece of pieces) {
      bytes.set(piece, offset);
      offset += piece.length;
    }
    return bytes;
  }

  /** Gives up a body that is not being read. */
  cancel(): void {
    this.#body?.cancel().catch(() => {});
    this.#patience.end();
  }
}

/** Addresses of storage servers are signed there, which is long and not for everybody to see. */
function withoutQuery(address: string): string {
  return address.replace(/[?#].*$/s, "");
}

/** Ends a request that was silent, or went on, for too long. */
class Patience {
  readonly #address: string;
  readonly #silenceMs: number;
  readonly #stop: AbortSignal | undefined;
  readonly #end = new AbortController();
  readonly #begin = performance.now();
  #bytes = 0;

  constructor(
    address: string,
    limits: { readonly silenceMs: number; readonly signal: AbortSignal | undefined },
  ) {
    this.#address = address;
    this.#silenceMs = Math.min(limits.silenceMs, MAX_DELAY_MS / SILENCES);
    this.#stop = limits.signal;
  }

  get signal(): AbortSignal {
    return this.#stop ? AbortSignal.any([this.#stop, this.#end.signal]) : this.#end.signal;
  }

  count(bytes: number): void {
    this.#bytes += bytes;
  }

  end(): void {
    this.#end.abort();
  }

  async wait<T>(work: () => Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const end = this.#begin + this.#silenceMs * SILENCES + this.#bytes / SLOWEST;
    const restMs = end - performance.now();
    const isSilence = restMs > this.#silenceMs;
    const reason = isSilence
      ? `nothing came for ${this.#silenceMs / 1000} s`
      : `only ${this.#bytes} bytes came in ${((end - this.#begin) / 1000).toFixed(1)} s`;
    const timer = setTimeout(() => reject(reason), Math.max(0, Math.min(this.#silenceMs, restMs)));
    const stop = () => reject(this.#stop!.reason);
    this.#stop?.addEventListener("abort", stop);
    try {
      this.#stop?.throwIfAborted();
      return await Promise.race([work(), promise]);
    } catch (cause) {
      this.end();
      this.#stop?.throwIfAborted();
      const place = withoutQuery(this.#address);
      throw new ConnectionError(`Cannot read ${place}: the server must answer: ${cause}`, {
        cause,
      });
    } finally {
      clearTimeout(timer);
      this.#stop?.removeEventListener("abort", stop);
    }
  }
}
