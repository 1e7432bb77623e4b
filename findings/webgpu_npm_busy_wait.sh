#!/usr/bin/env bash
# npm:webgpu, Dawn for Node: waiting for the GPU keeps a processor core busy for as long as the GPU works.
#
# Guess of a good engineer: `await buffer.mapAsync()` and `await queue.onSubmittedWorkDone()` sleep as other awaits do, so a
# process has its core for other work meanwhile, and an idle event loop says so.
# Seen with webgpu 0.6.2 on SwiftShader 5.0.0 (Debian 12's chromium-common): the event loop turns without a pause until the
# result is there, its utilisation is 1.0 where a timer of the same process has 0.0. Tokenizing on that core, or a second
# device, pays for it, and a profile shows a busy main thread where there is nothing to do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq chromium-common libvulkan1 2>/dev/null
for package in *.deb; do dpkg -x "$package" unpacked; done
npm install --silent --no-audit --no-fund webgpu@0.6.2
cat > run.mjs <<'JS'
import { performance } from "node:perf_hooks";
import { setTimeout } from "node:timers/promises";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
const gpu = create([]);
const device = await (await gpu.requestAdapter()).requestDevice();
const module = device.createShaderModule({
  code: `
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  var x = data[id.x];
  for (var i = 0u; i < 1000000u; i++) { x = x * 1664525u + 1013904223u; }
  data[id.x] = x;
}`,
});
const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
const buffer = device.createBuffer({ size: 256, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
const result = device.createBuffer({ size: 256, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
const layout = pipeline.getBindGroupLayout(0);
const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });

async function tell(name, wait) {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(buffer, 0, result, 0, 256);
  device.queue.submit([encoder.finish()]);
  const [time, before] = [performance.now(), performance.eventLoopUtilization()];
  await wait();
  const { utilization } = performance.eventLoopUtilization(before);
  console.log(`${name}: utilisation ${utilization.toFixed(1)}${performance.now() - time < 100 ? ", too short" : ""}`);
}

await tell("onSubmittedWorkDone", () => device.queue.onSubmittedWorkDone());
await tell("timer", () => setTimeout(500));
await device.queue.onSubmittedWorkDone();
await tell("mapAsync", () => result.mapAsync(GPUMapMode.READ));
process.exit(0);
JS
export LD_LIBRARY_PATH=$PWD/unpacked/usr/lib/x86_64-linux-gnu VK_ICD_FILENAMES=$PWD/unpacked/usr/lib/chromium/vk_swiftshader_icd.json
node run.mjs 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
onSubmittedWorkDone: utilisation 1.0
timer: utilisation 0.0
mapAsync: utilisation 1.0
TXT
echo "as described"
