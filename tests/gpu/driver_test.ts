import { assertEquals, assertMatch } from "@std/assert";
import { driverEntry, driverOf } from "../../gpu/driver.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { vulkanDrivers } from "../../gpu/vulkan_drivers.ts";
import { gpuBackend, hasGpu } from "../support/gpu.ts";

const MESA = { device: "llvmpipe", driver: "llvmpipe: Mesa 22.3.6" };
const NVIDIA = { device: "NVIDIA H200", driver: "NVIDIA: 570.86" };

Deno.test("driverOf() names a driver only where the adapter's name leaves no doubt", () => {
  assertEquals(driverOf("llvmpipe", [NVIDIA, MESA]), "llvmpipe: Mesa 22.3.6");
  assertEquals(driverOf("NVIDIA H200", [NVIDIA, NVIDIA, MESA]), "NVIDIA: 570.86");
  const newer = { ...MESA, driver: "llvmpipe: Mesa 25.0.7" };
  assertEquals(driverOf("llvmpipe", [MESA, newer]), undefined);
  assertEquals(driverOf("Apple M1", [MESA]), undefined);
  assertEquals(driverOf("llvmpipe", [{ ...MESA, driver: "" }]), undefined);
});

Deno.test("driverEntry() says so where a driver is not known, and nothing where none computes", () => {
  assertEquals(driverEntry({ backend: "webgpu" }), { driver: "unknown version" });
  assertEquals(driverEntry({ backend: "dawn", driver: "a 1" }), { driver: "a 1" });
  assertEquals(driverEntry({ backend: "cpu" }), {});
});

Deno.test({
  name: "a device names the driver and the version that Vulkan tells",
  ignore: !hasGpu || Deno.build.os !== "linux",
  async fn() {
    using device = await openDevice({ backend: gpuBackend });
    const { driver, description } = device.info;
    const found = vulkanDrivers();
    const names = found.map((one) => one.driver);
    if (gpuBackend === "webgpu") {
      assertEquals(driver, driverOf(description, found));
    } else {
      assertEquals(names.some((name) => driver!.startsWith(name)), true, `${driver} of ${names}`);
    }
    assertMatch(names.join(), /\d+\.\d+/);
  },
});
