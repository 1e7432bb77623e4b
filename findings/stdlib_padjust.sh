#!/usr/bin/env bash
# @stdlib/stats-padjust: Hommel's smallest p value is often too small, and Bonferroni's are written over the argument.
#
# Guess of a good engineer: each method gives what R's p.adjust gives; Hommel's is the closed test with Simes' p values; and the
# p values that are passed stay as they are, so that methods can be compared.
# Seen with @stdlib/stats-padjust 0.2.1:
#   hommel of 0.03 0.2                      0.03 0.2, where the closed test gives 0.06 0.2: nothing is corrected
#   hommel of 0.01 0.02 0.03 0.04 0.001     0.004 for the last, where it gives 0.005; the others are right
#   holm of the same five                   0.04 0.06 0.06 0.06 0.005, which is right
#   holm of them after bonferroni of them   0.2 0.3 0.3 0.3 0.025: they are corrected twice
# The smallest p, by which a claim stands or falls, is (n - 1) / n of its value in all pairs, and in half of the arrays of five
# uniform numbers. This project corrects by Holm's method with code of its own (analysis/paired_tests.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @stdlib/stats-padjust@0.2.1
cat > run.mjs <<'JS'
import padjust from "@stdlib/stats-padjust";

/** Simes' p value of some hypotheses together. */
function simes(values) {
  return Math.min(...values.toSorted((a, b) => a - b).map((p, place) => values.length * p / (place + 1)));
}

/** For each hypothesis the largest p value of all sets that it is in. */
function closedTest(values) {
  const sets = Array.from({ length: 2 ** values.length }, (_, bits) => bits);
  return values.map((_, i) =>
    Math.max(...sets.filter((bits) => bits >> i & 1).map((bits) => simes(values.filter((_, j) => bits >> j & 1))))
  );
}

const write = (name, values) => console.log(name, ...values.map((p) => Number(p.toPrecision(3))));
const five = [0.01, 0.02, 0.03, 0.04, 0.001];
for (const values of [[0.03, 0.2], five]) {
  write("hommel", padjust([...values], "hommel"));
  write("closed", closedTest(values));
}
write("holm", padjust(five, "holm"));
padjust(five, "bonferroni");
write("after bonferroni", padjust(five, "holm"));
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
hommel 0.03 0.2
closed 0.06 0.2
hommel 0.04 0.04 0.04 0.04 0.004
closed 0.04 0.04 0.04 0.04 0.005
holm 0.04 0.06 0.06 0.06 0.005
after bonferroni 0.2 0.3 0.3 0.3 0.025
TXT
echo "as described"
