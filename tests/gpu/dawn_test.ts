/**
 * What can go wrong before Dawn computes, on made-up machines, and what it prints past JavaScript.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };
import { GpuError } from "../../core/check.ts";
import { captureStderr } from "../../gpu/captured_stderr.ts";
import {
  DAWN_PACKAGE,
  type DawnHost,
  type DawnLibrary,
  DRIVER_EVENT,
  loadDawn,
  noAdapter,
} from "../../gpu/dawn.ts";
import { NEEDED_LIMITS, openGpu } from "../../gpu/webgpu_adapter.ts";

/** What Dawn prints where it refuses a driver, and where it does not. */
const REFUSED =
  "Warning: Vulkan shaderUniform*ArrayDynamicIndexing required.\n - While initializing adapter (backend=BackendType::Vulkan)\n    at InitializeImpl (PhysicalDeviceVk.cpp:257)\n";
const REDUCED =
  "Warning: maxDynamicUniformBuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit dynamic offset allocation limit.\n";

/** A machine on which Dawn prints a text while it looks for adapters. */
function machine(
  { adapter = null, printed = "", load }: {
    readonly adapter?: GPUAdapter | null;
    readonly printed?: string;
    readonly load?: () => Promise<DawnLibrary>;
  },
) {
  const shown: string[] = [];
  let pending = "";
  const gpu = {
    requestAdapter: () => {
      pending = printed;
      return Promise.resolve(adapter);
    },
  };
  const host: DawnHost = {
    platform: "linux riscv64",
    load: load ?? (() => Promise.resolve({ create: () => gpu })),
    capture(call) {
      const result = call();
      const text = pending;
      pending = "";
      return { result, text };
    },
    print: (text) => void shown.push(text),
  };
  return { host, shown };
}

/** Limits, features and names of an adapter, and how it answers a request for a device. */
function adapterWith(
  { limits = {}, features = [], refuse }: {
    readonly limits?: Readonly<Record<string, number>>;
    readonly features?: readonly string[];
    readonly refuse?: string;
  },
): GPUAdapter {
  return {
    limits: { ...NEEDED_LIMITS, ...limits },
    features: new Set(features),
    info: { vendor: "v", architecture: "a", device: "made-up-gpu", description: "" },
    requestDevice: () => Promise.reject(new TypeError(refuse ?? "no device")),
  } as unknown as GPUAdapter;
}

async function loadFailure(error: Error): Promise<string> {
  const { host } = machine({ load: () => Promise.reject(error) });
  return (await assertRejects(() => loadDawn(host), GpuError)).message;
}

Deno.test("loadDawn() says what to do without a library, without a permission, and else", async () => {
  const missing = new Error("Cannot find module '/w/dist/linux-riscv64/dawn.node'\nRequire stack:");
  assertMatch(
    await loadFailure(missing),
    /^Cannot use Dawn: npm:webgpu@\S+ must have a library for this platform: current value is linux riscv64: choose the device webgpu or cpu$/,
  );
  const forbidden = new Error('Requires ffi access to "/w/dawn.node"');
  forbidden.name = "NotCapable";
  assertMatch(
    await loadFailure(forbidden),
    /^Cannot use Dawn: the process must have the permission .*: start it with --allow-ffi$/,
  );
  assertMatch(
    await loadFailure(new Error("libstdc++.so.6: version\n  `GLIBCXX_3.4.32' not found")),
    /^Cannot use Dawn: npm:webgpu@\S+ must load: libstdc\+\+\.so\.6: version; `GLIBCXX_3\.4\.32' not found: choose/,
  );
});

Deno.test("a driver that Dawn refuses is told by its reason, with the way to a newer one", async () => {
  const { host, shown } = machine({ printed: REDUCED + REFUSED });
  const dawn = await loadDawn(host);
  assertEquals(await openGpu(dawn, { backend: "dawn" }), undefined);
  assertMatch(
    noAdapter(dawn.warnings).message,
    /^Cannot use Dawn: a driver must have Vulkan shaderUniform\*ArrayDynamicIndexing: the current one has not: install a newer one, on Debian 12 by deno task driver --backports, or choose/,
  );
  assertEquals(shown, []);
  assertMatch(
    noAdapter([]).message,
    /^Cannot use Dawn: there must be a driver .*: current number is 0: install one, or choose/,
  );
});

Deno.test("loadDawn() keeps warnings from standard error, and nothing else", async () => {
  const { host, shown } = machine({
    printed: `${REDUCED}Error: heap is corrupt\n${REFUSED}more\n`,
  });
  const dawn = await loadDawn(host);
  await dawn.requestAdapter();
  assertEquals(shown, ["Error: heap is corrupt\nmore\n"]);
  assertEquals(dawn.warnings.length, 2);
});

Deno.test("loadDawn() tells a supervisor before the driver can end the process", async () => {
  let heard = 0;
  const listener = () => void (heard += 1);
  addEventListener(DRIVER_EVENT, listener);
  try {
    await loadDawn(machine({}).host);
    await loadFailure(new Error("no library, no driver"));
  } finally {
    removeEventListener(DRIVER_EVENT, listener);
  }
  assertEquals(heard, 1);
});

Deno.test("the version that is loaded without an import map is that of the import map", () => {
  assertEquals(configuration.imports.webgpu, DAWN_PACKAGE);
});

Deno.test("the package of Dawn is no part of what programs and browsers load", async () => {
  for (const entry of ["mod.ts", "cli.ts"]) {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", fileURLToPath(new URL(`../../${entry}`, import.meta.url))],
    }).output();
    const { modules }: { readonly modules: readonly Record<"specifier" | "npmPackage", string>[] } =
      JSON.parse(new TextDecoder().decode(stdout));
    const isDawn = ({ specifier }: { specifier: string }) => specifier.endsWith("/gpu/dawn.ts");
    assertEquals(modules.some(isDawn), true);
    const packages = modules.flatMap(({ npmPackage }) => npmPackage ?? []);
    assertEquals(packages.some((name) => name.startsWith("@huggingface/jinja@")), true);
    assertEquals(packages.filter((name) => name.startsWith("webgpu@")), []);
  }
});

Deno.test("openGpu() refuses adapters that lack limits, features or a device, in one line", async () => {
  const refusal = async (
    adapter: GPUAdapter,
    options: Parameters<typeof openGpu>[1] = { backend: "dawn" },
  ) => {
    const dawn = await loadDawn(machine({ adapter }).host);
    return (await assertRejects(() => openGpu(dawn, options), GpuError)).message;
  };
  assertEquals(
    await refusal(adapterWith({ limits: { maxStorageBuffersPerShaderStage: 4 } })),
    "Cannot use v a made-up-gpu: its maxStorageBuffersPerShaderStage must be at least 8: current value is 4: install a newer driver, or choose the device cpu",
  );
  const matrices = "chromium-experimental-subgroup-matrix";
  assertEquals(
    await refusal(adapterWith({ features: ["subgroups", "shader-f16"] }), {
      backend: "dawn",
      requiredFeatures: [matrices],
    }),
    `Cannot use v a made-up-gpu: it must offer ${matrices}: current features are shader-f16, subgroups: leave it out of requiredFeatures, or install a driver that has it`,
  );
  assertEquals(
    await refusal(adapterWith({ refuse: "Invalid feature required\n - While validating" })),
    "Cannot use a GPU: its driver must grant a device: Invalid feature required; - While validating: install a newer driver, or choose the device cpu",
  );
});

Deno.test("openGpu() asks for what an adapter lists, and tells what subgroups can multiply", async () => {
  const matrices = "chromium-experimental-subgroup-matrix";
  const asked: (readonly string[])[] = [];
  const shape = { M: 8, N: 8, K: 8, componentType: "f16", resultComponentType: "f32" };
  const device = {
    limits: NEEDED_LIMITS,
    pushErrorScope() {},
    createShaderModule() {},
    popErrorScope: () => Promise.resolve(null),
  };
  const adapter = {
    ...adapterWith({ features: ["shader-f16", "depth-clip-control", matrices] }),
    info: {
      ...{ vendor: "v", architecture: "a", device: "gpu", description: "driver 1.2" },
      ...{ subgroupMinSize: 32, subgroupMaxSize: 32, subgroupMatrixConfigs: [shape] },
    },
    requestDevice({ requiredFeatures }: { readonly requiredFeatures: readonly string[] }) {
      asked.push(requiredFeatures);
      // The first request is refused, so that fewer features are asked for.
      return asked.length === 1 ? Promise.reject(new TypeError("no")) : Promise.resolve(device);
    },
  } as unknown as GPUAdapter;
  const dawn = await loadDawn(machine({ adapter }).host);
  const fewer = await openGpu(dawn, { backend: "dawn" });
  assertEquals(asked, [["subgroups", "shader-f16", matrices], ["subgroups"]]);
  assertEquals(fewer!.info.features, ["subgroups"]);
  const { info } = (await openGpu(dawn, { backend: "dawn" }))!;
  assertEquals(info.features, [matrices, "shader-f16", "subgroups"]);
  assertEquals(info.subgroupMatrices, [shape]);
  assertEquals([info.description, info.driver, info.subgroupSize], ["gpu", "driver 1.2", 32]);
});

Deno.test({
  name: "captureStderr() catches what is written past console, and gives the stream back",
  ignore: Deno.build.os === "windows",
  fn() {
    const library = Deno.build.os === "darwin" ? "libSystem.B.dylib" : "libc.so.6";
    const libc = Deno.dlopen(library, {
      write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    });
    const line = new TextEncoder().encode("from below\n");
    const write = () => Number(libc.symbols.write(2, line, BigInt(line.length)));
    assertEquals(captureStderr(write), { result: 11, text: "from below\n" });
    const fail = () => {
      throw new RangeError("kept");
    };
    assertThrows(() => captureStderr(fail), RangeError, "kept");
    assertEquals(captureStderr(() => 7), { result: 7, text: "" });
    libc.close();
  },
});
