#!/usr/bin/env bash
# rouge, which grades LongBench's summaries: an answer that repeats itself scores as if it said everything once.
#
# Guess of a good engineer: ROUGE-L divides the longest common subsequence by the lengths of both texts. A model that loops,
# as happens when too much of its cache is dropped, says one right sentence three times and gets a precision of 1/3.
# Seen with rouge 1.0.1, LongBench's choice, beside rouge-score 0.1.2, F of ROUGE-L:
#   the reference three times            1.00 where rouge-score gives 0.50
#   its first half, twenty times         0.78 where rouge-score gives 0.09
#   its two sentences exchanged          1.00 where rouge-score gives 0.67
# It counts distinct words on both sides, so length and loops cost nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check rouge==1.0.1 rouge-score==0.1.2
cat > run.py <<'PY'
from rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer

scorer = RougeScorer(["rougeL"])
for answer, right in [
    ("voters approve plans for two new bridges " * 3, "voters approve plans for two new bridges"),
    ("voters approve plans for two new bridges " * 20, "voters approve plans for two new bridges near an old mill"),
    ("prices rise in spring. mills close", "mills close. prices rise in spring"),
]:
    found = Rouge().get_scores([answer], [right], avg=True)["rouge-l"]["f"]
    print(f"{found:.2f} {scorer.score(right, answer)['rougeL'].fmeasure:.2f}")
PY
./venv/bin/python run.py | tee seen.txt
[ "$(paste -s -d ' ' seen.txt)" = "1.00 0.50 0.78 0.09 1.00 0.67" ] || { echo "no longer as described"; exit 1; }
echo "as described"
