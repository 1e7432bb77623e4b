#!/usr/bin/env bash
# datasketch: MinHashLSHEnsemble made for containment 0.8 finds hardly any set that contains all of the query, if it is large.
#
# Guess of a good engineer: the index for sets of unequal sizes, which is what containment is for, finds most sets that have at
# least the threshold of the query, and surely those that have all of it; false positives are the price.
# Seen with datasketch 2.0.0, 128 permutations, 16 partitions, 200 sets that contain a query of 50 elements: how many it finds
#   size of a set / query       1      2      5      10     20
#   threshold 0.5               200    200    187    200    199
#   threshold 0.8               200    200    21     0      0
#   threshold 0.9               200    48     0      0      0
#   0.8, weights (0.1, 0.9)     200    200    187    200    200
# A band and row count is chosen by the area of errors over all containments. Misses can lie only above the threshold, which is
# an area of 0.2 at most, false positives below it, up to 0.8: to find next to nothing is the cheapest. So the nearer to 1 the
# threshold, the less is found. Documentation says that `weights` balance the errors, not that the default leaves no recall.
# To look for a prompt's shingles in longer texts, as for contamination, a lower threshold or other weights are needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python datasketch==2.0.0 numpy==2.4.6 scipy==1.17.1
cat > run.py <<'PY'
import random

from datasketch import MinHash, MinHashLSHEnsemble

random.seed(0)
query = set(range(50))


def sketch(elements):
    found = MinHash(num_perm=128)
    found.update_batch([str(element).encode() for element in elements])
    return found


sizes = [1, 2, 5, 10, 20]
entries = {}
for times in sizes:
    sets = [query | set(random.sample(range(10**6, 2 * 10**6), 50 * times - 50)) for _ in range(200)]
    entries[times] = [(i, sketch(elements), len(elements)) for i, elements in enumerate(sets)]
for threshold, weights in [(0.5, (0.5, 0.5)), (0.8, (0.5, 0.5)), (0.9, (0.5, 0.5)), (0.8, (0.1, 0.9))]:
    counts = []
    for times in sizes:
        index = MinHashLSHEnsemble(threshold=threshold, num_perm=128, num_part=16, weights=weights)
        index.index(entries[times])
        counts.append(len(set(index.query(sketch(query), 50))))
    print(threshold, *weights, ":", *counts, flush=True)
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
0.5 0.5 0.5 : 200 200 187 200 199
0.8 0.5 0.5 : 200 200 21 0 0
0.9 0.5 0.5 : 200 48 0 0 0
0.8 0.1 0.9 : 200 200 187 200 200
TXT
echo "as described"
