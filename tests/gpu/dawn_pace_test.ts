import { assert } from "@std/assert";
import { pacedImmediate } from "../../gpu/dawn_pace.ts";

/** A thread whose clock is moved by polls and pauses. */
function machine() {
  const queue: (() => void)[] = [];
  let now = 0;
  let blocked = 0;
  const immediate = pacedImmediate({
    setImmediate: (call) => queue.push(call),
    setTimeout: (call, pause) =>
      queue.push(() => {
        now += pause;
        call();
      }),
    sleep(pause) {
      now += pause;
      blocked = Math.max(blocked, pause);
    },
    now: () => now,
  });
  return {
    /** How often Dawn polls for something that ends after a time, how late it notices, and the longest block so far. */
    wait(ms: number): { polls: number; late: number; blocked: number } {
      const end = now + ms;
      let polls = 0;
      const poll = () => {
        polls += 1;
        now += 0.01;
        if (now < end) immediate(poll);
      };
      immediate(poll);
      while (queue.length > 0) queue.shift()!();
      return { polls, late: now - end, blocked };
    },
  };
}

Deno.test("pacedImmediate() polls rarely, and adds an eighth of a wait at most", () => {
  for (const ms of [0.1, 1, 5, 20, 60]) {
    const { polls, late } = machine().wait(ms);
    assert(late <= ms / 8 + 0.02, `${ms} ms: ${late} ms late`);
    assert(polls <= 10 + 20 * Math.log2(1 + ms), `${ms} ms: ${polls} polls`);
  }
  const { polls, late } = machine().wait(60_000);
  assert(polls < 8000 && late <= 8.02, `${polls} polls, ${late} ms late`);
});

Deno.test("pacedImmediate() blocks the thread for less than a millisecond", () => {
  const { blocked } = machine().wait(5000);
  assert(blocked > 0 && blocked < 1, `${blocked}`);
});

Deno.test("pacedImmediate() begins each wait again", () => {
  const one = machine();
  one.wait(5000);
  const { late } = one.wait(0.1);
  assert(late < 0.03, `${late}`);
});
