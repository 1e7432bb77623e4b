#!/usr/bin/env bash
# @stdlib/stats-fligner-test: with an array of groups, ranks go to the wrong group or to none, and it changes what it tests.
#
# Guess of a good engineer: `flignerTest(values, { groups })` gives what `flignerTest(a, b, c)` gives, whatever the groups are
# called and in whatever order values stand, as Bartlett's, Levene's and the Kruskal-Wallis test of the same library do; and
# arrays that are tested stay as they are.
# Seen with @stdlib/stats-fligner-test 0.2.3 and its own example, statistic and p value (scipy 1.17.1: 5.209 and 0.074):
#   three arrays                                    5.209 0.074
#   groups a, b and c, one after the other          5.209 0.074
#   the same values and groups in another order     0.451 0.798
#   groups 0, 1 and 2, one after the other          -29.759 1: no statistic of this test is negative
#   mean of the first array, before and after       2.84 and -0.06: its median is taken off the array itself
# Ranks stand in the order of groups and are summed by the order of values, and the number of a group is looked for among
# texts. This project tests with code of its own (analysis/paired_tests.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @stdlib/stats-fligner-test@0.2.3
cat > run.mjs <<'JS'
import flignerTest from "@stdlib/stats-fligner-test";

const write = (name, { statistic, pValue }) => console.log(name, statistic.toFixed(3), pValue.toFixed(3));
const mean = (values) => (values.reduce((sum, value) => sum + value) / values.length).toFixed(2);
const samples = {
  a: [2.9, 3.0, 2.5, 2.6, 3.2],
  b: [3.8, 2.7, 4.0, 2.4],
  c: [2.8, 3.4, 3.7, 2.2, 2.0],
};
const pairs = Object.entries(samples).flatMap(([group, values]) => values.map((value) => [group, value]));
const interleaved = pairs.map((_, i) => pairs[i * 5 % pairs.length]);
const test = (list, nameOf) => flignerTest(list.map(([, value]) => value), { groups: list.map(([group]) => nameOf(group)) });
write("contiguous", test(pairs, (group) => group));
write("interleaved", test(interleaved, (group) => group));
write("numbers", test(pairs, (group) => "abc".indexOf(group)));
console.log("mean", mean(samples.a));
write("arrays", flignerTest(samples.a, samples.b, samples.c));
console.log("mean", mean(samples.a));
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
contiguous 5.209 0.074
interleaved 0.451 0.798
numbers -29.759 1.000
mean 2.84
arrays 5.209 0.074
mean -0.06
TXT
echo "as described"
