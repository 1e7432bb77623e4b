/**
 * Installs Mesa from Debian's backports, which are a newer version for an older system.
 *
 * @module
 */

/** What installing touches; replaced in tests. */
export interface BackportsHost {
  /** Whether the user may install packages. */
  readonly isRoot: boolean;
  /** Name of the Debian release; empty on other systems. */
  readonly suite: string;
  /** Whether installing is allowed (`SMALLKV_INSTALL` is not 0). */
  readonly mayInstall: boolean;
  /** Whether apt already knows the backports. */
  knowsBackports(): Promise<boolean>;
  /** Adds a source of packages. */
  addSource(path: string, text: string): Promise<void>;
  /** Runs apt-get; the last line of its errors if that failed. */
  aptGet(args: readonly string[]): Promise<string | undefined>;
  /** Prints one line for the user. */
  say(line: string): void;
}

/** Release whose own Mesa is 22.3; later ones have 25 or newer. */
export const OLD_SUITE = "bookworm";

/** What the backports bring, in a sentence. */
export const OFFER =
  "Mesa 25 from Debian's backports decodes about 5 times as fast as Debian 12's 22.3 and is what Dawn needs: deno task driver --backports installs it";

const BACKPORTS = `${OLD_SUITE}-backports`;
const SOURCE = {
  path: `/etc/apt/sources.list.d/${BACKPORTS}.sources`,
  text: [
    "Types: deb",
    "URIs: http://deb.debian.org/debian",
    `Suites: ${BACKPORTS}`,
    "Components: main",
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
    "",
  ].join("\n"),
};
const PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];

/**
 * Installs Mesa's newest drivers for Debian 12. A source of backports is added where apt knows none; apt takes nothing from
 * it that is not asked for.
 *
 * @returns Whether they are installed; if not, a line has said why.
 */
export async function installBackports(host: BackportsHost): Promise<boolean> {
  const refusal = refusalOf(host);
  if (refusal !== undefined) {
    host.say(`Cannot install Mesa from Debian's backports: ${refusal}`);
    return false;
  }
  if (!await host.knowsBackports()) {
    host.say(`Adding ${SOURCE.path}, from which apt takes only what is asked for`);
    await host.addSource(SOURCE.path, SOURCE.text);
  }
  host.say(`Installing ${PACKAGES.join(" ")} from ${BACKPORTS}`);
  const options = ["-o", "DPkg::Lock::Timeout=300", "-y", "--no-install-recommends"];
  const failure = await host.aptGet(["update"]) ??
    await host.aptGet([...options, "-t", BACKPORTS, "install", ...PACKAGES]);
  if (failure !== undefined) host.say(`Cannot install Mesa from Debian's backports: ${failure}`);
  return failure === undefined;
}

function refusalOf({ suite, isRoot, mayInstall }: BackportsHost): string | undefined {
  if (suite !== OLD_SUITE) {
    return `the system must be Debian 12, ${OLD_SUITE}: current value is ${
      suite || "another system"
    }`;
  }
  if (!mayInstall) return "SMALLKV_INSTALL must allow it: current value is 0";
  return isRoot
    ? undefined
    : "the user must be root: current one is not: sudo apt-get install -t " +
      `${BACKPORTS} ${PACKAGES.join(" ")}, once its source is added as ` +
      "https://backports.debian.org/Instructions/ says";
}

/**
 * Reads which release of Debian this is.
 *
 * @returns Its name; empty on other systems.
 */
export function debianSuite(): string {
  try {
    const text = Deno.readTextFileSync("/etc/os-release");
    return /^ID=debian$/m.test(text) ? /^VERSION_CODENAME=(\w+)$/m.exec(text)?.[1] ?? "" : "";
  } catch {
    return "";
  }
}
