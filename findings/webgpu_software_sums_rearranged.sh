#!/usr/bin/env bash
# WebGPU on software drivers: sums are rearranged, so compensated sums and rounding by a large number do nothing.
#
# Guess of a good engineer: WGSL's sums and differences are correctly rounded, so what works in C, CUDA and WebAssembly works:
# Kahan's sum keeps what a sum loses, and (x + 1.5 * 2^23) - 1.5 * 2^23 is the nearest integer.
# Seen with SwiftShader 5.0.0 and mesa-vulkan-drivers 22.3.6 (Debian 12) by wgpu 0.32.0, numbers read from a buffer:
#                                           float32     SwiftShader  lavapipe
#   a plain sum of 0.1, 10000 times         999.903     999.903      999.903
#   Kahan's                                 1000        1000         999.903
#   what 1e8 + 0.1 loses, by two-sum        0.1         0.1          0
#   (1e8 + 1) - 1e8                         0           0            1
#   2.3 rounded by a number of the buffer   2           2            2.3
#   2.3 rounded by a number of the text     2           2.3          2.3
# WGSL permits it, and has nothing that forbids it: a bitcast to u32 and back between the steps changes nothing. This project
# rounds so in WebAssembly alone (kernels/simd.as).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq chromium-common mesa-vulkan-drivers libvulkan1 libllvm15 libz3-4 libedit2 libbsd0 libmd0 libxml2 libicu72 \
  libdrm2 libx11-xcb1 libxcb1 libxcb-dri3-0 libxcb-present0 libxcb-xfixes0 libxcb-sync1 libxcb-randr0 libxcb-shm0 \
  libxshmfence1 libwayland-client0 libxau6 libxdmcp6 libexpat1 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
sed -i "s|/usr/lib|$PWD/unpacked/usr/lib|" unpacked/usr/share/vulkan/icd.d/lvp_icd.x86_64.json
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check wgpu==0.32.0
cat > run.py <<'PY'
import struct
import sys

from wgpu import gpu
from wgpu.utils.compute import compute_with_buffers

print(gpu.request_adapter_sync().info["description"], file=sys.stderr)
SOURCE = """
@group(0) @binding(0) var<storage, read_write> found: array<f32>;
@group(0) @binding(1) var<storage, read> given: array<f32>;
@compute @workgroup_size(1) fn main() {
  let big = given[0];
  let small = given[1];
  let magic = given[2];
  let number = given[3];

  var plain = 0.0;
  var kahan = 0.0;
  var lost = 0.0;
  for (var i = 0u; i < 10000u; i++) {
    let term = given[4u + i % 8u];
    plain += term;
    let next = term - lost;
    let sum = kahan + next;
    lost = (sum - kahan) - next;
    kahan = sum;
  }
  found[0] = plain;
  found[1] = kahan;
  let sum = big + small;
  let part = sum - big;
  found[2] = (big - (sum - part)) + (small - part);
  found[3] = (big + 1.0) - big;
  found[4] = (number + magic) - magic;
  found[5] = bitcast<f32>(bitcast<u32>(number + magic)) - magic;
  found[6] = (number + 12582912.0) - 12582912.0;
}
"""
given = struct.pack("12f", 1e8, 0.1, 12582912, 2.3, *[0.1] * 8)
found = struct.unpack("7f", compute_with_buffers({1: given}, {0: (7, "f")}, SOURCE, n=1)[0])
print(*(f"{value:.6g}" for value in found), sep="\n")
PY
export LD_LIBRARY_PATH=$PWD/unpacked/usr/lib/x86_64-linux-gnu XDG_RUNTIME_DIR=$PWD WGPU_BACKEND_TYPE=Vulkan
VK_ICD_FILENAMES=$PWD/unpacked/usr/lib/chromium/vk_swiftshader_icd.json ./venv/bin/python run.py 2>> log.txt > swiftshader.txt
VK_ICD_FILENAMES=$PWD/unpacked/usr/share/vulkan/icd.d/lvp_icd.x86_64.json ./venv/bin/python run.py 2>> log.txt > lavapipe.txt
cat log.txt
paste -d ',' <(printf '%s\n' plain Kahan two-sum '(1e8+1)-1e8' rounded bitcast text) swiftshader.txt lavapipe.txt | tee seen.txt
diff seen.txt - <<'TXT'
plain,999.903,999.903
Kahan,1000,999.903
two-sum,0.1,0
(1e8+1)-1e8,0,1
rounded,2,2.3
bitcast,2,2.3
text,2.3,2.3
TXT
echo "as described"
