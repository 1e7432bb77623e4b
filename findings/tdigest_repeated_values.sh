#!/usr/bin/env bash
# tdigest, and with it the summaries of prom-client: of values that repeat, the median can be one that nothing comes near.
#
# Guess of a good engineer: a t-digest is approximate in rank, best at the ends, and exact where it holds few distinct values,
# so of 99 requests that took 1 ms and one of 1001 ms, the quantiles below 0.99 are 1 ms.
# Seen with tdigest 0.1.3 and prom-client 15.1.3, which give the same, quantiles 0.25, 0.5, 0.75, 0.9 and 0.95:
#                                        sorted values          tdigest
#   99 of 1 and one of 1001              1 1 1 1 1              1 11 511 811 911
#   9900 of 1 and 100 of 1001            1 1 1 1 1              1 11 511 811 911
#   0, 1, 2, 3 and 4, 2000 of each       1 2 3 4 4              0.8 2 3.3 4 4
#   10000 distinct numbers               2499 ... 9499          within 0.01 % in rank
# Equal values go to one centroid however many there are, "a departure from the paper" in the source, and between the middles of
# two centroids all is interpolated. Times in whole milliseconds, sizes and retries are such values. `new TDigest(false)` is
# exact; prom-client offers no such choice. This project sorts its measurements (core/stats.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund tdigest@0.1.3 prom-client@15.1.3
cat > run.mjs <<'JS'
import { Registry, Summary } from "prom-client";
import { TDigest } from "tdigest";

const QUANTILES = [0.25, 0.5, 0.75, 0.9, 0.95];
for (const [name, length, valueAt] of [
  ["99 of 1, one of 1001", 100, (i) => i === 0 ? 1001 : 1],
  ["the same, 100 times", 10000, (i) => i % 100 === 0 ? 1001 : 1],
  ["0 to 4, evenly", 10000, (i) => i % 5],
  ["10000 distinct", 10000, (i) => i * 7 % 10000],
]) {
  const values = Array.from({ length }, (_, i) => valueAt(i));
  const digest = new TDigest();
  digest.push(values);
  const summary = new Summary({ name: "seconds", help: "seconds", percentiles: QUANTILES, registers: [new Registry()] });
  for (const value of values) summary.observe(value);
  const sorted = values.toSorted((a, b) => a - b);
  console.log(name);
  console.log("  sorted", ...QUANTILES.map((q) => sorted[Math.ceil(q * length) - 1]));
  console.log("  tdigest", ...digest.percentile(QUANTILES).map((value) => Math.round(10 * value) / 10));
  if (name.endsWith("distinct")) break; // prom-client draws at random when it compresses
  const { values: shown } = await summary.get();
  console.log("  prom-client", ...shown.slice(0, QUANTILES.length).map(({ value }) => Math.round(10 * value) / 10));
}
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
99 of 1, one of 1001
  sorted 1 1 1 1 1
  tdigest 1 11 511 811 911
  prom-client 1 11 511 811 911
the same, 100 times
  sorted 1 1 1 1 1
  tdigest 1 11 511 811 911
  prom-client 1 11 511 811 911
0 to 4, evenly
  sorted 1 2 3 4 4
  tdigest 0.8 2 3.3 4 4
  prom-client 0.8 2 3.3 4 4
10000 distinct
  sorted 2499 4999 7499 8999 9499
  tdigest 2499.5 4999.5 7499.5 8999.5 9499.5
TXT
echo "as described"
