#!/usr/bin/env bash
# Vega: bins with an anchor are only ever shifted up, so the smallest values of the data fall out of the histogram.
#
# Guess of a good engineer: `anchor`, "shifting the bin boundaries if necessary to ensure that a boundary aligns with the anchor
# value", moves boundaries and nothing else: each value within `extent` has a bin.
# Seen with vega 6.4.0 of 0, 0.2, 0.6, 1, 2, 2.9 and 3, extent from 0 to 3, step 1:
#   anchor    bins that hold them                 in no bin
#   none      [0, 1) [1, 2) [2, 3]                -
#   0.25      [0.25, 1.25) to [2.25, 3.25)        0 and 0.2
#   0.5       [0.5, 1.5) to [2.5, 3.5)            0 and 0.2
#   0.75      [0.75, 1.75) to [2.75, 3.75)        0, 0.2 and 0.6
#   -0.5      as 0.5
# Their bin is [-Infinity, -Infinity], which is for what is outside of the extent. All bins move up by up to a step and none is
# added below. A wider extent gives them one: [-1, 3] has [-0.5, 0.5).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund vega@6.4.0
cat > run.mjs <<'JS'
import { parse, View } from "vega";

const values = [0, 0.2, 0.6, 1, 2, 2.9, 3].map((x) => ({ x }));
async function bin(anchor, extent = [0, 3]) {
  const transform = [{ type: "bin", field: "x", extent, step: 1, ...(anchor !== undefined && { anchor }) }];
  const view = new View(parse({ data: [{ name: "table", values, transform }] }), { renderer: "none" });
  await view.runAsync();
  const bins = new Map();
  for (const { x, bin0, bin1 } of view.data("table")) {
    const name = `[${bin0},${bin1}]`;
    bins.set(name, [...(bins.get(name) ?? []), x]);
  }
  console.log(anchor ?? "none", "of", ...extent, ...[...bins].map(([name, xs]) => `${name}:${xs}`));
}
for (const anchor of [undefined, 0.25, 0.5, 0.75, -0.5]) await bin(anchor);
await bin(0.5, [-1, 3]);
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
none of 0 3 [0,1]:0,0.2,0.6 [1,2]:1 [2,3]:2,2.9,3
0.25 of 0 3 [-Infinity,-Infinity]:0,0.2 [0.25,1.25]:0.6,1 [1.25,2.25]:2 [2.25,3.25]:2.9,3
0.5 of 0 3 [-Infinity,-Infinity]:0,0.2 [0.5,1.5]:0.6,1 [1.5,2.5]:2 [2.5,3.5]:2.9,3
0.75 of 0 3 [-Infinity,-Infinity]:0,0.2,0.6 [0.75,1.75]:1 [1.75,2.75]:2 [2.75,3.75]:2.9,3
-0.5 of 0 3 [-Infinity,-Infinity]:0,0.2 [0.5,1.5]:0.6,1 [1.5,2.5]:2 [2.5,3.5]:2.9,3
0.5 of -1 3 [-0.5,0.5]:0,0.2 [0.5,1.5]:0.6,1 [1.5,2.5]:2 [2.5,3.5]:2.9,3
TXT
echo "as described"
