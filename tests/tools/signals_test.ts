/**
 * SIGTERM and Ctrl-C end every command within a second, whatever it is computing.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";

const SCRIPT = new URL("./supervised_cli.ts", import.meta.url).pathname;
/** What commands say last before they hold the thread. */
const COMPUTES = /: loading /;
/** A second, and the time that a machine with ten times as much work as cores takes to end a process. */
const LIMIT_MS = 5000;

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "signals-" });
  try {
    await Deno.writeTextFile(`${folder}/text`, "The moon was full. Uma is in Holt. ".repeat(40));
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Sends a signal once a command has begun to compute; returns its exit code. */
async function stop(
  folder: string,
  words: readonly string[],
  signal: Deno.Signal,
): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", SCRIPT, folder, ...words],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let text = "";
  let start = Infinity;
  for await (const part of child.stderr.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (
      start < Infinity || !COMPUTES.test(text)
    ) continue;
    start = performance.now();
    child.kill(signal);
  }
  const { code } = await child.status;
  const ms = performance.now() - start;
  assert(start < Infinity, `${words[0]} ended before it computed: ${text}`);
  assert(ms < LIMIT_MS, `${words[0]}: ${ms.toFixed(0)} ms after ${signal}`);
  return code;
}

const slow = ["--device", "reference"];

Deno.test("SIGTERM ends every command within a second, and leaves no file", () =>
  withFolder(async (folder) => {
    const input = ["--text", `${folder}/text`, "--out", `${folder}/out`];
    const commands = [
      ["generate", "--policy", "full", "--max-new", "200", "--ignore-end", ...slow],
      ["extract", "--attention", "all", ...input, ...slow],
      ["match", "--window", "400", ...input, ...slow],
      ["reproduce", "--out", `${folder}/results`, ...slow],
    ];
    for (const words of commands) assertEquals(await stop(folder, words, "SIGTERM"), 143, words[0]);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assertEquals(names.includes("out"), false);
  }));

Deno.test("Ctrl-C ends a command within a second", () =>
  withFolder(async (folder) => {
    const words = ["generate", "--policy", "full", "--max-new", "200", "--ignore-end", ...slow];
    assertEquals(await stop(folder, words, "SIGINT"), 130);
  }));

Deno.test("Ctrl-C while an answer to a typed turn is written ends the answer alone", () =>
  withFolder(async (folder) => {
    const words = [
      "--policy",
      "full",
      "--max-new",
      "400",
      "--ignore-end",
      "--turns",
      "-",
    ];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", SCRIPT, folder, "generate", ...words, ...slow],
      env: { NO_COLOR: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("The moon was full.\n"));
    const messages = new Response(child.stderr).text();
    let isAnswered = false;
    for await (const _ of child.stdout) {
      if (isAnswered) continue;
      isAnswered = true;
      child.kill("SIGINT");
      // Longer than a command may take that is to end.
      setTimeout(() => writer.close(), 1200);
    }
    const { code } = await child.status;
    assertEquals(code, 0, await messages);
    assertMatch(await messages, /Ending this answer/);
  }));
