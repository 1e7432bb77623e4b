import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GpuError, RequirementError } from "../../core/check.ts";
import { adapterSummary, openDevice } from "../../gpu/open_device.ts";
import { hasGpu } from "../support/gpu.ts";

Deno.test("openDevice takes WebGPU if there is a hardware adapter, else the CPU", async () => {
  using device = await openDevice();
  const isHardware = (await adapterSummary())?.isSoftware === false;
  assertEquals(device.info.backend, isHardware ? "webgpu" : "cpu");
});

Deno.test("openDevice refuses a back end it does not know", async () => {
  const backend = "cuda" as "webgpu";
  await assertRejects(() => openDevice({ backend }), RequirementError, "current value is cuda");
});

Deno.test("openDevice with 8-bit activations names them, and refuses them elsewhere and other numbers", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0, activationBits: 8 });
  const { activationBits, description } = device.info;
  assertEquals([activationBits, description], [8, "WebAssembly on the CPU, 8-bit activations"]);
  using usual = await openDevice({ backend: "cpu", threads: 0 });
  const { info } = usual;
  assertEquals([info.activationBits, info.description], [16, "WebAssembly on the CPU"]);
  for (const backend of ["webgpu", "reference"] as const) {
    const refused = () => openDevice({ backend, activationBits: 8 });
    await assertRejects(
      refused,
      RequirementError,
      `backend must be cpu: current value is ${backend}`,
    );
  }
  const odd = () => openDevice({ backend: "cpu", activationBits: 4 as 8 });
  await assertRejects(odd, RequirementError, "activationBits must be one of 16, 8");
});

Deno.test("8-bit activations say what is missing where WebAssembly has no relaxed SIMD", async () => {
  const { validate } = WebAssembly;
  // The probe of relaxed instructions is the longer one.
  WebAssembly.validate = (bytes) => bytes.byteLength < 34 && validate(bytes);
  try {
    const refused = () => openDevice({ backend: "cpu", threads: 0, activationBits: 8 });
    await assertRejects(refused, GpuError, "WebAssembly must have relaxed SIMD");
    using _usual = await openDevice({ backend: "cpu", threads: 0 });
  } finally {
    WebAssembly.validate = validate;
  }
});

Deno.test("without an adapter auto takes the CPU, and webgpu says what to install", async () => {
  const backend = Deno.env.get("DENO_WEBGPU_BACKEND");
  Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
  try {
    assertEquals(await adapterSummary(), undefined);
    using device = await openDevice();
    assertEquals(device.info.backend, "cpu");
    const refused = async () =>
      (await assertRejects(() => openDevice({ backend: "webgpu" }), GpuError)).message;
    Deno.env.set("DENO_WEBGPU_BACKEND", "nonsense");
    assertMatch(
      await refused(),
      /^Cannot use a GPU: there must be a WebGPU adapter of the back ends that DENO_WEBGPU_BACKEND names, nonsense: current number is 0: install a Vulkan driver, or choose the CPU/,
    );
    Deno.env.delete("DENO_WEBGPU_BACKEND");
    assertMatch(await refused(), /must be a WebGPU adapter: current number is 0: install/);
  } finally {
    if (backend !== undefined) Deno.env.set("DENO_WEBGPU_BACKEND", backend);
    delete (navigator as { gpu?: GPU }).gpu;
  }
});

Deno.test({
  name: "adapterSummary tells what openDevice then finds",
  ignore: !hasGpu,
  async fn() {
    const summary = (await adapterSummary())!;
    using device = await openDevice({ backend: "webgpu" });
    assertEquals(summary.description, device.info.description);
    assertEquals(summary.isSoftware, device.info.isSoftware);
    assertEquals(summary.maxBindingBytes, device.info.maxBindingBytes);
  },
});
