/**
 * Names and versions of Vulkan drivers, which WebGPU does not tell.
 *
 * @module
 */

/** A device of Vulkan and the driver that runs it. */
export interface VulkanDriver {
  /** Name of the device, which is also that of Deno's adapter. */
  readonly device: string;
  /** Name and version of the driver in its own words; empty if it tells neither. */
  readonly driver: string;
}

/** Functions of Vulkan's loader. */
const SYMBOLS = {
  vkCreateInstance: { parameters: ["buffer", "pointer", "buffer"], result: "i32" },
  vkDestroyInstance: { parameters: ["pointer", "pointer"], result: "void" },
  vkEnumeratePhysicalDevices: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
  vkGetPhysicalDeviceProperties2: { parameters: ["pointer", "buffer"], result: "void" },
} as const;

const LIBRARIES: Readonly<Partial<Record<typeof Deno.build.os, string>>> = {
  linux: "libvulkan.so.1",
  windows: "vulkan-1.dll",
};

/** Numbers of the structures that are passed, as in vulkan_core.h. */
const TYPE = { application: 0, instance: 1, properties2: 1000059001, driver: 1000196000 } as const;
/** Version 1.2, the first in which drivers tell their version. */
const API_VERSION = 1 << 22 | 2 << 12;
/** Bytes of the structures on machines with 64-bit addresses, and where their fields begin. */
const APPLICATION = { bytes: 48, apiVersion: 44 } as const;
const INSTANCE = { bytes: 64, application: 24 } as const;
const PROPERTIES = { bytes: 840, next: 8, deviceName: 36 } as const;
const DRIVER = { bytes: 536, name: 20, info: 276 } as const;
const NAME_BYTES = 256;

/**
 * Asks Vulkan's loader, which loads every driver; one that is broken may end the process.
 *
 * @returns Every device with its driver; empty without the loader or without the permission (`--allow-ffi`) to use it.
 */
export function vulkanDrivers(): readonly VulkanDriver[] {
  const library = openLoader();
  if (library === undefined) return [];
  const { symbols } = library;
  try {
    const instance = createInstance(symbols);
    if (instance === null) return [];
    const found = physicalDevices(symbols, instance).map((device) => describe(symbols, device));
    symbols.vkDestroyInstance(instance, null);
    return found;
  } finally {
    library.close();
  }
}

type Loader = Deno.DynamicLibrary<typeof SYMBOLS>;
type Vulkan = Loader["symbols"];

function openLoader(): Loader | undefined {
  const name = LIBRARIES[Deno.build.os];
  try {
    return name === undefined ? undefined : Deno.dlopen(name, SYMBOLS);
  } catch {
    return undefined; // not installed, or not permitted
  }
}

function createInstance(vulkan: Vulkan): Deno.PointerValue {
  const { first, second } = linked({
    first: { bytes: INSTANCE.bytes, type: TYPE.instance, pointer: INSTANCE.application },
    second: { bytes: APPLICATION.bytes, type: TYPE.application },
  });
  second.setUint32(APPLICATION.apiVersion, API_VERSION, true);
  const instance = new BigUint64Array(1);
  const status = vulkan.vkCreateInstance(bytesOf(first), null, instance);
  return status === 0 ? Deno.UnsafePointer.create(instance[0]!) : null;
}

function physicalDevices(vulkan: Vulkan, instance: Deno.PointerValue): Deno.PointerValue[] {
  const count = new Uint32Array(1);
  if (vulkan.vkEnumeratePhysicalDevices(instance, count, null) !== 0) return [];
  const devices = new BigUint64Array(count[0]!);
  if (vulkan.vkEnumeratePhysicalDevices(instance, count, devices) !== 0) return [];
  return [...devices.subarray(0, count[0])].map((device) => Deno.UnsafePointer.create(device));
}

function describe(vulkan: Vulkan, device: Deno.PointerValue): VulkanDriver {
  const { first, second } = linked({
    first: { bytes: PROPERTIES.bytes, type: TYPE.properties2, pointer: PROPERTIES.next },
    second: { bytes: DRIVER.bytes, type: TYPE.driver },
  });
  vulkan.vkGetPhysicalDeviceProperties2(device, bytesOf(first));
  const parts = [textAt(second, DRIVER.name), textAt(second, DRIVER.info)];
  return {
    device: textAt(first, PROPERTIES.deviceName),
    driver: parts.filter((part) => part !== "").join(": "),
  };
}

/** Makes two structures, the first of which points to the second; they share a buffer, so that both live equally long. */
function linked({ first, second }: {
  readonly first: { readonly bytes: number; readonly type: number; readonly pointer: number };
  readonly second: { readonly bytes: number; readonly type: number };
}): { first: DataView<ArrayBuffer>; second: DataView<ArrayBuffer> } {
  const bytes = new Uint8Array(first.bytes + second.bytes);
  const views = {
    first: new DataView(bytes.buffer, 0, first.bytes),
    second: new DataView(bytes.buffer, first.bytes),
  };
  views.first.setUint32(0, first.type, true);
  views.second.setUint32(0, second.type, true);
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)) + BigInt(first.bytes);
  views.first.setBigUint64(first.pointer, address, true);
  return views;
}

function bytesOf({ buffer }: DataView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer);
}

function textAt(view: DataView<ArrayBuffer>, offset: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, NAME_BYTES);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0))).trim();
}
