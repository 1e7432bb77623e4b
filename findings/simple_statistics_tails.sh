#!/usr/bin/env bash
# simple-statistics: p values from its distributions are cut off, some at 0.002 and some to 0.
#
# Guess of a good engineer: `cumulativeStdNormalProbability` is accurate to some six digits or more, as the library's
# `errorFunction` is, and `binomialDistribution(n, p)` has n + 1 entries, so that sums over its ends are exact tests.
# Seen with simple-statistics 7.12.1:
#   two-sided p of z = 1.955 and of 1.964      0.05 for both, where they are 0.0506 and 0.0495: z is rounded to two decimals
#   two-sided p of z = 5                       0.002, where it is 5.7e-7: the table ends at 3.09
#   binomialDistribution(40, 0.5)              32 entries of 41: it ends where 0.9999 is reached
#   two-sided p of 32 or more of 40            0 by the upper entries and 1.8e-4 by the lower ones, which is right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund simple-statistics@7.12.1
cat > run.mjs <<'JS'
import { binomialDistribution, cumulativeStdNormalProbability, errorFunction, sum } from "simple-statistics";

for (const z of [1.955, 1.964, 5]) {
  const [table, formula] = [2 - 2 * cumulativeStdNormalProbability(z), 1 - errorFunction(z / Math.SQRT2)];
  console.log(table.toPrecision(2), formula.toPrecision(3));
}
const distribution = binomialDistribution(40, 0.5);
const tails = [distribution.slice(32), distribution.slice(0, 9)].map((tail) => (2 * sum(tail)).toPrecision(2));
console.log(distribution.length, ...tails);
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
0.050 0.0506
0.050 0.0495
0.0020 5.73e-7
32 0.0 0.00018
TXT
echo "as described"
