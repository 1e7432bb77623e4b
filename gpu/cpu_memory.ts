/**
 * Allocates buffers in one WebAssembly memory.
 *
 * @module
 */

/** Bytes of a page. */
const PAGE = 65536;

/** Most pages that 32-bit addresses reach. */
const MAX_PAGES = 65536;

/** Bytes at the start that belong to the code's own data. */
const RESERVED = 2 * PAGE;

/** Every block begins at a multiple of this: a cache line. */
const ALIGNMENT = 64;

/** Fewest bytes that the memory grows by. */
const GROWTH = 4 * 2 ** 20;

/** A free block. */
interface Block {
  readonly address: number;
  readonly bytes: number;
}

/** A memory that grows as blocks are allocated; freed blocks are used again, and never given back. */
export class CpuMemory {
  /** The memory, for the code. */
  readonly memory: WebAssembly.Memory;
  /** Free blocks by address; no two touch. */
  #free: Block[] = [];
  #end = RESERVED;

  /**
   * Makes an empty memory.
   *
   * @param isShared Whether threads share it.
   */
  constructor(isShared: boolean) {
    const initial = RESERVED / PAGE;
    this.memory = new WebAssembly.Memory({ initial, maximum: MAX_PAGES, shared: isShared });
  }

  /** All bytes; stale after the next allocation. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.memory.buffer);
  }

  /**
   * Allocates zeros.
   *
   * @returns Address of the first byte; undefined if the memory cannot grow so far.
   */
  allocate(byteLength: number): number | undefined {
    const bytes = roundUp(byteLength, ALIGNMENT);
    const index = this.#free.findIndex((block) => block.bytes >= bytes);
    if (index >= 0) {
      const { address, bytes: free } = this.#free[index]!;
      const rest = free > bytes ? [{ address: address + bytes, bytes: free - bytes }] : [];
      this.#free.splice(index, 1, ...rest);
      this.bytes.fill(0, address, address + bytes);
      return address;
    }
    const address = this.#end;
    if (!this.#reach(address + bytes)) return undefined;
    this.#end += bytes;
    return address;
  }

  /** Frees what `allocate` returned for the same number of bytes. */
  free(address: number, byteLength: number): void {
    const block = { address, bytes: roundUp(byteLength, ALIGNMENT) };
    const next = this.#free.findIndex((other) => other.address > address);
    this.#free.splice(next < 0 ? this.#free.length : next, 0, block);
    this.#free = this.#free.reduce<Block[]>((joined, { address, bytes }) => {
      const last = joined.at(-1);
      if (last !== undefined && last.address + last.bytes === address) {
        joined[joined.length - 1] = { address: last.address, bytes: last.bytes + bytes };
      } else joined.push({ address, bytes });
      return joined;
    }, []);
    const last = this.#free.at(-1);
    if (last === undefined || last.address + last.bytes !== this.#end) return;
    // What lies behind the end must be zeros.
    this.bytes.fill(0, last.address, this.#end);
    this.#end = last.address;
    this.#free.pop();
  }

  #reach(end: number): boolean {
    const current = this.memory.buffer.byteLength;
    if (end <= current) return true;
    const needed = Math.ceil((end - current) / PAGE);
    const wanted = Math.max(needed, Math.ceil(Math.max(GROWTH, current / 8) / PAGE));
    const room = MAX_PAGES - current / PAGE;
    for (const pages of [Math.min(wanted, room), needed]) {
      try {
        if (pages >= needed) return this.memory.grow(pages) >= 0;
      } catch {
        // The machine, or the limit of the address space, has no room for so many.
      }
    }
    return false;
  }
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
