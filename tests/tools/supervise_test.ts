import { assertEquals, assertMatch } from "@std/assert";
import { supervise } from "../../tools/supervise.ts";

const preload = new URL("../../tools/supervised.ts", import.meta.url).pathname;

/** Supervises a script; the script finds a file at `Deno.args[0]` that survives restarts. */
async function run(
  source: string,
  restarts = 2,
): Promise<{ code: number; lines: string[]; notes: string }> {
  const folder = await Deno.makeTempDir();
  try {
    const script = `${folder}/script.ts`;
    const notes = `${folder}/notes`;
    await Deno.writeTextFile(notes, "");
    await Deno.writeTextFile(
      script,
      `const note = (text: string) => Deno.writeTextFileSync(Deno.args[0]!, text, { append: true });
       const abort = (signal: Deno.Signal) => {
         Deno.kill(Deno.pid, signal);
         Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
       };
       ${source}`,
    );
    const lines: string[] = [];
    const args = ["run", "-A", "--no-config", "--preload", preload, script, notes];
    const say = (line: string) => void lines.push(line);
    const code = await supervise({ args, restarts, folder, say, env: { NO_COLOR: "1" } });
    return { code, lines, notes: await Deno.readTextFile(notes) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("supervise() passes the exit code on and does not restart an error of ours", async () => {
  assertEquals(await run('note("x"); Deno.exit(3);'), { code: 3, lines: [], notes: "x" });
  assertEquals((await run('note("x"); throw new Error("ours");')).notes, "x");
  assertEquals((await run('note("x"); await Promise.reject(new Error("ours"));')).code, 1);
  assertEquals((await run('note("x"); const broken: number = ;')).code, 1);
  const missing = await run('import { absent } from "data:text/javascript,"; absent;');
  assertEquals({ code: missing.code, lines: missing.lines }, { code: 1, lines: [] });
});

Deno.test("supervise() restarts after a driver abort, only as often as allowed", async () => {
  const once = await run(
    'note("x"); if (Deno.readTextFileSync(Deno.args[0]!) === "x") abort("SIGABRT"); Deno.exit(0);',
  );
  assertEquals({ code: once.code, notes: once.notes }, { code: 0, notes: "xx" });
  assertMatch(once.lines.join("\n"), /SIGABRT\); continuing, restart 1 of 2$/);
  const always = await run('note("x"); abort("SIGILL");');
  assertEquals({ code: always.code, notes: always.notes }, { code: 132, notes: "xxx" });
});

Deno.test("supervise() restarts after a driver that ended the process under Dawn, and only after it was loaded", async () => {
  const event = 'dispatchEvent(new Event("smallkv-driver"));';
  // What a library does that calls exit() itself: no event of JavaScript is left.
  const vanish = `const { exit } = Deno.dlopen(
    Deno.build.os === "darwin" ? "libSystem.B.dylib" : "libc.so.6",
    { exit: { parameters: ["i32"], result: "void" } },
  ).symbols;
  exit(9);`;
  const used = await run(`note("x"); ${event} ${vanish}`, 1);
  assertEquals({ code: used.code, notes: used.notes }, { code: 9, notes: "xx" });
  const unused = await run(`note("x"); ${vanish}`, 1);
  assertEquals({ code: unused.code, notes: unused.notes }, { code: 9, notes: "x" });
});

Deno.test("supervise() restarts a runtime that gave up without a signal while the driver was used", async () => {
  const silent = await run(
    `note("x");
     const record = Deno.env.get("SMALLKV_EXIT_FILE")!;
     addEventListener("unload", () => Deno.writeTextFileSync(record, "driver in use"));
     Deno.exit(1);`,
    1,
  );
  assertEquals({ code: silent.code, notes: silent.notes }, { code: 1, notes: "xx" });
});

Deno.test("supervise() restarts after a lost device, only as often as allowed", async () => {
  const once = await run(
    'note("x"); Deno.exit(Deno.readTextFileSync(Deno.args[0]!) === "x" ? 75 : 0);',
  );
  assertEquals(once, {
    code: 0,
    lines: ["The device was lost; continuing, restart 1 of 2"],
    notes: "xx",
  });
  const always = await run('note("x"); Deno.exit(75);', 1);
  assertEquals({ code: always.code, notes: always.notes }, { code: 75, notes: "xx" });
  assertEquals(always.lines.at(-1), "The device was lost");
});

Deno.test("supervise() passes a signal on and does not restart after it", async () => {
  const ended = await run(
    `Deno.addSignalListener("SIGTERM", () => { note("t"); Deno.exit(7); });
     setInterval(() => {}, 1000);
     note("x");
     Deno.kill(Deno.ppid, "SIGTERM");`,
  );
  assertEquals(ended, { code: 7, lines: [], notes: "xt" });
});

Deno.test("supervise() ends a command within a second that does not end after a signal", async () => {
  for (const [signal, expected] of [["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    const { code, lines, notes } = await run(
      `Deno.addSignalListener("${signal}", () => note("never heard"));
       Deno.kill(Deno.ppid, "${signal}");
       const start = Date.now();
       while (true) if (Date.now() - start > 1000) { note("too late"); break; }`,
    );
    assertEquals({ code, lines, notes }, { code: expected, lines: [], notes: "" }, signal);
  }
});

Deno.test("supervise() does not restart what the user killed", async () => {
  const killed = await run('note("x"); abort("SIGKILL");');
  assertEquals(killed, { code: 137, lines: [], notes: "x" });
});

Deno.test("supervise() trusts a recorded exit code over a crash while the process ends", async () => {
  const late = await run(
    'note("x"); addEventListener("unload", () => abort("SIGILL")); Deno.exit(0);',
  );
  assertEquals(late, { code: 0, lines: [], notes: "x" });
});
