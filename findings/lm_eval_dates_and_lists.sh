#!/usr/bin/env bash
# lm-evaluation-harness: exactly right answers score 0 where the right answers of a file are dates, or texts in square brackets.
#
# Guess of a good engineer: a task that reads JSON lines and has `doc_to_target: "{{answer}}"` compares with the text that
# stands in the file, so a model that gives this text back has an exact_match of 1.
# Seen with lm_eval 0.4.13 and datasets 5.2.0, a model that answers with the text of the file:
#   2020-05-01, 2019-12-31             0   the column became timestamps, and the target is "2020-05-01 00:00:00"
#   2020-05-01, 2019-12-31, unknown    1   one other text, and the column stays text
#   05/01/2020, 12/31/2019             1
#   [1, 2], [3]                        0   the harness reads the text as Python, and the targets are lists
#   (1, 2), (3)                        1
# No warning is given. Questions of dates, and of what a program prints, have such answers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python lm_eval==0.4.13 datasets==5.2.0 pyarrow==26.0.1
cat > run.py <<'PY'
import json
import pathlib

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager


class Perfect(LM):
    """Answers with what the file has, kept beside it behind a letter so that it stays text."""

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood

    def generate_until(self, requests):
        return [request.doc["kept"][1:] for request in requests]


def score(number, answers):
    path = pathlib.Path(f"{number}.jsonl").resolve()
    path.write_text("".join(json.dumps(dict(question="?", answer=a, kept=f"x{a}")) + "\n" for a in answers))
    name = f"task_{number}"
    task = dict(task=name, dataset_path="json", dataset_kwargs=dict(data_files=dict(test=str(path))), test_split="test",
                output_type="generate_until", doc_to_text="{{question}}", doc_to_target="{{answer}}",
                metric_list=[dict(metric="exact_match", aggregation="mean", higher_is_better=True)])
    found = lm_eval.simple_evaluate(model=Perfect(), tasks=[task], bootstrap_iters=0, log_samples=True,
                                    task_manager=TaskManager(include_defaults=False))
    return found["results"][name]["exact_match,none"], found["samples"][name][0]["target"]


for number, answers in enumerate([
    ["2020-05-01", "2019-12-31"],
    ["2020-05-01", "2019-12-31", "unknown"],
    ["05/01/2020", "12/31/2019"],
    ["[1, 2]", "[3]"],
    ["(1, 2)", "(3)"],
]):
    print(*score(number, answers), sep="   ")
PY
HF_HOME=$PWD/cache HF_HUB_OFFLINE=1 ./venv/bin/python run.py 2> err.txt | tee seen.txt
diff seen.txt - <<'TXT'
0.0   2020-05-01 00:00:00
1.0   2020-05-01
1.0   05/01/2020
0.0   [1, 2]
1.0   (1, 2)
TXT
echo "as described"
