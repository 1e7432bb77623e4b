#!/usr/bin/env bash
# lm-evaluation-harness: RULER's common words are asked without the worked example that the benchmark has.
#
# Guess of a good engineer: ruler_cwe asks what RULER asks, an example list with its answer and then the list in question, and
# the prompt is about as long as its nominal length.
# Seen with lm_eval 0.4.13: the example is made and counted when the list is sized, but stands in a field `input_example`
# that no template names. The prompt, `{{input}}`, has the list alone: zero-shot, and shorter than said by the example's
# length, which is a third of the prompt at 1,024 tokens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check lm_eval==0.4.13 transformers==5.24.0 wonderwords==2.2.0
cat > run.py <<'PY'
import pathlib
import types
import lm_eval.tasks.ruler.cwe_utils as cwe

# A tokenizer whose tokens are words, which is all that sizing needs.
def words(text):
    return types.SimpleNamespace(input_ids=text.split())

item = cwe.sys_word_pair_random(num_samples=1, max_seq_length=1024, tokenizer=words)[0]
folder = pathlib.Path(cwe.__file__).parent
texts = "".join(file.read_text() for file in folder.glob("*.yaml"))
print("templates with the prompt:", texts.count("{{input}}"))
print("templates with the example:", texts.count("input_example"))
print("questions in the prompt:", item["input"].count("Question:"))
shortfall = 1024 - 120 - len(words(item["input"]).input_ids)
print("shorter than said by more than the example:", shortfall >= len(words(item["input_example"]).input_ids))
print(shortfall, len(words(item["input_example"]).input_ids), file=__import__("sys").stderr)
PY
./venv/bin/python run.py > seen.txt 2> log.txt || { cat log.txt; exit 1; }
cat seen.txt; tail -1 log.txt
grep -q "templates with the example: 0" seen.txt
grep -q "questions in the prompt: 1" seen.txt
grep -q "more than the example: True" seen.txt
echo "as described"
