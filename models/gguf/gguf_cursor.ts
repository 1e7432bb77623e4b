/**
 * Reads numbers and texts one after the other from the start of a file, a window at a time.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { RangedFile } from "../files/ranged_file.ts";

const WINDOW_BYTES = 2 ** 20;
const MAX_HEADER_BYTES = 48 * 2 ** 20;

/** Position in the header of a file; refuses to pass its end or 48 MiB. */
export class HeaderCursor {
  readonly #file: RangedFile;
  readonly #decoder: TextDecoder = new TextDecoder();
  #windowOffset = 0;
  #window: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;

  /**
   * Starts at the first byte.
   *
   * @param file The file.
   */
  constructor(file: RangedFile) {
    this.#file = file;
  }

  /** Bytes read so far. */
  get position(): number {
    return this.#windowOffset + this.#at;
  }

  /**
   * Makes the error for a header that is not as it must be.
   *
   * @param requirement What must hold.
   * @param current What was found.
   * @returns The error to throw.
   */
  failure(requirement: string, current: string | number): DataError {
    return new DataError(
      `Cannot read ${this.#file.location}: ${requirement}: current value is ${current}`,
    );
  }

  /**
   * Reads four bytes.
   *
   * @returns An integer from 0.
   * @throws {DataError} If the file ends.
   */
  async u32(): Promise<number> {
    await this.#need(4);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  /**
   * Reads eight bytes as a count.
   *
   * @param name What is counted.
   * @param max Largest count allowed.
   * @returns The count.
   * @throws {DataError} If it is larger or the file ends.
   */
  async count(name: string, max: number): Promise<number> {
    await this.#need(8);
    const count = this.#view.getBigUint64(this.#at, true);
    if (count > BigInt(max)) throw this.failure(`${name} must be at most ${max}`, String(count));
    this.#at += 8;
    return Number(count);
  }

  /**
   * Reads a length and as many bytes of UTF-8.
   *
   * @returns The text.
   * @throws {DataError} If the file ends.
   */
  async text(): Promise<string> {
    const byteLength = await this.count("length of a text", Number.MAX_SAFE_INTEGER);
    await this.#need(byteLength);
    this.#at += byteLength;
    return this.#decoder.decode(this.#window.subarray(this.#at - byteLength, this.#at));
  }

  /**
   * Reads a text as `text` does if all of it is in memory, which saves waiting for each of many.
   *
   * @returns The text, or undefined with nothing read.
   */
  textIfBuffered(): string | undefined {
    const begin = this.#at + 8;
    if (begin > this.#window.length || this.#view.getUint32(this.#at + 4, true) !== 0) return;
    const end = begin + this.#view.getUint32(this.#at, true);
    if (end > this.#window.length) return;
    this.#at = end;
    return this.#decoder.decode(this.#window.subarray(begin, end));
  }

  /**
   * Reads bytes into memory of their own.
   *
   * @param byteLength How many.
   * @returns The bytes.
   * @throws {DataError} If the file ends.
   */
  async copy(byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    await this.#need(byteLength);
    this.#at += byteLength;
    return this.#window.slice(this.#at - byteLength, this.#at);
  }

  async #need(byteLength: number): Promise<void> {
    if (this.#at + byteLength <= this.#window.length) return;
    const begin = this.position;
    const end = begin + byteLength;
    if (end > this.#file.byteLength) {
      throw this.failure(
        `the header must end within the file, which needs at least ${end} bytes`,
        this.#file.byteLength,
      );
    }
    if (end > MAX_HEADER_BYTES) {
      throw this.failure(
        `the header must have at most ${MAX_HEADER_BYTES} bytes`,
        `at least ${end}`,
      );
    }
    const left = this.#file.byteLength - begin;
    this.#window = await this.#file.read(begin, Math.min(left, Math.max(byteLength, WINDOW_BYTES)));
    this.#view = new DataView(this.#window.buffer);
    this.#windowOffset = begin;
    this.#at = 0;
  }
}
