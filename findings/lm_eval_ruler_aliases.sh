#!/usr/bin/env bash
# lm-evaluation-harness: RULER's question answering gives part of a point where one of several accepted answers is found.
#
# Guess of a good engineer: an item of ruler_qa_squad lists spellings that are all right, so an answer that holds one of them
# scores 1; RULER's own rule takes the best over them.
# Seen with lm_eval 0.4.13: the score is the share of the spellings that occur in the answer, so a right and complete answer
# scores 1/3 where annotators marked three spans, and more only where spans happen to contain each other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check lm_eval==0.4.13 transformers==5.24.0
cat > run.py <<'PY'
from lm_eval.tasks.ruler.common_utils import process_results_part

spans = ["in the 10th century", "the first half of the 10th century", "10th"]
for answer in ["10th", "in the 10th century", "around 1500"]:
    print(round(process_results_part({"max_length": 4096, "outputs": spans}, [answer])["4096"], 3))
PY
./venv/bin/python run.py 2>/dev/null > seen.txt
cat seen.txt
[ "$(paste -s -d ' ' seen.txt)" = "0.333 0.667 0.0" ] || { echo "no longer as described"; exit 1; }
echo "as described"
