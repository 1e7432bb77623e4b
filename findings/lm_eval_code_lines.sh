#!/usr/bin/env bash
# lm-evaluation-harness, LongBench: the right line of code scores 0 if it has a comment, an address or an integer division.
#
# Guess of a good engineer: the edit similarity of lcc and repobench-p is 1 where the answer is the very line that is asked for.
# Seen with lm_eval 0.4.13 and fuzzywuzzy 0.18.0, answers that are the reference itself:
#   return total                                   1
#   half = length // 2                             0
#   url = "https://example.com"                    0
#   color: "#fff",                                 0
#   i += 1  # next                                 0
#   log(`${name}`)                                 0
# A line with "`", "#" or "//" anywhere is skipped as a comment, and what is compared is the first other line: a model that
# goes on rightly is graded by its second line, and one that stops after the right line by nothing. This project grades as it
# does, to be comparable (data/longbench.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python lm_eval==0.4.13 fuzzywuzzy==0.18.0 jieba==0.42.1 rouge==1.0.1
cat > run.py <<'PY'
from lm_eval.tasks.longbench.metrics import get_code_sim_with_score

for line in [
    "return total",
    "half = length // 2",
    'url = "https://example.com"',
    'color: "#fff",',
    "i += 1  # next",
    "log(`${name}`)",
]:
    print(get_code_sim_with_score({"answers": [line]}, [line])["score"], line)
line = "half = length // 2"
print(get_code_sim_with_score({"answers": [line]}, [f"{line}\nreturn items[half]\n"])["score"], "with the line after it")
PY
./venv/bin/python run.py 2> err.txt | tee seen.txt
diff seen.txt - <<'TXT'
1.0 return total
0.0 half = length // 2
0.0 url = "https://example.com"
0.0 color: "#fff",
0.0 i += 1  # next
0.0 log(`${name}`)
0.22 with the line after it
TXT
echo "as described"
