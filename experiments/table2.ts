/**
 * Table 2: throughputs from the printed times, as the paper counts them and as output tokens.
 *
 * @module
 */

import { claimOf } from "./claims.ts";
import type { Claim, Experiment, ExperimentResult, ResultTable } from "./experiment.ts";
import { exactly, tableOf } from "./result.ts";

/** One printed row with the sizes of its run. */
interface PrintedRow {
  /** Claim of its throughput. */
  readonly id: string;
  readonly method: string;
  readonly batch: number;
  readonly prompt: number;
  readonly decoded: number;
  /** Decode steps that the printed throughput counts: 250 for 256, 500 for 512. */
  readonly counted: number;
  readonly tpotMs: number;
  readonly ttftSeconds: number;
  readonly printed: number;
}

const SHORT = { batch: 64, prompt: 2048, decoded: 256, counted: 250 };
const LONG = { batch: 4, prompt: 16384, decoded: 512, counted: 500 };

/** Method, time per token (ms), time to the first token (s), printed throughput. */
type Printed = readonly [method: string, tpotMs: number, ttftSeconds: number, printed: number];

const TABLE2 = {
  eagerShort: row("C19", SHORT, ["eager", 59.4, 22.15, 62.27]),
  flashShort: row("C20", SHORT, ["flash", 44.6, 1.09, 188.23]),
  h2oShort: row("C21", SHORT, ["H2O", 30.5, 22.55, 76.32]),
  smallKvShort: row("C22", SHORT, ["SmallKV", 36.3, 2.71, 195.5]),
  eagerLong: row("C23", LONG, ["eager", 42.7, 14.28, 474.21]),
  flashLong: row("C24", LONG, ["flash", 31.3, 1.41, 990.39]),
  h2oLong: row("C25", LONG, ["H2O", 20.4, 14.32, 689.07]),
  smallKvLong: row("C26", LONG, ["SmallKV", 24.2, 1.94, 1203.42]),
};

function row(id: string, run: typeof SHORT, printedRow: Printed): PrintedRow {
  const [method, tpotMs, ttftSeconds, printed] = printedRow;
  return { id, ...run, method, tpotMs, ttftSeconds, printed };
}

/** Table 2. */
export const table2: Experiment = {
  name: "table2",
  module: import.meta.url,
  title: "The printed throughputs",
  question: "Do the printed throughputs follow from the printed times, and what do they count?",
  source: "Table 2",
  inputs: [],
  claims: {
    ...Object.fromEntries(Object.entries(TABLE2).map(([key, { id }]) => [key, rowClaim(id)])),
    gainShort: gainClaim(2.56, "batch 64"),
    gainLong: gainClaim(1.75, "batch 4"),
    tpotSmallKvShort: tpotClaim("SmallKV, batch 64"),
    tpotH2oShort: tpotClaim("H2O, batch 64"),
    tpotSmallKvLong: tpotClaim("SmallKV, batch 4"),
    tpotH2oLong: tpotClaim("H2O, batch 4"),
  },
  plan: () => Promise.resolve([]),
  summarise,
};

function rowClaim(id: string): Claim {
  return claimOf(id, {
    kind: "arithmetic",
    tolerance: 0.05,
    note: "Recomputed from the printed times; it counts prompt tokens and ignores the batch.",
  });
}

function gainClaim(paper: number, setting: string): Claim {
  return claimOf("C27", {
    kind: "arithmetic",
    paper,
    tolerance: 0.01,
    statement: `printed throughput of SmallKV over H2O, ${setting}`,
    note:
      "All of it comes from H2O's eager prefill; against flash it is 1.04 (batch 64) and 1.22 (batch 4).",
  });
}

function tpotClaim(setting: string): Claim {
  const statement = `printed time per token over that of flash with the full cache, ${setting}`;
  return claimOf("C28", { kind: "trend", statement, expected: { below: 1 } });
}

/** (P + N_out) / (TTFT + N * TPOT), the formula of the printed column. */
function paperThroughput(row: PrintedRow): number {
  return (row.prompt + row.decoded) / (row.ttftSeconds + row.counted * row.tpotMs / 1000);
}

/** B * N_out / (TTFT + (N_out - 1) * TPOT): new tokens of all sequences by wall time. */
function outputThroughput(row: PrintedRow): number {
  const seconds = row.ttftSeconds + (row.decoded - 1) * row.tpotMs / 1000;
  return row.batch * row.decoded / seconds;
}

/** Decode steps from which H2O, in spite of its eager prefill, gives more tokens per second than SmallKV. */
function overtakingSteps(h2o: PrintedRow, smallKv: PrintedRow): number {
  return (h2o.ttftSeconds - smallKv.ttftSeconds) / ((smallKv.tpotMs - h2o.tpotMs) / 1000);
}

function summarise(): ExperimentResult {
  const { flashShort, h2oShort, smallKvShort, flashLong, h2oLong, smallKvLong } = TABLE2;
  return {
    values: {
      ...Object.fromEntries(
        Object.entries(TABLE2).map(([key, row]) => [key, exactly(paperThroughput(row))]),
      ),
      gainShort: exactly(smallKvShort.printed / h2oShort.printed),
      gainLong: exactly(smallKvLong.printed / h2oLong.printed),
      tpotSmallKvShort: exactly(smallKvShort.tpotMs / flashShort.tpotMs),
      tpotH2oShort: exactly(h2oShort.tpotMs / flashShort.tpotMs),
      tpotSmallKvLong: exactly(smallKvLong.tpotMs / flashLong.tpotMs),
      tpotH2oLong: exactly(h2oLong.tpotMs / flashLong.tpotMs),
    },
    tables: [throughputTable(), comparisonTable()],
    figures: [],
    notes: [
      "The printed column is (prompt + decoded) / (TTFT + N TPOT) with N = 250 for 256 and 500 for " +
      "512 tokens: it counts prompt tokens as output and one sequence of the batch.",
      "The printed TTFT of flash and of SmallKV lie below what the prefill's arithmetic takes at an " +
      "A100's peak (5.7 s at batch 64, 3.4 s at batch 4), so they are not for the whole batch or " +
      "were taken without waiting for the device.",
    ],
  };
}

function throughputTable(): ResultTable {
  const rows = Object.values(TABLE2).map((row) => ({
    "method": row.method,
    "batch": row.batch,
    "prompt": row.prompt,
    "decoded": row.decoded,
    "TPOT (ms)": row.tpotMs,
    "TTFT (s)": row.ttftSeconds,
    "printed": row.printed,
    "recomputed": paperThroughput(row),
    "output tokens/s": outputThroughput(row),
    "over eager": outputThroughput(row) / outputThroughput(eagerOf(row)),
  }));
  const title = "Printed throughput, its formula, and new tokens per second of all sequences";
  return tableOf("table2_throughput", title, rows);
}

function eagerOf(row: PrintedRow): PrintedRow {
  return row.batch === SHORT.batch ? TABLE2.eagerShort : TABLE2.eagerLong;
}

function comparisonTable(): ResultTable {
  const row = (flash: PrintedRow, h2o: PrintedRow, smallKv: PrintedRow) => {
    const over = (other: PrintedRow) => outputThroughput(smallKv) / outputThroughput(other);
    return {
      "batch": smallKv.batch,
      "over H2O": over(h2o),
      "over flash, full cache": over(flash),
      "over H2O with the flash TTFT": over({ ...h2o, ttftSeconds: flash.ttftSeconds }),
      "decode steps from which H2O is ahead": Math.round(overtakingSteps(h2o, smallKv)),
    };
  };
  return tableOf(
    "table2_comparison",
    "SmallKV's output throughput against others, from the printed times",
    [
      row(TABLE2.flashShort, TABLE2.h2oShort, TABLE2.smallKvShort),
      row(TABLE2.flashLong, TABLE2.h2oLong, TABLE2.smallKvLong),
    ],
  );
}
