import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { Progress, type ProgressState } from "../../core/progress.ts";
import { fitLine, formatDuration, LINE_MS, terminalView } from "../../core/terminal_view.ts";

/** Progress with a clock that the test moves. */
function fixture(options: { total?: number } = {}) {
  const states: (ProgressState & { at: number })[] = [];
  let time = 0;
  const progress = new Progress("Work", (state) => states.push({ ...state, at: time }), {
    ...options,
    now: () => time,
  });
  return { states, progress, wait: (milliseconds: number) => time += milliseconds };
}

Deno.test("Progress shows at most ten states a second and always the last one", () => {
  const seed = 11;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 250 }), { maxLength: 60 }), (waits) => {
      const { states, progress, wait } = fixture({ total: waits.length });
      for (const milliseconds of waits) {
        wait(milliseconds);
        progress.advance();
      }
      progress.finish();
      progress.advance();
      const last = states.at(-1)!;
      assertEquals(last.done, waits.length);
      assertEquals(last.isFinal, true);
      const shown = states.slice(0, -1).map(({ at }) => at);
      shown.slice(1).forEach((at, index) => assert(at - shown[index]! >= 100));
    }),
    { seed },
  );
});

Deno.test("Progress shows a throttled state later by itself", async () => {
  const states: ProgressState[] = [];
  using progress = new Progress("Work", (state) => states.push(state), {
    total: 2,
    intervalMs: 20,
  });
  progress.advance();
  assertEquals(states.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assertEquals(states.at(-1)!.done, 1);
});

Deno.test("Progress estimates the time left from items that cost time", () => {
  const { progress, wait } = fixture({ total: 10 });
  assertEquals(progress.state.remainingMs, undefined);
  wait(50);
  progress.advance({ items: 4, isFree: true });
  assertEquals(progress.state.remainingMs, undefined);
  wait(1000);
  progress.advance();
  assertEquals(progress.state.remainingMs, 5000);
  wait(600);
  assertEquals(progress.state.remainingMs, 4400);
  progress.extend(2);
  assertEquals(progress.state.remainingMs, 6400);
  progress.exclude();
  assertEquals(progress.state.remainingMs, 7000);
  wait(1000);
  progress.advance();
  assertEquals(progress.state.remainingMs, 6000);
  progress.finish();
});

Deno.test("Progress leaves no timer behind when it is disposed", () => {
  using progress = new Progress("Work", () => {}, { refreshMs: 5 });
  progress.advance();
});

Deno.test("formatDuration() rounds for people", () => {
  const words = [0, 400, 9_960, 59_499, 59_501, 185_000, 3_599_600, 7_800_000].map(formatDuration);
  assertEquals(words, [
    "0.0 s",
    "0.4 s",
    "10 s",
    "59 s",
    "1 min 00 s",
    "3 min 05 s",
    "1 h 00 min",
    "2 h 10 min",
  ]);
});

const STATE: ProgressState = {
  label: "Reproduce",
  stage: "fig_2",
  detail: "3/8",
  done: 0.3,
  total: 1,
  elapsedMs: 2000,
  remainingMs: 4000,
  isFinal: false,
};

Deno.test("Progress tells no time left before it knows enough: a share of the items, or some time", () => {
  let now = 0;
  const progress = new Progress("work", () => {}, { total: 1000, now: () => now });
  now = 20_000; // compiles kernels
  progress.advance();
  assertEquals(progress.state.remainingMs, undefined);
  now = 21_000;
  progress.advance({ items: 20 });
  assertEquals(progress.state.remainingMs, undefined);
  now = 22_000;
  progress.advance({ items: 9 });
  assertEquals(Math.round(progress.state.remainingMs!), 711_333);
  progress.extend(100_000);
  assertEquals(progress.state.remainingMs, undefined);
  now = 31_000;
  progress.advance();
  assertEquals(progress.state.remainingMs, 100_969_000);
});

Deno.test("fitLine() shows bar, share, time left and work, and never exceeds the width", () => {
  assertEquals(
    fitLine(STATE, 120),
    "Reproduce [#######-----------------] 30% 4.0 s left fig_2 3/8",
  );
  for (let width = 1; width < 100; width++) assert(fitLine(STATE, width).length <= width);
});

Deno.test("terminalView() overwrites one line on a screen", () => {
  let text = "";
  const view = terminalView({
    write: (part) => text += part,
    isInteractive: true,
    columns: () => 80,
  });
  view(STATE);
  view({ ...STATE, done: 1, isFinal: true });
  assertEquals(text.split("\n").length, 2);
  assertEquals(text.split("\r").length, 3);
  assertMatch(text, /100% 2\.0 s\n$/);
});

Deno.test("terminalView() writes a line per stage, and every half minute, where lines cannot be overwritten", () => {
  const lines: string[] = [];
  const view = terminalView({
    write: (part) => lines.push(part),
    isInteractive: false,
    columns: () => 80,
  });
  for (const state of [{ ...STATE, stage: "" }, STATE, { ...STATE, detail: "4/8" }]) view(state);
  view({ ...STATE, detail: "5/8", elapsedMs: STATE.elapsedMs + LINE_MS });
  view({ ...STATE, detail: "6/8", elapsedMs: STATE.elapsedMs + LINE_MS + 1000 });
  view({ ...STATE, stage: "fig_8" });
  view({ ...STATE, isFinal: true });
  assertEquals(lines, [
    "Reproduce: fig_2, 30%, 4.0 s left\n",
    "Reproduce: fig_2, 5/8, 30%, 4.0 s left\n",
    "Reproduce: fig_8, 30%, 4.0 s left\n",
    "Reproduce: ended after 2.0 s\n",
  ]);
});
