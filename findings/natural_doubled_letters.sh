#!/usr/bin/env bash
# natural: by its Damerau-Levenshtein distance, a word and the same word with a doubled letter are equal, in one direction.
#
# Guess of a good engineer: `DamerauLevenshteinDistance(a, b)` is the least number of insertions, deletions, substitutions and
# transpositions from a to b, so it is 0 for equal texts alone and the same from b to a.
# Seen with natural 8.1.1:
#   helo to hello, loss to losss, 10 to 100    0 each; 1 in the other direction
#   ba to caaab                                3, which only insertions could be, and none of these keep the order of b and a
#   all pairs of up to 4 letters a, b, c       675 of 14641 too small, 54 of these 0, beside Lowrance and Wagner's method
#   the same with `restricted: true`           right, as is `LevenshteinDistance`
# A letter is entered as seen in its row before the row is done, so it is transposed with itself. This project has edit
# similarity of its own (data/longbench/text_scores.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund natural@8.1.1
cat > run.cjs <<'JS'
const { DamerauLevenshteinDistance: distance } = require("natural/lib/natural/distance");

/** The distance by Lowrance and Wagner, 1975. */
function expected(a, b, restricted = false) {
  const at = new Map();
  const get = (i, j) => i < 0 || j < 0 ? Infinity : i === 0 ? j : j === 0 ? i : at.get(`${i} ${j}`);
  const rows = {};
  for (let i = 1; i <= a.length; i++) {
    let column = 0;
    for (let j = 1; j <= b.length; j++) {
      const [k, l] = [rows[b[j - 1]] ?? 0, column];
      const swapped = restricted && (k !== i - 1 || l !== j - 1) ? Infinity : get(k - 1, l - 1) + i - k + j - l - 1;
      const same = a[i - 1] === b[j - 1];
      at.set(`${i} ${j}`, Math.min(get(i - 1, j) + 1, get(i, j - 1) + 1, get(i - 1, j - 1) + !same, swapped));
      if (same) column = j;
    }
    rows[a[i - 1]] = i;
  }
  return get(a.length, b.length);
}

for (const [a, b] of [["helo", "hello"], ["loss", "losss"], ["10", "100"], ["ba", "caaab"]]) {
  console.log(a, b, distance(a, b), distance(b, a), "for", expected(a, b), expected(b, a));
}
const words = [""];
for (let i = 0; words[i].length < 4; i++) words.push(...["a", "b", "c"].map((letter) => words[i] + letter));
const pairs = words.flatMap((a) => words.map((b) => [a, b]));
const wrong = pairs.filter(([a, b]) => distance(a, b) !== expected(a, b));
const small = wrong.filter(([a, b]) => distance(a, b) < expected(a, b));
console.log(pairs.length, wrong.length, small.length, wrong.filter(([a, b]) => distance(a, b) === 0).length);
const restricted = pairs.filter(([a, b]) => distance(a, b, { restricted: true }) !== expected(a, b, true));
console.log("restricted", restricted.length);
JS
node run.cjs | tee seen.txt
diff seen.txt - <<'TXT'
helo hello 0 1 for 1 1
loss losss 0 1 for 1 1
10 100 0 1 for 1 1
ba caaab 3 4 for 4 4
14641 675 675 54
restricted 0
TXT
echo "as described"
