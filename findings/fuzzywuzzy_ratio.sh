#!/usr/bin/env bash
# fuzzywuzzy, which grades LongBench's code tasks: scores depend on whether an optional package is installed.
#
# Guess of a good engineer: its warning "Using slow pure-python SequenceMatcher. Install python-Levenshtein to remove this
# warning" is about speed; the ratio of two lines is the same either way.
# Seen with fuzzywuzzy 0.18.0 alone and beside python-Levenshtein 0.27.1: 47 against 68 and 33 against 55 for the last two
# pairs of lines below. Alone, it takes the longest common block first; beside Levenshtein it aligns as well as possible. So
# edit similarities of LCC and RepoBench-P cannot be compared without knowing which of the two ran.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > run.py <<'PY'
from fuzzywuzzy import fuzz

for found, right in [
    ("for row in self.read_rows_of(table):", "names.append(self.name_of(row))"),
    ("self.first_group = self.group(name)", "self.group_now = self.first_group"),
    ("if text[0] == '(' and text[-1] == ')':", "text = text[1:-1]"),
]:
    print(fuzz.ratio(found, right))
PY
for name in alone beside; do
  python3 -m venv "$name"
  "./$name/bin/pip" install --quiet --disable-pip-version-check fuzzywuzzy==0.18.0
done
./beside/bin/pip install --quiet --disable-pip-version-check python-Levenshtein==0.27.1
./alone/bin/python -W ignore run.py > alone.txt
./beside/bin/python run.py > beside.txt
paste -d ' ' alone.txt beside.txt
[ "$(paste -s -d ' ' alone.txt)" = "36 47 33" ] || { echo "no longer as described"; exit 1; }
[ "$(paste -s -d ' ' beside.txt)" = "36 68 55" ] || { echo "no longer as described"; exit 1; }
echo "as described"
