/**
 * NATS servers for tests: on loopback, at a free port, with a folder of their own.
 *
 * @module
 */

import { findNatsServer } from "../../tools/nats_server.ts";
import { temporaryFolder } from "./model_writer.ts";

const program = findNatsServer();

/** Whether servers can be started; tests that need one are skipped otherwise. */
export const hasNatsServer = program !== undefined;

/** A server; disposing it stops it and removes its folder. */
export interface TestNatsServer extends AsyncDisposable {
  /** Host and port. */
  readonly host: string;
  /** Its folder. */
  readonly folder: string;
  /** Ends it at once. */
  kill(): Promise<void>;
  /** Starts it at the same port, with the same folder. */
  start(): Promise<void>;
}

/**
 * Starts a server that keeps streams.
 *
 * @param words More words of its command line.
 */
export async function startNatsServer(...words: string[]): Promise<TestNatsServer> {
  const folder = await temporaryFolder();
  const port = freePort();
  const args = ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", folder.path, ...words];
  let child: Deno.ChildProcess | undefined;
  const server: TestNatsServer = {
    host: `127.0.0.1:${port}`,
    folder: folder.path,
    async kill() {
      child?.kill("SIGKILL");
      await child?.status;
      child = undefined;
    },
    async start() {
      child = new Deno.Command(program!, {
        args,
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      while (!await isListening(port)) await new Promise((resolve) => setTimeout(resolve, 20));
    },
    async [Symbol.asyncDispose]() {
      await server.kill();
      await folder[Symbol.asyncDispose]();
    },
  };
  await server.start();
  return server;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function isListening(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
