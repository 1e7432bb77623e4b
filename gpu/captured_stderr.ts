/**
 * Catches what a native library prints to the standard error stream of the process, past JavaScript.
 *
 * @module
 */

/** A result and what was printed while it was computed. */
export interface Captured<T> {
  /** What the call returned. */
  readonly result: T;
  /** What the call printed; empty where it cannot be caught. */
  readonly text: string;
}

/** Functions of the C library. */
const SYMBOLS = {
  dup: { parameters: ["i32"], result: "i32" },
  dup2: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  tmpfile: { parameters: [], result: "pointer" },
  fileno: { parameters: ["pointer"], result: "i32" },
  fclose: { parameters: ["pointer"], result: "i32" },
} as const;

/** Number of the standard error stream. */
const STDERR = 2;
/** Most bytes that are kept. */
const MAX_BYTES = 64 * 1024;
/** Names of the C library; Windows has another one, whose streams are not those of the process. */
const LIBRARIES: Readonly<Partial<Record<typeof Deno.build.os, string>>> = {
  linux: "libc.so.6",
  darwin: "libSystem.B.dylib",
};

/**
 * Calls a function and catches what it prints before it returns. Nothing is caught on Windows, and without the permission to
 * load the C library (`--allow-ffi`).
 *
 * @param call A synchronous call.
 */
export function captureStderr<T>(call: () => T): Captured<T> {
  const library = openLibrary();
  if (library === undefined) return { result: call(), text: "" };
  using _ = { [Symbol.dispose]: () => library.close() };
  const { dup, dup2, close, tmpfile, fileno, fclose } = library.symbols;
  const file = tmpfile();
  if (file === null) return { result: call(), text: "" };
  const copy = dup(STDERR);
  try {
    dup2(fileno(file), STDERR);
    const result = tryCall(call, () => {
      dup2(copy, STDERR);
    });
    return { result, text: readAll(library, fileno(file)) };
  } finally {
    close(copy);
    fclose(file);
  }
}

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;

function openLibrary(): Library | undefined {
  const name = LIBRARIES[Deno.build.os];
  try {
    return name === undefined ? undefined : Deno.dlopen(name, SYMBOLS);
  } catch {
    return undefined; // no permission, or a system with another C library
  }
}

function tryCall<T>(call: () => T, restore: () => void): T {
  try {
    return call();
  } finally {
    restore();
  }
}

function readAll({ symbols }: Library, descriptor: number): string {
  const bytes = new Uint8Array(MAX_BYTES);
  symbols.lseek(descriptor, 0n, 0);
  const length = Number(symbols.read(descriptor, bytes, BigInt(MAX_BYTES)));
  return new TextDecoder().decode(bytes.subarray(0, Math.max(0, length)));
}
