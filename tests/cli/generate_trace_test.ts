import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { embeddedModel } from "../support/embedded_model.ts";
import { testBackends } from "../support/gpu.ts";
import { run, withFolder } from "./generate_run.ts";

interface Trace {
  readonly step: number;
  readonly layer: number;
  readonly kvHead: number;
  readonly queryHead?: number;
  readonly critical: number[];
  readonly recent: number[];
  readonly marginal: number[];
  readonly after?: number[];
}

const isAscending = (positions: readonly number[]) =>
  positions.every((position, index) => index === 0 || position > positions[index - 1]!);

Deno.test("generate --json prints tokens, text, statistics and the steps to be traced", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "4", "--ignore-end", "--json"];
    const { code, out } = await run([...words, "--trace", "1,4"]);
    assertEquals(code, 0);
    const { tokens, text, stats, trace } = JSON.parse(out);
    assertEquals(tokens.length, 4);
    const { tokenizer, config } = await embeddedModel("large", testBackends[0]!);
    assertStrictEquals(text, tokenizer!.decode(tokens, { skipSpecialTokens: true }));
    assertEquals(stats.promptTokens, [120]);
    assertEquals(stats.newTokens, [4], "the traced step after the last token has none");
    assertEquals(stats.policy.name, "smallkv");
    assertEquals(stats.budget, { ratio: 0.2 });
    const { layers, kvHeads } = config;
    const places = trace.map((entry: Trace) => [entry.step, entry.layer, entry.kvHead]);
    const expected = [1, 4].flatMap((step) =>
      Array.from({ length: layers * kvHeads }, (_, unit) => [
        step,
        Math.floor(unit / kvHeads),
        unit % kvHeads,
      ])
    );
    assertEquals(places, expected);
    for (const { step, critical, recent, marginal } of trace as Trace[]) {
      // n = 121, H = 48 and n = 124, H = 49: c = 12, r = 6, m = 12 or 13
      assertEquals([critical.length, recent.length, marginal.length], [
        12,
        6,
        step === 1 ? 12 : 13,
      ]);
      const newest = 120 + step - 1;
      assertEquals(recent, Array.from({ length: 6 }, (_, age) => newest - 5 + age));
      assert(isAscending(critical) && isAscending(marginal));
      assertEquals(new Set([...critical, ...recent, ...marginal]).size, 18 + marginal.length);
    }
  }));

Deno.test("generate --trace tells what remains where a policy drops tokens after a step", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "2", "--ignore-end", "--json"];
    const { out } = await run([...words, "--policy", "h2o", "--trace", "1"]);
    for (const { critical, recent, after } of JSON.parse(out).trace as Trace[]) {
      // floor(0.2 * 120) = 24 were left by the prompt; attention also sees the newest one
      assertEquals(critical.length + recent.length, 25);
      assertEquals(after!.length, 24);
      assert(recent.includes(120));
    }
  }));

Deno.test("generate --trace names query heads where each selects alone, and repeats a layer's selection", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "2", "--ignore-end", "--json"];
    const { config } = await embeddedModel("large", testBackends[0]!);
    const layer = await run([...words, "--trace", "1", "--granularity", "layer"]);
    const trace = JSON.parse(layer.out).trace as Trace[];
    assertEquals(trace.length, config.layers * config.kvHeads);
    assertEquals(trace[0]!.critical, trace[config.kvHeads - 1]!.critical);
    const heads = await run([...words, "--trace", "1", "--granularity", "query_head"]);
    assertEquals(JSON.parse(heads.out).trace.length, config.layers * config.queryHeads);
  }));
