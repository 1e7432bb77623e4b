#!/usr/bin/env bash
# lavapipe, Mesa's Vulkan on a CPU: loops of a shader end after 65535 turns of all of them together, and nothing says so.
#
# Guess of a good engineer: a loop runs until its condition is false. WGSL and Vulkan know no largest number of turns, and work
# that takes too long loses the device, which a program notices.
# Seen with mesa-vulkan-drivers 22.3.6 beside SwiftShader 5.0.0 (Debian 12) by wgpu 0.32.0, turns that one invocation counts:
#                                   SwiftShader            lavapipe
#   one loop of 100000              100000                 65535
#   a loop of 1000 in one of 1000   1000000                65405
#   three loops of 40000            40000 40000 40000      40000 25534 1
#   a sum of 0.1, 100000 times      9998.6                 6557.5
# Turns of inner loops count, too, later loops get what is left, and after that each turns once. So a kernel that passes its
# tests on small sizes leaves out the end of long texts, or all that comes after its first loops.
# This project met it at windows of 8,000 tokens to match heads by, and takes several vectors a turn (kernels/softmax_sums.ts).
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


def run(body, turns, results=1, kind="u32"):
    source = f"""
        @group(0) @binding(0) var<storage, read_write> found: array<{kind}>;
        @group(0) @binding(1) var<storage, read> turns: array<u32>;
        @compute @workgroup_size(1) fn main() {{ {body} }}"""
    letter = "I" if kind == "u32" else "f"
    out = compute_with_buffers({1: struct.pack("2I", *turns)}, {0: (results, letter)}, source, n=1)
    return struct.unpack(f"{results}{letter}", out[0])


ONE = "for (var i = 0u; i < turns[0]; i++) { found[%d] += turns[1]; }"
print(*run(ONE % 0, (100000, 1)))
print(*run("for (var i = 0u; i < turns[0]; i++) { for (var j = 0u; j < turns[0]; j++) { found[0] += turns[1]; } }", (1000, 1)))
print(*run("".join(ONE % place for place in range(3)), (40000, 1), results=3))
print("%.1f" % run("for (var i = 0u; i < turns[0]; i++) { found[0] += 0.1; }", (100000, 1), kind="f32"))
PY
export LD_LIBRARY_PATH=$PWD/unpacked/usr/lib/x86_64-linux-gnu XDG_RUNTIME_DIR=$PWD WGPU_BACKEND_TYPE=Vulkan
VK_ICD_FILENAMES=$PWD/unpacked/usr/lib/chromium/vk_swiftshader_icd.json ./venv/bin/python run.py 2>> log.txt > swiftshader.txt
VK_ICD_FILENAMES=$PWD/unpacked/usr/share/vulkan/icd.d/lvp_icd.x86_64.json ./venv/bin/python run.py 2>> log.txt > lavapipe.txt
cat log.txt
paste -d ',' swiftshader.txt lavapipe.txt | tee seen.txt
diff seen.txt - <<'TXT'
100000,65535
1000000,65405
40000 40000 40000,40000 25534 1
9998.6,6557.5
TXT
echo "as described"
