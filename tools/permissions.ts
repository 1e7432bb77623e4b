/**
 * What a command may do: flags of `deno run` that follow from its arguments and the environment.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DataError, RequirementError } from "../core/check.ts";
import type { Backend } from "../gpu/device.ts";
import { DRIVERS_VARIABLE } from "../gpu/driver.ts";
import { parseQueueAddress } from "../evaluation/queue/address.ts";
import { CACHE_VARIABLES, tunedFolder } from "../experiments/runner/tuned_shapes.ts";
import { partNames } from "../models/files/split_names.ts";
import { DATA_FOLDER, DATA_HOST } from "../models/hub/hub_datasets.ts";
import { HUB_VARIABLES, hubPlaces } from "../models/hub/hub_settings.ts";
import { EXIT_VARIABLE } from "./supervise.ts";

/** A command and what it runs beside. */
export interface CommandSurroundings {
  /** Name of the command. */
  readonly command: string;
  /** Words after its name. */
  readonly words: readonly string[];
  /** Top folder of the checkout. */
  readonly root: string;
  /** File in which the command records how it ended. */
  readonly exitFile: string;
  /** Chromium that draws figures; undefined if there is none. */
  readonly chromium: string | undefined;
  /** Its environment. */
  readonly env: Pick<Deno.Env, "get">;
}

/** Values by kind of permission; an empty list forbids it, and `all` has no limit. */
type Permissions = Readonly<
  Record<"read" | "write" | "env" | "net" | "sys" | "run" | "ffi", Set<string>>
>;

/** Folders of commands that fill one, where `--out` names no other. */
const USUAL_FOLDERS: Readonly<Record<string, string>> = {
  reproduce: "results",
  evaluate: "results/evaluation",
};
/** Stands for every value of a permission. */
const ALL = "";
/** Longer words are texts, not paths. */
const MAX_PATH = 4096;
/** Where Playwright looks for the kind of system, which it need not know. */
const UNSEEN: readonly string[] = [
  ...["/etc/os-release", "/proc/version", "/proc/sys/fs/binfmt_misc/WSLInterop", "/run/WSL"],
];
/** Where the hub keeps files, beside the host that answers for it. */
const HUB_HOSTS: readonly string[] = ["*.huggingface.co", "*.hf.co"];

/**
 * Flags with which a command does its work, and nothing else.
 *
 * Every command may read the embedded pair, the commit of the checkout and what its words name, and write where
 * `--out` and `--regrade` say. `hf:` adds the cache of the hub and the network, an address its host. `reproduce`,
 * `evaluate` and `worker` may also read the code, whose hash decides what is measured again, and read the datasets or,
 * where no folder is named, download them. The first two start Chromium, which needs the environment and temporary folders.
 * `--device dawn` loads a native library, which may do everything.
 *
 * @returns Flags of `deno run`; without them Deno refuses, and never asks.
 */
export function permissionFlags(surroundings: CommandSurroundings): string[] {
  const { command, words, root, exitFile } = surroundings;
  const all: Permissions = {
    read: new Set([join(root, "data/embedded"), ...gitFolders(root)]),
    write: new Set([exitFile]),
    env: new Set(["CI", EXIT_VARIABLE, DRIVERS_VARIABLE]),
    net: new Set(),
    sys: new Set(),
    run: new Set(),
    ffi: new Set(usesDevice(words, "dawn") ? [ALL] : []),
  };
  for (const word of words) addWord(all, word.replace(/^--[\w-]+=/, ""), surroundings);
  if (/ --shapes[= ]tuned( |$)/.test(` ${words.join(" ")}`)) addTuned(all, surroundings);
  const usual = USUAL_FOLDERS[command];
  const isFolder = usual !== undefined;
  for (const out of outputs(words, usual)) {
    const folder = isFolder ? out : dirname(linkedFile(out));
    for (const kind of ["read", "write"] as const) all[kind].add(folder);
  }
  if (isFolder || command === "worker") addMeasuring(all, surroundings);
  const unseen = all.run.size === 0 ? [] : [`--ignore-read=${UNSEEN.join(",")}`];
  const allowed = Object.entries(all).flatMap(([kind, values]) => flags(kind, values));
  return ["--no-prompt", ...unseen, ...allowed];
}

/**
 * Whether `--device` names a back end, alone or in a list.
 *
 * @param words Words of a command line.
 */
export function usesDevice(words: readonly string[], name: Backend): boolean {
  return words.some((word, at) => {
    const value = word === "--device" ? words[at + 1] : /^--device=(.*)$/.exec(word)?.[1];
    return value?.split(",").includes(name) ?? false;
  });
}

function flags(kind: string, values: ReadonlySet<string>): string[] {
  if (values.has(ALL)) return [`--allow-${kind}`];
  const isPath = kind === "read" || kind === "write" || kind === "run";
  return [...values].map((value) => `--allow-${kind}=${isPath ? withoutComma(value) : value}`);
}

/** A comma separates values and cannot be escaped, so that what lies around such a path must do. */
function withoutComma(value: string): string {
  const first = resolve(value).split(/[/\\]/).findIndex((part) => part.includes(","));
  if (first < 0) return value;
  return resolve(value).split(/[/\\]/).slice(0, first).join("/") || "/";
}

/** What a word of the command line may name: a file or folder, an address, a model of the hub. */
function addWord(all: Permissions, word: string, { env }: CommandSurroundings): void {
  if (word === "" || word.startsWith("-") || word.length > MAX_PATH) return;
  if (word.startsWith("hf:")) return addHub(all, env);
  const url = /^(https?|file|nats|tls):/.test(word) ? URL.parse(word) : null;
  if (url?.protocol === "nats:" || url?.protocol === "tls:") return addQueue(all, word);
  if (url !== null && url.protocol !== "file:") return void all.net.add(url.host);
  const path = url === null ? word : fileURLToPath(url);
  if (path.includes(",") && !existsSync(path)) return;
  const hasNeighbors = /\.(safetensors|index\.json)$/i.test(path) || partNames(path).length > 1;
  all.read.add(hasNeighbors ? dirname(path) : path);
}

/** The folder of `deno task tune`. */
function addTuned(all: Permissions, { env }: CommandSurroundings): void {
  for (const name of CACHE_VARIABLES) all.env.add(name);
  try {
    all.read.add(tunedFolder(env));
  } catch (error) {
    // The command says what the environment lacks.
    if (!(error instanceof DataError)) throw error;
  }
}

function addQueue(all: Permissions, address: string): void {
  try {
    all.net.add(parseQueueAddress(address).host);
  } catch (error) {
    // The command says what is wrong with it.
    if (!(error instanceof RequirementError)) throw error;
  }
}

function addHub(all: Permissions, env: CommandSurroundings["env"]): void {
  addHubCache(all, env);
  // Another hub may keep its files on any host.
  for (const host of env.get("HF_ENDPOINT") ? [ALL] : HUB_HOSTS) all.net.add(host);
}

/** The cache of the hub, or a folder in it, and what the hub's client reads. */
function addHubCache(all: Permissions, env: CommandSurroundings["env"], folder = ""): void {
  for (const name of HUB_VARIABLES) all.env.add(name);
  try {
    const { cacheFolder, tokenFile } = hubPlaces(env);
    for (const kind of ["read", "write"] as const) all[kind].add(join(cacheFolder, folder));
    all.read.add(tokenFile);
  } catch (error) {
    // The command says what the environment lacks.
    if (!(error instanceof DataError)) throw error;
  }
}

/** The folder of the datasets, or the part of the cache to which they are downloaded. */
function addData(all: Permissions, { words, env }: CommandSurroundings): void {
  all.env.add("SMALLKV_DATA");
  const data = env.get("SMALLKV_DATA");
  if (data) all.read.add(data);
  if (data || words.some((word) => /^--data(=|$)/.test(word))) return;
  addHubCache(all, env, DATA_FOLDER);
  all.net.add(DATA_HOST);
}

function addMeasuring(all: Permissions, surroundings: CommandSurroundings): void {
  const { root, chromium } = surroundings;
  all.read.add(root);
  addData(all, surroundings);
  for (const name of ["SMALLKV_CHROMIUM", "CHROMIUM_PATH", "PATH"]) all.env.add(name);
  if (chromium === undefined) return;
  all.env.add(ALL);
  for (const name of ["homedir", "osRelease", "uid"]) all.sys.add(name);
  all.run.add(chromium);
  for (const kind of ["read", "write"] as const) all[kind].add(tmpdir());
  all.read.add(chromium);
}

/** Values of `--out` and `--regrade`, or the usual folder. */
function outputs(words: readonly string[], usual: string | undefined): string[] {
  const found = words.flatMap((word, at) =>
    /^--(?:out|regrade)$/.test(word)
      ? words[at + 1] ?? []
      : /^--(?:out|regrade)=(.+)$/.exec(word)?.[1] ?? []
  );
  return found.length > 0 || usual === undefined ? found : [usual];
}

/** What a link to a file names, which is written in its place; any other path as it is. */
function linkedFile(path: string): string {
  try {
    return Deno.lstatSync(path).isSymlink ? Deno.realPathSync(path) : path;
  } catch {
    return path;
  }
}

/** Where the commit of a checkout is written down: a linked worktree shares it with others. */
function gitFolders(root: string): string[] {
  const path = join(root, ".git");
  try {
    const linked = /^gitdir: (.+)$/m.exec(Deno.readTextFileSync(path))?.[1];
    return linked === undefined ? [path] : [path, resolve(root, linked, "../..")];
  } catch {
    return [path];
  }
}
