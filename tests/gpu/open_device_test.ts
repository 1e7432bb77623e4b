import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GpuError, RequirementError } from "../../core/check.ts";
import { askedActivationBits, type Backend } from "../../gpu/device.ts";
import { adapterSummary, openDevice, type OpenDeviceOptions } from "../../gpu/open_device.ts";
import { NEEDED_LIMITS, openGpu } from "../../gpu/webgpu_adapter.ts";
import { gpuBackend, hasGpu } from "../support/gpu.ts";

Deno.test("openDevice takes WebGPU if there is a hardware adapter, else the CPU", async () => {
  using device = await openDevice();
  const isHardware = (await adapterSummary())?.isSoftware === false;
  assertEquals(device.info.backend, isHardware ? "webgpu" : "cpu");
});

Deno.test("openDevice refuses a back end it does not know", async () => {
  const backend = "cuda" as "webgpu";
  await assertRejects(() => openDevice({ backend }), RequirementError, "current value is cuda");
});

Deno.test("openDevice refuses an option that the back end would pass over, and takes it with auto", async () => {
  const given: [OpenDeviceOptions, Backend[]][] = [
    [{ threads: 2 }, ["webgpu", "dawn", "reference"]],
    [{ shapes: { kind: "wide" } }, ["cpu", "reference"]],
    [{ requiredFeatures: ["subgroups"] }, ["cpu", "reference"]],
    [{ activationBits: 8 }, ["reference"]],
  ];
  for (const [options, backends] of given) {
    for (const backend of backends) {
      await assertRejects(
        () => openDevice({ backend, ...options }),
        RequirementError,
        `: current value is ${backend}`,
      );
    }
  }
  const refused = await assertRejects(() => openDevice({ backend: "webgpu", threads: 2 }));
  assertEquals(
    (refused as Error).message,
    "Cannot open a device with a number of threads: the device must be cpu: current value is webgpu",
  );
  using _device = await openDevice({ threads: 0, shapes: { kind: "wide" } });
});

Deno.test("openDevice with 8-bit activations names them, and refuses other numbers, and twins", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0, activationBits: 8 });
  const { activationBits, description } = device.info;
  assertEquals([activationBits, description], [8, "WebAssembly on the CPU, 8-bit activations"]);
  using usual = await openDevice({ backend: "cpu", threads: 0 });
  const { info } = usual;
  assertEquals([info.activationBits, info.description], [16, "WebAssembly on the CPU"]);
  const refused = () => openDevice({ backend: "reference", activationBits: 8 });
  await assertRejects(
    refused,
    RequirementError,
    "the device must be webgpu or dawn or cpu: current value is reference",
  );
  const odd = () => openDevice({ backend: "cpu", activationBits: 4 as 8 });
  await assertRejects(odd, RequirementError, "activationBits must be one of 16, 8");
});

Deno.test({
  name: "openDevice rounds activations on WebGPU only if asked, and names it",
  ignore: !hasGpu,
  async fn() {
    using usual = await openDevice({ backend: gpuBackend });
    assertEquals(usual.info.activationBits, undefined);
    assertEquals(askedActivationBits(usual.info), undefined);
    for (const activationBits of [8, 16] as const) {
      using device = await openDevice({ backend: gpuBackend, activationBits });
      const { info } = device;
      assertEquals(
        info.description,
        `${usual.info.description}, ${activationBits}-bit activations`,
      );
      assertEquals([info.activationBits, askedActivationBits(info)], [
        activationBits,
        activationBits,
      ]);
    }
    const odd = () => openDevice({ backend: gpuBackend, activationBits: 4 as 8 });
    await assertRejects(odd, RequirementError, "activationBits must be one of 16, 8");
  },
});

Deno.test("openGpu() names what an adapter lacks for rounded activations", async () => {
  const limits = NEEDED_LIMITS;
  const info = { vendor: "", architecture: "", device: "old", description: "" };
  const adapter = { info, limits, features: new Set(["timestamp-query"]) } as unknown as GPUAdapter;
  const open = (activationBits: 8 | 16, wgslLanguageFeatures?: ReadonlySet<string>) =>
    openGpu({
      requestAdapter: () => Promise.resolve(adapter),
      ...(wgslLanguageFeatures && { wgslLanguageFeatures }),
    }, { activationBits });
  const refused = async (...given: Parameters<typeof open>) =>
    (await assertRejects(() => open(...given), GpuError)).message;
  assertEquals(
    await refused(16),
    "Cannot use old with 16-bit activations: it must offer shader-f16: current features are timestamp-query: leave out activation bits, or choose the device cpu",
  );
  assertEquals(
    await refused(8),
    "Cannot use old with 8-bit activations: it must offer packed_4x8_integer_dot_product: current features are none: leave out activation bits, or choose the device cpu",
  );
  assertMatch(await refused(8, new Set(["pointer_composite_access"])), /pointer_composite_access:/);
});

Deno.test("the CPU device says what is missing where WebAssembly is, or its vectors are", async () => {
  const { WebAssembly: whole } = globalThis;
  const without = { ...whole, validate: () => false };
  try {
    for (const found of [undefined, without]) {
      Object.defineProperty(globalThis, "WebAssembly", { value: found, configurable: true });
      await assertRejects(
        () => openDevice({ backend: "cpu", threads: 0 }),
        GpuError,
        "WebAssembly must have 128-bit vectors: current support is none: use a newer browser",
      );
    }
  } finally {
    Object.defineProperty(globalThis, "WebAssembly", { value: whole, configurable: true });
  }
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
