#!/usr/bin/env bash
# Chat templates in JavaScript: @huggingface/jinja gives other values than Jinja2, without an error.
#
# Guess of a good engineer: what it supports gives Jinja2's result; what it does not support is refused.
# Seen with @huggingface/jinja 0.5.11 beside Jinja2 3.1.6, which transformers uses:
#   '1' == 1           true, where Jinja2 says False: texts and numbers are compared as JavaScript's == does
#   '12abc'|int        12, where Jinja2 gives its default 0, since the text is no number
#   '2.9'|int + -7 % 3 2 + -1, where Jinja2 gives 2 + 2: the remainder has the sign of the dividend
#   they're|title      They'Re, where Jinja2's filter gives They're
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @huggingface/jinja@0.5.11
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check jinja2==3.1.6
cat > templates.json <<'JSON'
["{{ 'same' if '1' == 1 else 'different' }}", "{{ '12abc'|int }}", "{{ '2.9'|int + -7 % 3 }}", "{{ \"they're\"|title }}"]
JSON
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";
for (const text of JSON.parse(readFileSync("templates.json"))) console.log(new Template(text).render({}));
JS
cat > run.py <<'PY'
import json, jinja2
for text in json.load(open("templates.json")):
    print(jinja2.Template(text).render())
PY
node run.mjs > javascript.txt
./venv/bin/python run.py > python.txt
paste -d '|' javascript.txt python.txt
[ "$(paste -s -d ' ' javascript.txt)" = "same 12 1 They'Re" ]
[ "$(paste -s -d ' ' python.txt)" = "different 0 4 They're" ]
echo "as described"
