#!/usr/bin/env bash
# gguf-py: what its writer takes, its reader gives back in another form: nested arrays flat, empty arrays not at all.
#
# Guess of a good engineer: metadata come back as they were written. GGUF allows arrays of arrays and arrays of length zero,
# and what the package does not support it refuses.
# Seen with gguf 0.19.0 beside @huggingface/gguf 0.4.6, which reads the same file as written:
#   [[1, 2], [3, 4, 5]]    the reader's contents() is [1, 2, 3, 4, 5]; its types still say "array of arrays"
#   []                     the writer leaves the key out of the file
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @huggingface/gguf@0.4.6
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0
cat > run.py <<'PY'
from gguf import GGUFReader, GGUFWriter

writer = GGUFWriter("file.gguf", "llama")
writer.add_array("lab.nested", [[1, 2], [3, 4, 5]])
writer.add_array("lab.empty", [])
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.close()
field = GGUFReader("file.gguf").fields["lab.nested"]
print([kind.name for kind in field.types], field.contents())
PY
cat > run.mjs <<'JS'
import { gguf } from "@huggingface/gguf";
const { metadata } = await gguf("./file.gguf", { allowLocalFile: true });
console.log(JSON.stringify(metadata["lab.nested"]), "lab.empty" in metadata);
JS
./venv/bin/python run.py | tee seen.txt
node run.mjs | tee -a seen.txt
diff seen.txt - <<'TXT'
['ARRAY', 'ARRAY', 'INT32'] [1, 2, 3, 4, 5]
[[1,2],[3,4,5]] false
TXT
echo "as described"
