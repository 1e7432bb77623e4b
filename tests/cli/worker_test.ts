import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import type { CommandIo } from "../../cli/command.ts";
import { runCommandLine } from "../../cli/command_line.ts";
import { evaluateCommand } from "../../cli/evaluate.ts";
import { workerCommand } from "../../cli/worker.ts";
import { QueueServer } from "../../evaluation/queue/server.ts";
import { EvaluationStreams } from "../../evaluation/queue/streams.ts";
import { openEngine } from "../../experiments/runner/engine.ts";
import { useChromium } from "../support/chromium.ts";
import { temporaryFolder } from "../support/model_writer.ts";
import { hasNatsServer, startNatsServer } from "../support/nats_server.ts";

const LAUNCHER = fileURLToPath(new URL("../../tools/launch.ts", import.meta.url));
const DEVICE = ["--device", "cpu", "--threads", "1"];

async function run(words: readonly string[], signal = new AbortController().signal) {
  let error = "";
  const io: CommandIo = {
    out: () => {},
    error: (text) => error += text,
    isInteractive: false,
    columns: () => 100,
    outColumns: () => 100,
    signal,
  };
  using _ = useChromium("none");
  const commands = [evaluateCommand({ openEngine }), workerCommand({ openEngine })];
  return { code: await runCommandLine(commands, words, io), error };
}

/** Waits for a text in a stream. */
async function until(reader: ReadableStreamDefaultReader<string>, part: string): Promise<void> {
  for (let text = ""; !text.includes(part);) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the worker ended with ${text}`);
    text += value;
  }
}

Deno.test({
  name: "worker answers with the permissions it gets, and hands its work back when it is stopped",
  ignore: !hasNatsServer || Deno.build.os === "windows",
  async fn() {
    await using server = await startNatsServer("--user", "u", "--pass", "secret");
    await using folder = await temporaryFolder();
    const credentials = join(folder.path, "credentials");
    await Deno.writeTextFile(credentials, "u:secret\n");
    const queue = ["--queue", `nats://${server.host}`, "--queue-credentials", credentials];
    const worker = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", LAUNCHER, "worker", ...queue, ...DEVICE],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const reader = worker.stderr.pipeThrough(new TextDecoderStream()).getReader();
    const out = join(folder.path, "out");
    const evaluation = ["evaluate", ...DEVICE, "--policies", "full", "--piece", "1"];
    const open = ["--queue", `nats://u:secret@${server.host}`];
    const { code, error } = await run([...evaluation, ...open, "--limit", "2", "--out", out]);
    assertEquals([code, error.includes("secret")], [0, false], error);
    for (const name of ["answers.jsonl", "evaluation.json", "evaluation.md", "report.html"]) {
      assertEquals((await Deno.readTextFile(join(out, name))).includes("secret"), false, name);
    }
    await until(reader, "microworld: 1 item under 1 setting ");

    const stop = new AbortController();
    const more = run([...evaluation, ...open, "--limit", "9", "--out", out], stop.signal);
    await until(reader, "microworld: 1 item under 1 setting ");
    const start = performance.now();
    worker.kill("SIGTERM");
    assertEquals((await worker.status).code, 143);
    assert(performance.now() - start < 1000);
    await reader.cancel();
    await using connected = await QueueServer.open({
      ...{ host: server.host, isEncrypted: false },
      credentials: { user: "u", password: "secret" },
    });
    const [streams] = await EvaluationStreams.list(connected);
    // Nothing waits for a worker that is gone.
    const consumer = (await streams!.workers())!;
    const pulled = connected.pull(consumer, { messages: 20, milliseconds: 1_000 });
    assertEquals((await Array.fromAsync(pulled)).length, await streams!.workLeft());
    stop.abort();
    assertEquals((await more).code, 130);
  },
});

Deno.test("worker and evaluate refuse a queue that they cannot use, and show no password", async () => {
  const refusals: [string[], string][] = [
    [["worker"], "--queue must be given"],
    [["worker", "--queue", "http://u:secret@h"], "its address must be written nats://HOST"],
    [["worker", "--queue", "nats://h", "--small", "s"], "--large must be given with --small"],
    [["evaluate", "--piece", "2"], "--queue must be given with --piece"],
    [["evaluate", "--queue", "nats://h", "--ack-wait", "0"], "--ack-wait must be a number"],
  ];
  for (const [words, message] of refusals) {
    const { code, error } = await run(words);
    assertEquals([code, error.includes("secret")], [2, false], error);
    assertStringIncludes(error, message);
  }
  const missing = await run(["worker", "--queue", "nats://h", "--queue-credentials", "/none"]);
  assertEquals(missing.code, 1);
  assertStringIncludes(missing.error, "Cannot read /none");
});
