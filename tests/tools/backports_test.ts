import { assertEquals, assertMatch } from "@std/assert";
import { type BackportsHost, installBackports } from "../../tools/backports.ts";

const PACKAGES = "mesa-vulkan-drivers libvulkan1";

/** A Debian 12 whose user is root, which remembers what happened. */
function machine(host: Partial<BackportsHost>): { host: BackportsHost; events: string[] } {
  const events: string[] = [];
  const all: BackportsHost = {
    isRoot: true,
    suite: "bookworm",
    mayInstall: true,
    knowsBackports: () => Promise.resolve(false),
    addSource(path, text) {
      events.push(`add ${path}: ${/^Suites: .*$/m.exec(text)?.[0]}`);
      return Promise.resolve();
    },
    aptGet(args) {
      events.push(`apt-get ${args.filter((word) => !word.startsWith("DPkg")).join(" ")}`);
      return Promise.resolve(undefined);
    },
    say: (line) => void events.push(line),
    ...host,
  };
  return { host: all, events };
}

const INSTALLED = [
  `Installing ${PACKAGES} from bookworm-backports`,
  "apt-get update",
  `apt-get -o -y --no-install-recommends -t bookworm-backports install ${PACKAGES}`,
];

Deno.test("installBackports() adds the source where apt has none, and says so", async () => {
  const path = "/etc/apt/sources.list.d/bookworm-backports.sources";
  const { host, events } = machine({});
  assertEquals(await installBackports(host), true);
  assertEquals(events, [
    `Adding ${path}, from which apt takes only what is asked for`,
    `add ${path}: Suites: bookworm-backports`,
    ...INSTALLED,
  ]);
  const known = machine({ knowsBackports: () => Promise.resolve(true) });
  assertEquals(await installBackports(known.host), true);
  assertEquals(known.events, INSTALLED);
});

Deno.test("installBackports() changes nothing on other systems, for other users, or where forbidden", async () => {
  const cases: [Partial<BackportsHost>, RegExp][] = [
    [{ suite: "trixie" }, /system must be Debian 12, bookworm: current value is trixie$/],
    [{ suite: "" }, /system must be Debian 12, bookworm: current value is another system$/],
    [
      { isRoot: false },
      /user must be root: current one is not: sudo apt-get install -t bookworm-b/,
    ],
    [{ mayInstall: false }, /SMALLKV_INSTALL must allow it: current value is 0$/],
  ];
  for (const [limits, text] of cases) {
    const { host, events } = machine(limits);
    assertEquals(await installBackports(host), false);
    assertEquals(events.length, 1);
    assertMatch(events[0]!, text);
    assertMatch(events[0]!, /^Cannot install Mesa from Debian's backports: /);
  }
});

Deno.test("installBackports() tells why apt failed", async () => {
  const { host, events } = machine({
    aptGet: () => Promise.resolve("apt-get update failed (no network)"),
  });
  assertEquals(await installBackports(host), false);
  assertEquals(
    events.at(-1),
    "Cannot install Mesa from Debian's backports: apt-get update failed (no network)",
  );
});
