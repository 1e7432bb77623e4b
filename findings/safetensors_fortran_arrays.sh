#!/usr/bin/env bash
# safetensors: an array in Fortran order is saved under its shape with its numbers in another order.
#
# Guess of a good engineer: the format is row-major, so safetensors.numpy copies such an array into that order, or refuses it
# as safetensors.torch refuses a transposed tensor. It is contiguous and dense, as the documentation asks.
# Seen with numpy 2.4.6: safetensors 0.7.0 gives back what was saved. 0.8.0 writes the memory as it lies beside the logical
# shape, so [[0, 1, 2], [3, 4, 5]] comes back as [[0, 3, 1], [4, 2, 5]], without a warning. Weights that were transposed when
# they were converted, or fitted by scikit-learn, are Fortran arrays (safetensors/safetensors#825).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > run.py <<'PY'
import numpy as np
from safetensors.numpy import load_file, save_file

array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
save_file({"array": array}, "array.safetensors")
found = load_file("array.safetensors")["array"]
print(found.shape, found.ravel().astype(int).tolist())
PY
for version in 0.7.0 0.8.0; do
  python3 -m venv "$version"
  "./$version/bin/pip" install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.4.6
  echo "$version $("./$version/bin/python" run.py)"
done | tee seen.txt
diff seen.txt - <<'TXT'
0.7.0 (2, 3) [0, 1, 2, 3, 4, 5]
0.8.0 (2, 3) [0, 3, 1, 4, 2, 5]
TXT
echo "as described"
