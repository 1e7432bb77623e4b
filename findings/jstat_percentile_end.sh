#!/usr/bin/env bash
# jStat: `percentile` knows nothing between its two largest values, so it cannot see what the 95th or 99th percentile is for.
#
# Guess of a good engineer: `jStat.percentile(values, k)` interpolates as a spreadsheet's PERCENTILE.INC and NumPy do, whose
# results its tests repeat, from the smallest value to the largest.
# Seen with jStat 1.9.6 of 1, 2, ... 9, 1000, beside `jStat.quantiles(values, [k], 1, 1)`, which is right:
#   k             0.75    0.88    0.89     0.9      0.95      0.99      0.999      1
#   percentile    7.75    8.92    9        9        9         9         9          1000
#   quantiles     7.75    8.92    18.91    108.1    554.05    910.81    991.081    1000
# The last step is left out by an index that is one too small. Of up to 21 values the 95th percentile is the second
# largest, and of up to 101 the 99th. This project takes quantiles from another library (core/stats.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund jstat@1.9.6
cat > run.mjs <<'JS'
import jStat from "jstat";

const values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000];
const ks = [0.75, 0.88, 0.89, 0.9, 0.95, 0.99, 0.999, 1];
console.log(...ks.map((k) => +jStat.percentile(values, k).toPrecision(6)));
console.log(...jStat.quantiles(values, ks, 1, 1).map((value) => +value.toPrecision(6)));
const longest = (k) => {
  let length = 2;
  while (jStat.percentile(Array.from({ length }, (_, i) => i), k) === length - 2) length++;
  return length - 1;
};
console.log("second largest up to", longest(0.95), longest(0.99));
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
7.75 8.92 9 9 9 9 9 1000
7.75 8.92 18.91 108.1 554.05 910.81 991.081 1000
second largest up to 21 101
TXT
echo "as described"
