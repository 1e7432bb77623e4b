/**
 * `generate --turns -`: a conversation line by line.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import type { CommandInput, CommandIo } from "../../cli/command.ts";
import { readLines } from "../../cli/process_io.ts";
import { untilAborted } from "../../core/aborted.ts";
import { run } from "./generate_run.ts";

const CLI = new URL("../../cli.ts", import.meta.url).pathname;
const WORDS = ["--policy", "h2o", "--max-new", "3", "--ignore-end", "--turns", "-"];
const TURNS = [" The moon was full. Uma is in Holt.", "", " Where is Uma?"];

function input(more: Partial<CommandInput> = {}): CommandInput {
  const lines = [...TURNS];
  return {
    isTerminal: false,
    nextLine: () => Promise.resolve(lines.shift()),
    interruptible: (go) => go(new AbortController().signal),
    ...more,
  };
}

async function typed(words: readonly string[], io: Partial<CommandIo> = {}) {
  return await run([...WORDS, ...words], undefined, { input: input(), ...io });
}

Deno.test("generate --turns - prints what the same turns of a file print", async () => {
  const { out, code } = await typed([]);
  assertEquals(code, 0);
  const given = [...WORDS.slice(0, -1), TURNS.slice(1).join("\n"), "--prompt", TURNS[0]!];
  assertStrictEquals(out, (await run(given)).out);
  assertStrictEquals(
    out,
    (await typed(["--prompt", TURNS[0]!], {
      input: input({ nextLine: nextOf([TURNS[2]!]) }),
    })).out,
  );
  assertEquals((await typed(["--stats"])).out.match(/time to first token/g)?.length, 2);
});

function nextOf(lines: string[]): CommandInput["nextLine"] {
  return () => Promise.resolve(lines.shift());
}

Deno.test("generate --turns - --json prints an object per turn before the next one is read", async () => {
  let out = "";
  const lines = [...TURNS];
  const linesBefore: number[] = [];
  const nextLine = () => {
    linesBefore.push(out.split("\n").length - 1);
    return Promise.resolve(lines.shift());
  };
  const io = { input: input({ nextLine }), out: (text: string) => void (out += text) };
  assertEquals((await typed(["--json"], io)).code, 0);
  assertEquals(linesBefore, [0, 1, 1, 2]);
  const answers = out.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(answers.map(({ turn }) => turn), [TURNS[0], TURNS[2]]);
  for (const { policy, budget, tokens, text, stats } of answers) {
    assertEquals([policy, budget], ["h2o", { ratio: 0.2 }]);
    assertEquals(tokens.length, 3);
    assertEquals(typeof text, "string");
    assertEquals(stats.newTokens, [3]);
  }
});

Deno.test("generate --turns - shows a prompt where lines are typed", async () => {
  const { out, error } = await typed([], { input: input({ isTerminal: true }) });
  // The second one follows the line that says that nothing was compressed.
  assertEquals(error.match(/^> /gm)?.length, 2, "the next ones follow without a line end");
  assertEquals(error.match(/> /g)?.length, 4);
  assertEquals(out.includes(">"), false, "what is typed is on the screen already");
  assertEquals((await typed([])).error.includes("> "), false);
});

Deno.test("generate --turns - continues after an answer was ended, and stops at the command's signal", async () => {
  const command = new AbortController();
  let count = 0;
  const interruptible: CommandInput["interruptible"] = async (go) => {
    const own = new AbortController();
    if (++count === 1) setTimeout(() => own.abort(new Error("enough")), 300);
    return await go(own.signal);
  };
  const words = ["--policy", "h2o", "--max-new", "400", "--ignore-end", "--turns", "-", "--json"];
  const nextLine = () => {
    if (count === 1) command.abort(new Error("stop"));
    return count === 0
      ? Promise.resolve(TURNS[0])
      : untilAborted(new Promise<undefined>(() => {}), command.signal);
  };
  const stopped = await run(words, command.signal, { input: input({ nextLine, interruptible }) });
  assertEquals(stopped.code, 130);
  const first = JSON.parse(stopped.out);
  assert(first.tokens.length < 400, `${first.tokens.length}`);
  assertEquals(first.stats.isAborted, true);
});

Deno.test("generate --turn-block runs turns in blocks, and says what does not go with it", async () => {
  const { out, code } = await typed(["--json", "--turn-block", "4"]);
  assertEquals(code, 0);
  assertEquals(out.trimEnd().split("\n").length, 2);
  const cases: [string[], RegExp][] = [
    [["--turn-block", "4"], /--turn-block must come with --turns: current value is 4 alone/],
    [["--turns", "-", "--turn-block", "0"], /--turn-block must be an integer from 1 to 128/],
    [
      ["--turns", "-", "--turn-block", "2"],
      /--turn-block: the policy must drop for good, .* smallkv/,
    ],
    [
      ["--turns", "-", "--turn-block", "2", "--policy", "h2o", "--store", "tiered"],
      /--turn-block: the --store must be resident, .* current value is tiered/,
    ],
  ];
  for (const [words, message] of cases) {
    const refused = await run(words);
    assertMatch(refused.error, message);
    assertEquals(refused.code, 2);
  }
});

Deno.test("generate --turns - needs a standard input", async () => {
  const { code, error } = await run(WORDS);
  assertMatch(error, /--turns - must have a standard input: current value is none/);
  assertEquals(code, 2);
});

Deno.test("readLines() passes lines on as they end, whatever the pieces", async () => {
  const bytes = new TextEncoder().encode("first\r\nsecönd\n\nlast");
  for (const size of [1, 2, 7, 100]) {
    const pieces = Array.from(
      { length: Math.ceil(bytes.length / size) },
      (_, piece) => bytes.slice(piece * size, (piece + 1) * size),
    );
    const lines = await Array.fromAsync(readLines(ReadableStream.from(pieces)));
    assertEquals(lines, ["first", "secönd", "", "last"]);
  }
  assertEquals(await Array.fromAsync(readLines(ReadableStream.from([]))), []);
});

/** Text of a pipe, waited for piece by piece. */
function watch(pipe: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const reader = pipe.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return async (pattern: RegExp) => {
    while (!pattern.test(text)) {
      const { value, done } = await reader.read();
      assertEquals(done, false, text);
      text += value;
    }
    const end = text.search(pattern) + pattern.exec(text)![0].length;
    const before = text.slice(0, end);
    text = text.slice(end);
    return before;
  };
}

Deno.test("generate --turns - answers a pipe turn by turn; Ctrl-C ends an answer, and again the conversation", async () => {
  const words = ["generate", "--device", "reference", "--max-new", "450", "--ignore-end"];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", CLI, ...words, "--policy", "h2o", "--turns", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const say = (turn: string) => writer.write(new TextEncoder().encode(`${turn}\n`));
  const [out, messages] = [watch(child.stdout), watch(child.stderr)];
  const interrupt = async (answer: RegExp) => {
    child.kill("SIGINT");
    await messages(answer);
  };
  await say(TURNS[0]!);
  await out(/\w/);
  await interrupt(/Ending this answer/);
  await say(TURNS[2]!);
  const first = await out(/\n> {2}Where is Uma\?\n/);
  assert(first.length < 600, "the answer was cut short");
  await out(/\w/);
  await interrupt(/Ending this answer/);
  await interrupt(/Stopped\./);
  assertEquals((await child.status).code, 130);
  await writer.abort().catch(() => {});
});

Deno.test("generate --turns - ends with its input", async () => {
  const words = ["generate", "--device", "reference", "--max-new", "3", "--policy", "full"];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", CLI, ...words, "--turns", "-", "--json"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  const out = watch(child.stdout);
  for (const turn of [TURNS[0]!, TURNS[2]!]) {
    await writer.write(new TextEncoder().encode(`${turn}\n`));
    assertStrictEquals(JSON.parse(await out(/.*\n/)).turn, turn);
  }
  await writer.close();
  assertEquals((await child.status).code, 0);
  await assertRejects(() => out(/./));
});
