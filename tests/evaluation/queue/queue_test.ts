import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { DataError, GpuError, RequirementError } from "../../../core/check.ts";
import type { Task } from "../../../data/task.ts";
import type { AnswerRow } from "../../../evaluation/answer_row.ts";
import { readRows } from "../../../evaluation/answers_file.ts";
import { evaluate, type EvaluateOptions, questionOptions } from "../../../evaluation/evaluate.ts";
import { ANSWERS_FILE } from "../../../evaluation/folder.ts";
import { parseQueueAddress, type QueueCredentials } from "../../../evaluation/queue/address.ts";
import { queueAnswers, type QueueAnswersOptions } from "../../../evaluation/queue/evaluator.ts";
import { QueueServer, type QueueServerOptions } from "../../../evaluation/queue/server.ts";
import { EvaluationStreams } from "../../../evaluation/queue/streams.ts";
import { runWorker, type WorkerOptions } from "../../../evaluation/queue/worker.ts";
import { engineCode } from "../../../evaluation/work.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { temporaryFolder } from "../../support/model_writer.ts";
import { hasNatsServer, startNatsServer } from "../../support/nats_server.ts";
import { shortTask } from "../short_task.ts";

if (!hasNatsServer) console.warn("tests of the queue: skipped, there is no nats-server");

const TASK = shortTask();
const REQUEST: EvaluateOptions = { tasks: [TASK], policies: ["full", "h2o"], budgets: [0.3] };
const pair = () => embeddedModels("cpu");
const code = await engineCode();

/** A test with a server of its own. */
function queueTest(
  name: string,
  test: (server: Awaited<ReturnType<typeof startNatsServer>>) => Promise<void>,
  ...words: string[]
): void {
  Deno.test({
    name,
    ignore: !hasNatsServer,
    async fn() {
      await using server = await startNatsServer(...words);
      await test(server);
    },
  });
}

function connect(host: string, options: QueueServerOptions = {}): Promise<QueueServer> {
  return QueueServer.open({ host, isEncrypted: false }, { patienceMs: 10_000, ...options });
}

/** Evaluates through a queue, with pieces of one item. */
async function* queued(
  host: string,
  { request = {}, ...more }: Partial<QueueAnswersOptions & QueueServerOptions> & {
    readonly request?: Partial<EvaluateOptions>;
  } = {},
): AsyncGenerator<AnswerRow> {
  await using server = await connect(host, more);
  const whole = { ...REQUEST, ...request };
  const options = { options: questionOptions(whole), code, items: 1, ...more };
  const models = await pair();
  yield* evaluate(models, {
    ...whole,
    answers: (plan) => queueAnswers(server, models, plan, options),
  });
}

/** Runs a worker until it ends by itself. */
async function worker(
  host: string,
  more: Partial<WorkerOptions & QueueServerOptions> = {},
): Promise<number> {
  await using server = await connect(host, more);
  return await runWorker(server, await pair(), { code, tasks: [TASK], ...more });
}

/** Workers that are stopped by disposing them. */
interface Crew extends AsyncDisposable {
  /** Answers so far. */
  answers: number;
  /** Pieces so far. */
  pieces: number;
}

function startWorkers(host: string, count: number, more: Partial<WorkerOptions> = {}): Crew {
  const stop = new AbortController();
  const options: Partial<WorkerOptions> = {
    signal: stop.signal,
    onAnswer: () => void crew.answers++,
    onPiece: () => void crew.pieces++,
    ...more,
  };
  const done = Array.from(
    { length: count },
    () => assertRejects(() => worker(host, options), DOMException),
  );
  const crew: Crew = {
    answers: 0,
    pieces: 0,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all(done);
    },
  };
  return crew;
}

/** Rows without what differs from run to run, by id. */
function stable(rows: readonly AnswerRow[]): unknown[] {
  return [...rows].sort((a, b) => a.id < b.id ? -1 : 1).map(({ seconds: _, ...row }) => row);
}

let local: Promise<unknown[]> | undefined;
/** What one process answers. */
async function expected(): Promise<unknown[]> {
  local ??= pair().then((models) => Array.fromAsync(evaluate(models, REQUEST))).then(stable);
  return await local;
}

queueTest("queueAnswers() has workers answer what one process answers", async ({ host }) => {
  await using crew = startWorkers(host, 2);
  const states: unknown[] = [];
  const rows = await Array.fromAsync(queued(host, { onState: (state) => states.push(state) }));
  assertEquals(stable(rows), await expected());
  assertEquals([crew.pieces, crew.answers], [4, 8]);
  assert(states.length > 0);
  await using server = await connect(host);
  assertEquals(await EvaluationStreams.list(server), []);
});

queueTest("queueAnswers() gives the work of a dead worker to another", async ({ host }) => {
  await using dead = await connect(host);
  const rows = Array.fromAsync(queued(host, { ackWaitMs: 1_000 }));
  for (let taken = 0; taken < 2;) {
    for (const streams of await EvaluationStreams.list(dead)) {
      const consumer = await streams.workers();
      const limits = { messages: 2, milliseconds: 1_000 };
      if (consumer) { for await (const _ of dead.pull(consumer, limits)) taken++; }
    }
  }
  await using _ = startWorkers(host, 1);
  assertEquals(stable(await rows), await expected());
});

queueTest("runWorker() keeps work that takes longer than its server waits", async ({ host }) => {
  const slow: Task = {
    ...TASK,
    async items(options) {
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      return await TASK.items(options);
    },
  };
  await using crew = startWorkers(host, 3, { tasks: [slow] });
  const request = { limit: 2 };
  assertEquals((await Array.fromAsync(queued(host, { ackWaitMs: 1_000, request }))).length, 4);
  assertEquals(crew.pieces, 2);
});

queueTest("queueAnswers() ends with the error of work that keeps failing", async ({ host }) => {
  const poison = (await TASK.items({ folder: "" })).find(({ id }) => id === "route/1")!;
  const broken: Task = {
    ...TASK,
    grade(texts, item) {
      if (item.reference !== poison.reference) return TASK.grade(texts, item);
      throw new GpuError("Cannot answer: the device must like it: current value is poison");
    },
  };
  const stop = new AbortController();
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  // It may itself give up, since nothing is left that it can do.
  const done = worker(host, { tasks: [broken], onWarning, signal: stop.signal }).catch(() => {});
  const error = await assertRejects(() => Array.fromAsync(queued(host)), DataError);
  for (const part of ["short", "route/1", "the device must like it"]) {
    assertStringIncludes(error.message, part);
  }
  stop.abort();
  await done;
  assertStringIncludes(warnings[0]!, "the device must like it");
  // The next run tries again.
  await using _ = startWorkers(host, 1);
  assertEquals(stable(await Array.fromAsync(queued(host))), await expected());
});

queueTest(
  "queueAnswers() counts every failure, though the server may number deliveries from 1 again",
  async ({ host }) => {
    const broken: Task = {
      ...TASK,
      grade() {
        throw new GpuError("Cannot answer: the device must like it: current value is poison");
      },
    };
    await using server = await connect(host);
    const consumers = server.manager.consumers;
    const forget = async () => {
      const [streams] = await EvaluationStreams.list(server);
      const { config } = await consumers.info(streams!.work, "workers");
      await consumers.delete(streams!.work, "workers");
      await consumers.add(streams!.work, config);
    };
    const stop = new AbortController();
    const onWarning = () => void forget();
    const request = { limit: 1 };
    const rows = Array.fromAsync(
      queued(host, { request, signal: AbortSignal.timeout(20_000) }),
    );
    // A worker gives up after three failures in a row.
    const workers = [1, 2].map(() =>
      worker(host, { tasks: [broken], onWarning, signal: stop.signal }).catch(() => {})
    );
    await assertRejects(() => rows, DataError, "it failed 3 times");
    stop.abort();
    await Promise.all(workers);
  },
);

queueTest(
  "runWorker() leaves alone what does not fit, and ends if nothing does",
  async ({ host }) => {
    const rows = Array.fromAsync(queued(host));
    const fails = async (options: Partial<WorkerOptions>, part: string) => {
      const error = await assertRejects(() => worker(host, options), DataError);
      assertStringIncludes(error.message, part);
    };
    await fails({ code: "0".repeat(64) }, `the code must be ${code}`);
    await fails({ tasks: [shortTask({ item: { maxTokens: 3 } })] }, "the prompt of");
    await fails({ tasks: [] }, "its task must be known");
    await using _ = startWorkers(host, 1);
    assertEquals(stable(await rows), await expected());
  },
);

queueTest("queueAnswers() continues with what workers answered meanwhile", async ({ host }) => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "out");
  const request = { folder: path };
  const first = worker(host, { emptyMs: 300 });
  for await (const _ of queued(host, { request })) break;
  // No evaluating side is there for the rest, so that the worker ends after the piece that it had.
  const early = await first;
  assert(early < 8);
  assertEquals((await readRows(join(path, ANSWERS_FILE))).rows.length, 1);
  await using crew = startWorkers(host, 1);
  assertEquals(stable(await Array.fromAsync(queued(host, { request }))), await expected());
  assertEquals(early + crew.answers, 8);
});

queueTest(
  "queueAnswers() adds no work that is in the queue with more to answer",
  async ({ host }) => {
    await using folder = await temporaryFolder();
    const request = { folder: join(folder.path, "out") };
    const stop = new AbortController();
    const onState = ({ waiting }: { readonly waiting: number }) => waiting === 4 && stop.abort();
    const idle = queued(host, { request, onState, signal: stop.signal });
    await assertRejects(() => Array.fromAsync(idle), DOMException);
    for await (const _ of evaluate(await pair(), { ...REQUEST, ...request })) break;
    await using crew = startWorkers(host, 1);
    const rows = await Array.fromAsync(queued(host, { request, patienceMs: 1_000 }));
    assertEquals(stable(rows), await expected());
    assertEquals(crew.pieces, 4);
  },
);

queueTest("a queue outlasts the death of its server, and of its files", async (server) => {
  for (const isLost of [false, true]) {
    await using _ = startWorkers(server.host, 1);
    const rows: AnswerRow[] = [];
    for await (const row of queued(server.host)) {
      rows.push(row);
      if (rows.length !== 2) continue;
      await server.kill();
      if (isLost) await Deno.remove(join(server.folder, "jetstream"), { recursive: true });
      await server.start();
    }
    assertEquals(stable(rows), await expected());
  }
});

queueTest("a queue whose server stays away keeps what is finished", async (server) => {
  const { host } = server;
  await using folder = await temporaryFolder();
  const path = join(folder.path, "out");
  const warnings: string[] = [];
  const more = {
    patienceMs: 1_000,
    ackWaitMs: 1_000,
    onWarning: (warning: string) => void warnings.push(warning),
  };
  const done = assertRejects(() => worker(host, more), DataError);
  const error = await assertRejects(async () => {
    for await (const _ of queued(host, { ...more, request: { folder: path } })) await server.kill();
  }, DataError);
  await done;
  assertStringIncludes(error.message, `Cannot use the queue at ${host}: the server must answer`);
  assertStringIncludes(warnings[0]!, `${host} went away`);
  assert((await readRows(join(path, ANSWERS_FILE))).rows.length > 0);
  const absent = await assertRejects(() => connect(host, { connectMs: 500 }), DataError);
  assertStringIncludes(absent.message, "must answer: current error is connection refused");
  await server.start();
  await using _ = startWorkers(host, 1);
  const rows = await Array.fromAsync(queued(host, { request: { folder: path } }));
  assertEquals(stable(rows), await expected());
});

queueTest("queueAnswers() refuses a second process that evaluates the same", async ({ host }) => {
  const stop = new AbortController();
  const first = Array.fromAsync(queued(host, { signal: stop.signal })).catch(() => {});
  await using server = await connect(host);
  while ((await EvaluationStreams.list(server)).length === 0);
  const error = await assertRejects(() => Array.fromAsync(queued(host)), DataError);
  assertStringIncludes(error.message, "one process alone must evaluate the same");
  stop.abort();
  await first;
});

queueTest(
  "QueueServer.open() opens with a password and shows none",
  async ({ host }) => {
    const open = async (credentials?: QueueCredentials) => {
      const address = { host, isEncrypted: false, ...(credentials && { credentials }) };
      await using server = await QueueServer.open(address, { connectMs: 2_000 });
      return server.host;
    };
    assertEquals(await open({ user: "u", password: "right" }), host);
    for (const credentials of [undefined, { user: "u", password: "wrong" }, { token: "wrong" }]) {
      const error = await assertRejects(() => open(credentials), DataError);
      assertStringIncludes(error.message, "the server must accept the credentials");
      assertEquals(error.message.includes("wrong"), false);
    }
  },
  "--user",
  "u",
  "--pass",
  "right",
);

Deno.test("parseQueueAddress() reads hosts, ports and credentials, and shows none of the last", () => {
  const host = "h:4222";
  assertEquals(parseQueueAddress("nats://h"), { host, isEncrypted: false });
  assertEquals(parseQueueAddress("tls://h:1/"), { host: "h:1", isEncrypted: true });
  assertEquals(parseQueueAddress("nats://u%40x:p%2F@h").credentials, {
    user: "u@x",
    password: "p/",
  });
  assertEquals(parseQueueAddress("nats://secret@h").credentials, { token: "secret" });
  for (
    const text of ["h", "http://u:secret@h", "nats://", "nats://u:secret@h/x", "nats://%:secret@h"]
  ) {
    let message = "";
    try {
      parseQueueAddress(text);
    } catch (error) {
      assert(error instanceof RequirementError);
      ({ message } = error);
    }
    assertStringIncludes(message, "nats://HOST[:PORT]");
    assertEquals(message.includes("secret"), false);
  }
});
