import { assertEquals } from "@std/assert";
import { writeFile } from "node:fs/promises";
import { run, withFolder } from "./generate_run.ts";

Deno.test("a failing generate says so in one line, and writes no partial output", () =>
  withFolder(async (place) => {
    await writeFile(place("long.json"), JSON.stringify(Array(500).fill(1)));
    const failing: [string[], number][] = [
      [["--json", "--tokens", place("long.json"), "--max-new", "64"], 1],
      [["--json", "--tokens", place("none.json")], 1],
      [["--json", "--compare", "full", "--tokens", place("long.json"), "--max-new", "64"], 1],
      [["--json", "--policy", "best"], 2],
      [["--stats", "--budget", "0"], 2],
    ];
    for (const [words, expected] of failing) {
      const { code, out, error } = await run(words);
      assertEquals([code, out], [expected, ""], words.join(" "));
      const isProgress = (line: string) => /^Generate: /.test(line);
      const lines = error.trimEnd().split("\n").filter((line) => !isProgress(line));
      const hint = expected === 2 ? ["Add --help for the options."] : [];
      assertEquals(lines.slice(1), hint, error);
    }
    const controller = new AbortController();
    controller.abort(new DOMException("Stopped by a signal", "AbortError"));
    const stopped = await run(["--json", "--tokens", place("ids.json")], controller.signal);
    assertEquals([stopped.code, stopped.out], [130, ""]);
  }));
