/**
 * A Deno kernel as a child process: starts it, runs code in it, interrupts and ends it.
 *
 * @module
 */

import { driverEnvironment } from "./adapter.ts";
import { type ConnectionKey, type KernelMessage, KernelSocket } from "./notebook_socket.ts";

/** How a kernel is started. */
export interface KernelOptions {
  /** Working folder, which relative imports of cells start from. */
  readonly folder: string;
  /** Environment variables added to those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How one piece of code is run. */
export interface ExecuteOptions {
  /** Time after which it is interrupted. */
  readonly timeoutMs: number;
  /** Receives everything the code publishes, in order. */
  readonly onMessage?: (message: KernelMessage) => void;
}

/** How a piece of code ended. */
export interface Execution {
  /** `error` also for code that did not compile or was interrupted. */
  readonly status: "ok" | "error";
  /** What went wrong; empty if nothing did. */
  readonly failure: string;
  /** Number of the cell in this kernel. */
  readonly count: number | null;
}

/** Ports of a connection file. */
type Port = "shell_port" | "iopub_port" | "stdin_port" | "control_port" | "hb_port";
const PORTS: readonly Port[] = [
  "shell_port",
  "iopub_port",
  "stdin_port",
  "control_port",
  "hb_port",
];

/** Type of the message that marks the end of an execution's output. */
const FENCE = "smallkv_fence";
/** Time that an interrupted execution has to end. */
const GRACE_MS = 3000;
/** Time that a kernel has to shut down. */
const SHUTDOWN_MS = 2000;
/** Time between two checks whether a fresh kernel listens. */
const PROBE_MS = 500;

/** A running kernel. Disposing it ends the process. */
export class Kernel implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #died: Promise<never>;
  readonly #sockets: { shell: KernelSocket; published: KernelSocket; control: KernelSocket };
  readonly #owned: AsyncDisposableStack;

  private constructor(
    process: Deno.ChildProcess,
    died: Promise<never>,
    sockets: { shell: KernelSocket; published: KernelSocket; control: KernelSocket },
    owned: AsyncDisposableStack,
  ) {
    this.#process = process;
    this.#died = died;
    this.#sockets = sockets;
    this.#owned = owned;
  }

  /**
   * Starts a kernel and waits until it answers.
   *
   * @throws {Error} If the process ends immediately.
   */
  static async start(options: KernelOptions): Promise<Kernel> {
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "smallkv-kernel-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const secret = crypto.randomUUID();
    const ports = freePorts();
    const file = `${folder}/connection.json`;
    await Deno.writeTextFile(file, connectionText(ports, secret));
    const process = new Deno.Command(Deno.execPath(), {
      args: ["jupyter", "--kernel", "--conn", file],
      cwd: options.folder,
      env: { ...driverEnvironment(folder), NO_COLOR: "1", ...options.env },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const died = process.status.then(({ code }) => {
      throw new Error(`The kernel ended with code ${code}`);
    });
    died.catch(() => {});
    stack.defer(() => endProcess(process));
    const key = await connectionKey(secret);
    const open = async (port: Port, kind: "DEALER" | "SUB") =>
      stack.use(await Promise.race([KernelSocket.open({ port: ports[port], kind }, key), died]));
    const published = await open("iopub_port", "SUB");
    const shell = await open("shell_port", "DEALER");
    const control = await open("control_port", "DEALER");
    const kernel = new Kernel(process, died, { shell, published, control }, stack.move());
    await kernel.#waitUntilHeard();
    return kernel;
  }

  /**
   * Runs code and waits until everything it published has arrived.
   *
   * The kernel sends "idle" before the last outputs. A second, silent request goes through the same queue as
   * the outputs, so what it publishes arrives after all of them.
   *
   * @returns How it ended; code that runs too long counts as failed.
   * @throws {Error} If the kernel ends, or does not stop when interrupted.
   */
  async execute(code: string, options: ExecuteOptions): Promise<Execution> {
    const { shell, published } = this.#sockets;
    let failure = "";
    using limit = this.#startLimit(options.timeoutMs, (text) => failure = text);
    // The end of the process first shows as a closed connection.
    const wait = <T>(work: Promise<T>) =>
      Promise.race([work.catch(() => this.#died), this.#died, limit.expired]);
    const id = await this.#request(code, { isSilent: false });
    let fence: string | undefined;
    let count: number | null = null;
    while (true) {
      const message = await wait(published.receive());
      const { type, parent, content } = message;
      if (parent !== id && parent !== fence) continue;
      if (type === FENCE) break;
      if (type === "execute_input") count = parent === id ? Number(content.execution_count) : count;
      else if (type !== "status") options.onMessage?.(message);
      else if (parent === id && content.execution_state === "idle") {
        fence = await this.#request(FENCE_CODE, { isSilent: true });
      }
      if (type === "error") failure ||= `${content.ename}: ${content.evalue}`;
    }
    const reply = await wait(replyTo(shell, id));
    // Code that does not compile is reported in the reply only.
    if (reply.content.status === "error") failure ||= "The code did not compile or was interrupted";
    return { status: failure === "" ? "ok" : "error", failure, count };
  }

  /** Asks the kernel to stop what runs; code that waits for a promise continues until the promise settles. */
  async interrupt(): Promise<void> {
    await this.#sockets.control.send("interrupt_request", {});
  }

  /** Ends the kernel. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sockets.control.send("shutdown_request", { restart: false }).catch(() => {});
    await withinTime(this.#process.status, SHUTDOWN_MS);
    await this.#owned.disposeAsync();
  }

  #request(code: string, { isSilent }: { readonly isSilent: boolean }): Promise<string> {
    return this.#sockets.shell.send("execute_request", {
      code,
      silent: isSilent,
      store_history: !isSilent,
      user_expressions: {},
      allow_stdin: false,
      stop_on_error: false,
    });
  }

  /** What is published before the kernel has seen the subscription is lost, so this asks until something comes. */
  async #waitUntilHeard(): Promise<void> {
    const first = this.#sockets.published.receive().then(() => true);
    for (let isHeard = false; !isHeard;) {
      await this.#request(FENCE_CODE, { isSilent: true });
      isHeard = await withinTime(Promise.race([first, this.#died]), PROBE_MS) ?? false;
    }
  }

  #startLimit(
    timeoutMs: number,
    onTimeout: (failure: string) => void,
  ): Disposable & { readonly expired: Promise<never> } {
    const { promise: expired, reject } = Promise.withResolvers<never>();
    expired.catch(() => {});
    let timer = setTimeout(() => {
      const failure = `The cell ran longer than ${timeoutMs / 1000} s`;
      onTimeout(failure);
      this.interrupt().catch(() => {});
      timer = setTimeout(() => reject(new Error(failure)), GRACE_MS);
    }, timeoutMs);
    return { expired, [Symbol.dispose]: () => clearTimeout(timer) };
  }
}

const FENCE_CODE = `Deno.jupyter.broadcast("${FENCE}", {})`;

async function replyTo(shell: KernelSocket, id: string): Promise<KernelMessage> {
  while (true) {
    const message = await shell.receive();
    if (message.parent === id) return message;
  }
}

function freePorts(): Record<Port, number> {
  const listeners = PORTS.map(() => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  const entries = PORTS.map((name, index) => [name, listeners[index]!.addr.port] as const);
  for (const listener of listeners) listener.close();
  return Object.fromEntries(entries) as Record<Port, number>;
}

function connectionText(ports: Record<Port, number>, key: string): string {
  const fixed = { transport: "tcp", ip: "127.0.0.1", signature_scheme: "hmac-sha256" };
  return JSON.stringify({ ...fixed, ...ports, key });
}

async function connectionKey(secret: string): Promise<ConnectionKey> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const bytes = new TextEncoder().encode(secret);
  const hmac = await crypto.subtle.importKey("raw", bytes, algorithm, false, ["sign"]);
  return { hmac, session: crypto.randomUUID() };
}

async function endProcess(process: Deno.ChildProcess): Promise<void> {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
  await process.status;
}

/** What a promise gives, or nothing after a time. */
async function withinTime<T>(work: Promise<T>, milliseconds: number): Promise<T | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), milliseconds);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
