#!/usr/bin/env bash
# lighteval: a model that is always right has an mG-Pass@k of 0, 2/3 or 4/5 where k is 1, 3 or 5; and F1 counts no repeats.
#
# Guess of a good engineer: mG-Pass@k, the mean of G-Pass@k over thresholds from a half to one, is 1 if all samples are right,
# as the other scores are; and `F1_score`, which "is computed over the bag of words", counts a word as often as it stands there.
# Seen with lighteval 0.13.0, sixteen samples that are all right:
#   k                                          1    2    3      4    5     16
#   mg-pass@k                                  0    1    0.67   1    0.8   1
#   g-pass@k, thresholds of 0.5 and 1          1    1    1      1    1     1
# The formula is that of the paper, which divides a sum of k / 2 terms by k / 2; if k is odd, there is half a term less.
#   F1 of "no no no no" to "no"                1    of bags 0.4
#   F1 of "A" to "A", normalized as in HELM    0    the letter is an article, and no word is left; "B" has 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python lighteval==0.13.0 torch==2.15.0 transformers==5.24.0 \
  datasets==5.2.0 numpy==2.4.6
cat > run.py <<'PY'
from lighteval.metrics.metrics_sample import F1_score, GPassAtK
from lighteval.metrics.normalizations import helm_normalizer

for k in [1, 2, 3, 4, 5, 16]:
    scores = GPassAtK(k=k, n=16).g_pass_at_k([1] * 16)
    print(k, *[f"{scores[name]:.2g}" for name in [f"mg-pass@{k}", f"g-pass@{k}_0.5", f"g-pass@{k}_1.0"]])
print(F1_score().compute_one_item("no", "no no no no"))
for letter in "AB":
    print(letter, F1_score(normalize_gold=helm_normalizer, normalize_pred=helm_normalizer).compute_one_item(letter, letter))
PY
HF_HUB_OFFLINE=1 ./venv/bin/python run.py 2> err.txt | tee seen.txt
diff seen.txt - <<'TXT'
1 0 1 1
2 1 1 1
3 0.67 1 1
4 1 1 1
5 0.8 1 1
16 1 1 1
1.0
A 0.0
B 1.0
TXT
echo "as described"
