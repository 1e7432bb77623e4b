#!/usr/bin/env bash
# bloom-filters: HyperLogLog counts half, more accuracy gives Count-Min fewer rows, and a Cuckoo filter denies what it took.
#
# Guess of a good engineer: HyperLogLog errs by about the 3 % that its `accuracy()` says; `CountMinSketch.create(errorRate,
# accuracy)` has ln(1 / (1 - accuracy)) rows; and a filter that returned true from `add` has the element, as all of them may
# find too much but nothing too little.
# Seen with bloom-filters 3.0.4:
#   HyperLogLog, 1024 registers, 100 elements         58, by an `accuracy()` of 0.0325
#                                1000 elements        514
#                                2000 elements        2734
#                                10000 elements       10253, which is within it
#   rows of CountMinSketch.create(0.001, accuracy)    1 for 0.5 and for 0.999, 7 for 0.001
#   counts above the error rate it was made for       4.6 % of 2000 elements for 0.999, which allows 0.1 %; none for 0.001
#   CuckooFilter.create(1000, 0.001)                  takes 1000 elements, and says that it has not 325 of them
# Half of the registers that were written to still hold 0, since leading zeros are counted from 0 and not from 1. The sketch
# takes the accuracy for the probability of a failure, and so does TopK. The two buckets of an element are no longer each
# other's once they are numbered modulo 262, so an element that is moved goes to a third one. This project counts with sets.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund bloom-filters@3.0.4
cat > run.cjs <<'JS'
const { CountMinSketch, CuckooFilter, HyperLogLog } = require("bloom-filters");

const names = (count) => Array.from({ length: count }, (_, i) => `element ${i}`);
for (const count of [100, 1000, 2000, 10000]) {
  const sketch = new HyperLogLog(1024);
  for (const name of names(count)) sketch.update(name);
  console.log("distinct", count, sketch.count(true), sketch.accuracy());
}
for (const accuracy of [0.5, 0.999, 0.001]) {
  const sketch = CountMinSketch.create(0.001, accuracy);
  for (const name of names(2000)) sketch.update(name, 50);
  const above = names(2000).filter((name) => sketch.count(name) - 50 > 0.001 * 2000 * 50);
  console.log("rows", accuracy, sketch.rows, "above", above.length);
}
const filter = CuckooFilter.create(1000, 0.001);
filter.seed = 1;
const taken = names(1000).filter((name) => filter.add(name));
console.log("taken", taken.length, "denied", taken.filter((name) => !filter.has(name)).length);
JS
node run.cjs | tee seen.txt
diff seen.txt - <<'TXT'
distinct 100 58 0.0325
distinct 1000 514 0.0325
distinct 2000 2734 0.0325
distinct 10000 10253 0.0325
rows 0.5 1 above 92
rows 0.999 1 above 92
rows 0.001 7 above 0
taken 1000 denied 325
TXT
echo "as described"
