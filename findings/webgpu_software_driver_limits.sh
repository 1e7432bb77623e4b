#!/usr/bin/env bash
# WebGPU on software drivers: functions of infinity, zero and large numbers give other values than the CPU they run on.
#
# Guess of a good engineer: SwiftShader and lavapipe compute with the CPU's floats, so functions have IEEE 754's values where
# these are exact, such as log(0) and tanh(90), and a kernel whose test passes on one passes on the other.
# Seen with SwiftShader 5.0.0 (Debian 12's chromium-common) by webgpu 0.6.2, and lavapipe (mesa-vulkan-drivers 22.3.6) by deno
# 2.9.6, arguments read from a buffer; f16 is unpack2x16float(pack2x16float()):
#                      IEEE       SwiftShader  lavapipe
#   log(0)             -Infinity  -88.03       -Infinity   perplexity of an impossible token is finite
#   asinh(-10000)      -9.903     -88.03       -9.903
#   tanh(90)           1          NaN          1           soft caps and GELU of large numbers
#   tanh(1e-8)         1e-8       no digit     no digit    is right
#   exp(NaN)           NaN        Infinity     NaN         softmax hides NaN
#   inf - inf          NaN        NaN          0
#   pow(0, 0)          1          1            0
#   f16 of 65520       Infinity   Infinity     Infinity   rounds up to it
#   f16 of 70000       Infinity   NaN          Infinity   outliers of keys
# WGSL permits all of it. This project's kernels know it: tanh is written by exp2 (kernels/attention.wgsl), NaN is told by its
# bits (kernels/argmax.wgsl).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq chromium-common mesa-vulkan-drivers libvulkan1 libllvm15 libz3-4 libedit2 libbsd0 libmd0 libxml2 libicu72 \
  libdrm2 libx11-xcb1 libxcb1 libxcb-dri3-0 libxcb-present0 libxcb-xfixes0 libxcb-sync1 libxcb-randr0 libxcb-shm0 \
  libxshmfence1 libwayland-client0 libxau6 libxdmcp6 libexpat1 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
npm install --silent --no-audit --no-fund webgpu@0.6.2 deno@2.9.6
cat > run.mjs <<'JS'
const CASES = [
  ["log(0)", "log(a)", 0],
  ["asinh(-10000)", "asinh(a)", -10000],
  ["tanh(90)", "tanh(a)", 90],
  ["tanh(1e-8)", "tanh(a)", 1e-8],
  ["exp(NaN)", "exp(a)", NaN],
  ["inf - inf", "a - a", Infinity],
  ["pow(0, 0)", "pow(a, a)", 0],
  ["f16 of 65520", "unpack2x16float(pack2x16float(vec2f(a))).x", 65520],
  ["f16 of 70000", "unpack2x16float(pack2x16float(vec2f(a))).x", 70000],
];

let gpu = globalThis.Deno && navigator.gpu;
if (!gpu) {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  gpu = create([]);
}
const adapter = await gpu.requestAdapter();
console.error(adapter.info.device, adapter.info.description);
const device = await adapter.requestDevice();
const module = device.createShaderModule({
  code: `
@group(0) @binding(0) var<storage, read_write> data: array<f32>;
${CASES.map(([, expression], i) => `fn case_${i}(a: f32) -> f32 { return ${expression}; }`).join("\n")}
@compute @workgroup_size(1) fn main() {
${CASES.map((_, i) => `  data[${i}] = case_${i}(data[${i}]);`).join("\n")}
}`,
});
const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
const size = 4 * CASES.length;
const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
const buffer = device.createBuffer({ size, usage });
const result = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
device.queue.writeBuffer(buffer, 0, Float32Array.from(CASES, ([, , argument]) => argument));
const layout = pipeline.getBindGroupLayout(0);
const encoder = device.createCommandEncoder();
const pass = encoder.beginComputePass();
pass.setPipeline(pipeline);
pass.setBindGroup(0, device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] }));
pass.dispatchWorkgroups(1);
pass.end();
encoder.copyBufferToBuffer(buffer, 0, result, 0, size);
device.queue.submit([encoder.finish()]);
await result.mapAsync(GPUMapMode.READ);
new Float32Array(result.getMappedRange()).forEach((value, i) => {
  const [name, , argument] = CASES[i];
  const isFar = name.startsWith("tanh(1e") && Math.abs(value / argument - 1) > 0.5;
  console.log(`${name}: ${isFar ? "no digit" : Number(value.toPrecision(4))}`);
});
process.exit(0);
JS
export LD_LIBRARY_PATH=$PWD/unpacked/usr/lib/x86_64-linux-gnu XDG_RUNTIME_DIR=$PWD DENO_WEBGPU_BACKEND=vulkan NO_COLOR=1
export VK_ICD_FILENAMES=$PWD/unpacked/usr/lib/chromium/vk_swiftshader_icd.json
node run.mjs 2>> log.txt > swiftshader.txt
sed -i "s|/usr/lib|$PWD/unpacked/usr/lib|" unpacked/usr/share/vulkan/icd.d/lvp_icd.x86_64.json
export VK_ICD_FILENAMES=$PWD/unpacked/usr/share/vulkan/icd.d/lvp_icd.x86_64.json
./node_modules/.bin/deno run --allow-all --no-lock run.mjs 2>> log.txt > lavapipe.txt
cat log.txt
paste -d ',' swiftshader.txt <(cut -d ':' -f 2 lavapipe.txt) | tee seen.txt
diff seen.txt - <<'TXT'
log(0): -88.03, -Infinity
asinh(-10000): -88.03, -9.903
tanh(90): NaN, 1
tanh(1e-8): no digit, no digit
exp(NaN): Infinity, NaN
inf - inf: NaN, 0
pow(0, 0): 1, 0
f16 of 65520: Infinity, Infinity
f16 of 70000: NaN, Infinity
TXT
echo "as described"
