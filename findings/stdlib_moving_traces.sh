#!/usr/bin/env bash
# @stdlib/stats-incr-m*: moving statistics never get over a large number, long after it has left the window.
#
# Guess of a good engineer: a moving variance, error or correlation is one of the last W values and of nothing else, up to
# rounding. The documents warn of NaN alone, which lasts for "at least" W - 1 values.
# Seen with version 0.2.3 of each, windows of 4 numbers from 1 to 2.2, 24 values after a single large one:
#               of the window    after NaN    after 1e6    after 1e9    after Infinity
#   mvariance   0.08333          0.08333      0.08336      -42.71250    NaN
#   mstdev      0.28868          0.28868      0.28872      NaN          NaN
#   mmse        0.13750          0.13750      0.13752      0.02500      NaN
#   mpcorr      0.43806          0.43806      0.43799      NaN          NaN
#   mmean       1.55000          1.55000      1.55000      1.55000      NaN
# Each update adds to what the one before has left, so what a square of 1e18 cost is never found again, and Infinity minus
# Infinity is NaN for good; only NaN itself makes it add up the window anew. One outlier ends a monitor that runs for days.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @stdlib/stats-incr-{mvariance,mstdev,mmse,mpcorr,mmean}@0.2.3
cat > run.mjs <<'JS'
import mmean from "@stdlib/stats-incr-mmean";
import mmse from "@stdlib/stats-incr-mmse";
import mpcorr from "@stdlib/stats-incr-mpcorr";
import mstdev from "@stdlib/stats-incr-mstdev";
import mvariance from "@stdlib/stats-incr-mvariance";

const [length, size, place] = [30, 4, 5];
const xs = Array.from({ length }, (_, i) => 1 + i * 7 % 11 / 10);
const ys = Array.from({ length }, (_, i) => 1 + i * 5 % 13 / 10);
const [x, y] = [xs.slice(-size), ys.slice(-size)];
const mean = (values) => values.reduce((sum, value) => sum + value) / values.length;
const covariance = (a, b) => mean(a.map((value, i) => (value - mean(a)) * (b[i] - mean(b)))) * size / (size - 1);
const variance = covariance(x, x);
for (const [name, make, exact] of [
  ["mvariance", mvariance, variance],
  ["mstdev", mstdev, Math.sqrt(variance)],
  ["mmse", mmse, mean(x.map((value, i) => (value - y[i]) ** 2))],
  ["mpcorr", mpcorr, covariance(x, y) / Math.sqrt(variance * covariance(y, y))],
  ["mmean", mmean, mean(x)],
]) {
  const after = [NaN, 1e6, 1e9, Infinity].map((large) => {
    const add = make(size);
    let last;
    for (const [i, value] of xs.entries()) last = add(i === place ? large : value, ys[i]);
    return last;
  });
  console.log(name, ...[exact, ...after].map((value) => value.toFixed(5)));
}
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
mvariance 0.08333 0.08333 0.08336 -42.71250 NaN
mstdev 0.28868 0.28868 0.28872 NaN NaN
mmse 0.13750 0.13750 0.13752 0.02500 NaN
mpcorr 0.43806 0.43806 0.43799 NaN NaN
mmean 1.55000 1.55000 1.55000 1.55000 NaN
TXT
echo "as described"
