import { dirname, join } from "node:path";
import { assertEquals } from "@std/assert";
import { type CommandSurroundings, permissionFlags } from "../../tools/permissions.ts";

const BASE = ["--allow-read=/lab/data/embedded", "--allow-read=/lab/.git"];
const OWN = ["CI", "SMALLKV_EXIT_FILE", "SMALLKV_DRIVERS"].map((name) => `--allow-env=${name}`);

/** Flags of a command line in a checkout at `/lab`, without those that every command has. */
function flagsOf(line: string, more: Partial<CommandSurroundings> = {}): string[] {
  const [command, ...words] = line.split(" ");
  const all = permissionFlags({
    command: command!,
    words,
    root: "/lab",
    exitFile: "/x/exit",
    chromium: undefined,
    env: new Map([["HOME", "/home/u"]]),
    ...more,
  });
  assertEquals(all[0], "--no-prompt");
  const usual = [...BASE, ...OWN, "--allow-write=/x/exit"];
  const isGiven = (flag: string) => all.includes(flag) || all.includes(flag.split("=")[0]!);
  for (const flag of usual) assertEquals(isGiven(flag), true, flag);
  return all.filter((flag) => flag !== "--no-prompt" && !usual.includes(flag));
}

Deno.test("permissionFlags() allows what the words of a command name, and nothing else", () => {
  assertEquals(flagsOf("info"), []);
  assertEquals(flagsOf("info /m/a.gguf"), ["--allow-read=/m/a.gguf"]);
  assertEquals(flagsOf("info /m/a/model.safetensors"), ["--allow-read=/m/a"]);
  assertEquals(flagsOf("info /m/a-00002-of-00003.gguf"), ["--allow-read=/m"]);
  assertEquals(flagsOf("info http://h:8000/m/"), ["--allow-net=h:8000"]);
  assertEquals(flagsOf("info file:///m/a%20b.gguf"), ["--allow-read=/m/a b.gguf"]);
  assertEquals(flagsOf("generate --large /m/l.gguf --small=/m/s --json"), [
    "--allow-read=/m/l.gguf",
    "--allow-read=/m/s",
  ]);
  assertEquals(flagsOf("match --tokens /t.json --out /o/new/m.json"), [
    ...["--allow-read=/t.json", "--allow-read=/o/new/m.json", "--allow-read=/o/new"],
    "--allow-write=/o/new",
  ]);
  // Commas cannot be escaped; a text is no file.
  assertEquals(flagsOf("generate --prompt a,b"), []);
});

Deno.test("permissionFlags() lets a command write what a link names", async () => {
  const folder = await Deno.makeTempDir();
  const [link, disk] = [join(folder, "m.json"), join(folder, "disk")];
  await Deno.mkdir(disk);
  await Deno.writeTextFile(join(disk, "m.json"), "");
  await Deno.symlink(join(disk, "m.json"), link);
  const written = flagsOf(`match --out ${link}`).filter((flag) => flag.startsWith("--allow-write"));
  assertEquals(written, [`--allow-write=${await Deno.realPath(disk)}`]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("permissionFlags() allows native libraries for Dawn alone", () => {
  assertEquals(flagsOf("info --device dawn"), ["--allow-read=dawn", "--allow-ffi"]);
  assertEquals(flagsOf("info --device=dawn"), ["--allow-read=dawn", "--allow-ffi"]);
  for (const device of ["webgpu", "cpu", "auto"]) {
    assertEquals(flagsOf(`info --device=${device}`).includes("--allow-ffi"), false);
  }
});

Deno.test("permissionFlags() lets evaluate read the code and fill its folders", () => {
  const usual = flagsOf("evaluate --shard 3/16");
  const fills = (flags: readonly string[], folder: string) =>
    ["read", "write"].every((kind) => flags.includes(`--allow-${kind}=${folder}`));
  assertEquals(fills(usual, "results/evaluation") && usual.includes("--allow-read=/lab"), true);
  assertEquals(fills(flagsOf("evaluate gsm8k --out /o"), "/o"), true);
  assertEquals(fills(flagsOf("evaluate --regrade /o"), "/o"), true);
  const merged = flagsOf("evaluate --merge /a /b --out /o");
  assertEquals(merged.includes("--allow-read=/a") && !merged.includes("--allow-write=/a"), true);
});

Deno.test("permissionFlags() takes the folder around a path with a comma, and names for what they are", async () => {
  const before = Deno.cwd();
  const folder = await Deno.makeTempDir({ prefix: "a,b" });
  try {
    Deno.chdir(folder);
    await Deno.writeTextFile("m.gguf", "");
    assertEquals(flagsOf("info m.gguf"), [`--allow-read=${dirname(folder)}`]);
  } finally {
    Deno.chdir(before);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("permissionFlags() allows the cache and the hosts of the hub for a model of it", () => {
  const flags = flagsOf("info hf:o/n");
  const isVariable = (flag: string) => flag.startsWith("--allow-env=");
  assertEquals(flags.filter((flag) => !isVariable(flag)), [
    "--allow-read=/home/u/.cache/huggingface/hub",
    "--allow-read=/home/u/.cache/huggingface/hub/../token",
    "--allow-write=/home/u/.cache/huggingface/hub",
    "--allow-net=*.huggingface.co",
    "--allow-net=*.hf.co",
  ]);
  assertEquals(flags.filter(isVariable).includes("--allow-env=HF_TOKEN"), true);
  const env = new Map([["HF_HOME", "/c"], ["HF_ENDPOINT", "https://mirror"]]);
  const other = flagsOf("info hf:o/n", { env });
  assertEquals(other.filter((flag) => !isVariable(flag)), [
    ...["--allow-read=/c/hub", "--allow-read=/c/token", "--allow-write=/c/hub", "--allow-net"],
  ]);
  assertEquals(flagsOf("info hf:o/n", { env: new Map() }).filter((flag) => !isVariable(flag)), [
    ...["--allow-net=*.huggingface.co", "--allow-net=*.hf.co"],
  ]);
});

Deno.test("permissionFlags() lets reproduce alone read the code and start a Chromium", () => {
  const env = new Map([["SMALLKV_DATA", "/d"]]);
  const plain = flagsOf("reproduce --out /o", { env });
  const paths = plain.filter((flag) => /read|write/.test(flag));
  assertEquals(paths, [
    ...["--allow-read=/o", "--allow-read=/lab", "--allow-read=/d", "--allow-write=/o"],
  ]);
  assertEquals(plain.some((flag) => /run|sys|net/.test(flag)), false);
  const drawn = flagsOf("reproduce --out /o", { chromium: "/usr/bin/chromium" });
  assertEquals(drawn.filter((flag) => /^--allow-(run|sys)/.test(flag)), [
    ...["--allow-sys=homedir", "--allow-sys=osRelease", "--allow-sys=uid"],
    "--allow-run=/usr/bin/chromium",
  ]);
  assertEquals(flagsOf("generate", { chromium: "/usr/bin/chromium" }), []);
});

Deno.test("permissionFlags() allows a queue its host, and a worker the code and the datasets", () => {
  const flags = flagsOf("worker --queue nats://u:p@head --queue-credentials /c", {
    env: new Map([["SMALLKV_DATA", "/d"]]),
  });
  assertEquals(flags.filter((flag) => !flag.startsWith("--allow-env=")), [
    ...["--allow-read=/c", "--allow-read=/lab", "--allow-read=/d", "--allow-net=head:4222"],
  ]);
  assertEquals(flagsOf("evaluate --queue=tls://h:1 --out /o").includes("--allow-net=h:1"), true);
  const none = flagsOf("evaluate --queue nats:// --out /o --data /d");
  assertEquals(none.some((flag) => flag.startsWith("--allow-net")), false);
});

Deno.test("permissionFlags() lets reproduce download datasets where no folder is named", () => {
  const net = (line: string) => flagsOf(line).filter((flag) => /net|write/.test(flag));
  assertEquals(net("reproduce --out /o"), [
    ...["--allow-write=/o", "--allow-write=/home/u/.cache/huggingface/hub/smallkv-data"],
    "--allow-net=raw.githubusercontent.com",
  ]);
  assertEquals(net("reproduce --out /o --data /d"), ["--allow-write=/o"]);
  assertEquals(net("reproduce --out /o --data=/d"), ["--allow-write=/o"]);
});
