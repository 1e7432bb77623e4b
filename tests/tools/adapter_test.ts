import { assertEquals, assertMatch } from "@std/assert";
import { type AdapterHost, ensureAdapter } from "../../tools/adapter.ts";

/** A machine without an adapter until a driver is installed, which remembers what happened. */
function machine(host: Partial<AdapterHost>): { host: AdapterHost; events: string[] } {
  const events: string[] = [];
  let adapter: string | undefined;
  const all: AdapterHost = {
    isRoot: true,
    hasApt: true,
    mayInstall: true,
    findAdapter: () => Promise.resolve(adapter),
    install() {
      events.push("install");
      adapter = "software";
      return Promise.resolve(undefined);
    },
    say: (line) => void events.push(line),
    ...host,
  };
  return { host: all, events };
}

const MISSING = "No WebGPU adapter was found: ";
const PACKAGES = "mesa-vulkan-drivers libvulkan1";
const CONTINUING = "tests of WebGPU are skipped";

Deno.test("ensureAdapter() is silent where an adapter exists", async () => {
  const { host, events } = machine({ findAdapter: () => Promise.resolve("a GPU") });
  assertEquals(await ensureAdapter(host), "a GPU");
  assertEquals(events, []);
});

Deno.test("ensureAdapter() says in one line that it installs a driver, and uses it", async () => {
  const { host, events } = machine({});
  assertEquals(await ensureAdapter(host), "software");
  assertEquals(events, [
    `${MISSING}installing Mesa's software driver (${PACKAGES})`,
    "install",
  ]);
});

Deno.test("ensureAdapter() offers a newer driver after it has installed an older one", async () => {
  const { host, events } = machine({ offer: "there is a newer one" });
  assertEquals(await ensureAdapter(host), "software");
  assertEquals(events.at(-1), "there is a newer one");
  const found = machine({
    offer: "there is a newer one",
    findAdapter: () => Promise.resolve("a GPU"),
  });
  await ensureAdapter(found.host);
  assertEquals(found.events, []);
});

Deno.test("ensureAdapter() installs nothing where that is forbidden or not possible", async () => {
  const cases: [Partial<AdapterHost>, string][] = [
    [{ mayInstall: false }, `SMALLKV_INSTALL=0 forbids apt-get install ${PACKAGES}`],
    [{ isRoot: false }, `install one with sudo apt-get install ${PACKAGES}`],
    [
      { hasApt: false },
      "install a Vulkan driver (Debian: mesa-vulkan-drivers, Fedora: mesa-vulkan-drivers, " +
      "Arch: vulkan-swrast)",
    ],
  ];
  for (const [limits, advice] of cases) {
    const { host, events } = machine(limits);
    assertEquals(await ensureAdapter(host), undefined);
    assertEquals(events, [`${MISSING}${advice}; ${CONTINUING}`]);
  }
});

Deno.test("ensureAdapter() continues when the installation fails", async () => {
  const { host, events } = machine({ install: () => Promise.resolve("apt-get update failed (x)") });
  assertEquals(await ensureAdapter(host), undefined);
  assertEquals(events[1], `Cannot install ${PACKAGES}: apt-get update failed (x); ${CONTINUING}`);
});

Deno.test("ensureAdapter() names a back end that does not exist, and installs nothing for it", async () => {
  const { host, events } = machine({ backend: "nonsense" });
  assertEquals(await ensureAdapter(host), undefined);
  assertMatch(
    events.join(),
    /^Cannot use a GPU: DENO_WEBGPU_BACKEND must be among vulkan, .*: current value is nonsense; tests/,
  );
  const known = machine({ backend: "Vulkan,gl" });
  assertEquals(await ensureAdapter(known.host), "software");
});

Deno.test("ensureAdapter() announces no other device to a command that needs an adapter", async () => {
  const { host, events } = machine({ isRequired: true, isRoot: false });
  assertEquals(await ensureAdapter(host), undefined);
  assertEquals(events, [`${MISSING}install one with sudo apt-get install ${PACKAGES}`]);
});
