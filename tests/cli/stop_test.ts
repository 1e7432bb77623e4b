import { assert, assertEquals, assertMatch } from "@std/assert";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CLI = new URL("./fake_cli.ts", import.meta.url).pathname;

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "stop-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function start(folder: string, delayMs: number, words: readonly string[] = []): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", CLI, "reproduce", "--out", folder, ...words],
    env: { FAKE_DELAY_MS: String(delayMs), CHROMIUM_PATH: "none" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Reads messages until `count` traces have begun; returns what is left to read. */
async function waitForTraces(child: Deno.ChildProcess, count: number) {
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.split("tracing ").length <= count) {
    const { value, done } = await reader.read();
    assertEquals(done, false, text);
    text += value;
  }
  return async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    return text;
  };
}

async function finish(
  child: Deno.ChildProcess,
): Promise<{ code: number; out: string; error: string; traces: number }> {
  const [status, out, error] = await Promise.all([
    child.status,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: status.code, out, error, traces: error.split("tracing ").length - 1 };
}

async function assertWhole(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((candidate) => candidate.isFile())) {
    assertEquals(entry.name.includes("unfinished"), false, entry.name);
    if (entry.name.endsWith(".json")) {
      JSON.parse(await readFile(join(entry.parentPath, entry.name), "utf8"));
    }
  }
}

Deno.test("reproduce continues after kill -9", () =>
  withFolder(async (folder) => {
    let traces = 0;
    for (const count of [3, 2, 3]) {
      const child = start(folder, 150);
      const rest = await waitForTraces(child, count);
      child.kill("SIGKILL");
      await Promise.all([child.status, child.stdout.cancel(), rest()]);
      traces += count;
    }
    const last = await finish(start(folder, 0, ["--json"]));
    assertEquals(last.code, 0);
    // Ten traces in all; each kill lost the one in progress and no other.
    assertEquals(traces + last.traces, 10 + 3);
    await assertWhole(folder);
    const plain = await mkdtemp(join(tmpdir(), "stop-"));
    const expected = await finish(start(plain, 0, ["--json"]));
    await rm(plain, { recursive: true });
    const numbers = (out: string) =>
      JSON.parse(out.trimEnd().split("\n").at(-1)!)
        .experiments.map(({ claims }: { claims: unknown }) => claims);
    assertEquals(numbers(last.out), numbers(expected.out));
  }));

Deno.test("reproduce stops at Ctrl-C with 130 and keeps what is finished", () =>
  withFolder(async (folder) => {
    const child = start(folder, 150);
    const rest = await waitForTraces(child, 3);
    child.kill("SIGINT");
    const [status, text] = await Promise.all([child.status, rest(), child.stdout.cancel()]);
    assertEquals(status.code, 130);
    assertMatch(text, /Stopped; run the same command again to continue\./);
    await assertWhole(folder);
    assertEquals((await finish(start(folder, 0))).traces, 8);
  }));

Deno.test("reproduce ends at once at the second Ctrl-C", () =>
  withFolder(async (folder) => {
    const child = start(folder, 20_000);
    const rest = await waitForTraces(child, 1);
    const startedAt = performance.now();
    child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGINT");
    const [status] = await Promise.all([child.status, rest(), child.stdout.cancel()]);
    assertEquals(status.code, 130);
    assert(performance.now() - startedAt < 5000);
  }));

Deno.test("reproduce refuses a folder that another run is using", () =>
  withFolder(async (folder) => {
    const child = start(folder, 300);
    const rest = await waitForTraces(child, 1);
    const other = await finish(start(folder, 0));
    assertEquals(other.code, 1);
    assertMatch(
      other.error,
      new RegExp(
        `Cannot use .*: no other run may be using it: current user is process ${child.pid}`,
      ),
    );
    child.kill("SIGKILL");
    await Promise.all([child.status, child.stdout.cancel(), rest()]);
  }));

Deno.test("reproduce does not fail when its output is not read", () =>
  withFolder(async (folder) => {
    const child = start(folder, 0);
    await child.stdout.cancel();
    const [status] = await Promise.all([child.status, child.stderr.cancel()]);
    assertEquals(status.code, 0);
  }));
