#!/usr/bin/env bash
# lm-evaluation-harness: in a vote of answers, texts without an answer vote too, and 1,000 votes against 1000.
#
# Guess of a good engineer: `majority_vote`, the maj@8 and maj@64 of gsm8k_cot_self_consistency, counts answers as they are graded:
# a text that no answer was found in has no vote, and two ways to write a number are one answer, as for exact_match.
# Seen with lm_eval 0.4.13, with the filters and the metric of the task file, for eight samples and the right answer 1000:
#   1000 three times, 7 twice, 900, and two texts without an answer     1000, exact_match 1
#   1000 three times, 7 once, and four texts without an answer          [invalid], exact_match 0
#   1000 twice, 1,000 twice, 900, and 7 three times                     7, exact_match 0
#   1000, then 7, both four times                                       1000: of equals the first sample's
# Samples that are cut off before their answer, as with a small budget of tokens, thus count against the others.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python lm_eval==0.4.13
cat > run.py <<'PY'
import pathlib, yaml
import lm_eval.tasks
from lm_eval.api.metrics import exact_match_fn
from lm_eval.filters import build_filter_ensemble

folder = pathlib.Path(lm_eval.tasks.__file__).parent / "gsm8k"


class Instance:
    def __init__(self, samples):
        self.doc, self.resps, self.filtered_resps = {}, samples, {}


def read(name):
    return yaml.safe_load((folder / name).read_text())


def vote(answers):
    entry = next(entry for entry in read("gsm8k-cot-self-consistency.yaml")["filter_list"] if entry["name"] == "maj@8")
    steps = [(step["function"], {key: value for key, value in step.items() if key != "function"}) for step in entry["filter"]]
    instance = Instance([f"So it is. The answer is {answer}." if answer else "So it is 10" for answer in answers])
    build_filter_ensemble("maj", steps).apply([instance])
    found = instance.filtered_resps["maj"]
    metric = read("gsm8k-cot.yaml")["metric_list"][0]
    options = {key: metric[key] for key in ["ignore_case", "ignore_punctuation", "regexes_to_ignore"]}
    return found, exact_match_fn(predictions=[found], references=["1000"], **options)["exact_match"]


for answers in [
    ["1000"] * 3 + ["7"] * 2 + ["900"] + [""] * 2,
    ["1000"] * 3 + ["7"] + [""] * 4,
    ["1000"] * 2 + ["1,000"] * 2 + ["900"] + ["7"] * 3,
    ["1000"] * 4 + ["7"] * 4,
]:
    print(*vote(answers))
PY
./venv/bin/python run.py 2> err.txt | tee seen.txt
diff seen.txt - <<'TXT'
1000 1.0
[invalid] 0.0
7 0.0
1000 1.0
TXT
echo "as described"
