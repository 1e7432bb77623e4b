import { assertThrows } from "@std/assert";
import { Deadline } from "../../core/deadline.ts";

Deno.test("Deadline throws what it was given once the time is over, and nothing before", () => {
  new Deadline(1000, () => new Error("late")).spend(1e9);
  const late = new Deadline(-1, () => new Error("late"));
  late.spend(1);
  assertThrows(() => late.spend(1e6), Error, "late");
});
