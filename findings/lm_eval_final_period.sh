#!/usr/bin/env bash
# lm-evaluation-harness: an answer without a period after it loses its last character, and is graded as wrong.
#
# Guess of a good engineer: "The answer is 18" and "The answer is 18." get the same grade under the chain-of-thought tasks
# gsm8k_cot (strict-match) and bbh_cot_fewshot (get-answer); a model that ends its text after the number is right.
# Seen with lm_eval 0.4.13, with the expressions of its own task files: both need one more character after the answer, and
# give one back where the text ends.
#   gsm8k_cot  "The answer is 18."  18      "The answer is 18"  1      "The answer is 8"  [invalid]
#   bbh        "the answer is (A)." (A)     "the answer is (A)" (A     "the answer is no" n
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check lm_eval==0.4.13
cat > run.py <<'PY'
import pathlib, yaml
import lm_eval.tasks
from lm_eval.filters.extraction import RegexFilter

folder = pathlib.Path(lm_eval.tasks.__file__).parent


class Loader(yaml.SafeLoader):
    """Reads task files, whose own tags matter not here."""


Loader.add_multi_constructor("!", lambda loader, tag, node: None)


def extract(file, name, text):
    filters = yaml.load((folder / file).read_text(), Loader)["filter_list"]
    regex = next(entry for entry in filters if entry["name"] == name)["filter"][0]
    options = {key: value for key, value in regex.items() if key != "function"}
    return RegexFilter(**options).apply([[text]], [{}])[0][0]


for number in ["18.", "18", "8"]:
    text = f"So she has {number} The answer is {number}"
    print(extract("gsm8k/gsm8k-cot.yaml", "strict-match", text))
for answer in ["(A).", "(A)", "no"]:
    text = f"So the answer is {answer}"
    print(extract("bbh/cot_fewshot/_cot_fewshot_template_yaml", "get-answer", text))
PY
./venv/bin/python run.py 2>/dev/null > seen.txt
cat seen.txt
[ "$(paste -s -d ' ' seen.txt)" = "18 1 [invalid] (A) (A n" ] || { echo "no longer as described"; exit 1; }
echo "as described"
