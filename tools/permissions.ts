/**
 * What a command may do: flags of `deno run` that follow from its arguments and the environment.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DataError } from "../core/check.ts";
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
type Permissions = Readonly<Record<"read" | "write" | "env" | "net" | "sys" | "run", Set<string>>>;

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
 * `--out` says. `hf:` adds the cache of the hub and the network, an address its host. `reproduce` may also read the
 * code, whose hash decides what is measured again, read the datasets, and start Chromium, which needs the environment
 * and temporary folders.
 *
 * @returns Flags of `deno run`; without them Deno refuses, and never asks.
 */
export function permissionFlags(surroundings: CommandSurroundings): string[] {
  const { command, words, root, exitFile } = surroundings;
  const all: Permissions = {
    read: new Set([join(root, "data/embedded"), ...gitFolders(root)]),
    write: new Set([exitFile]),
    env: new Set(["CI", EXIT_VARIABLE]),
    net: new Set(),
    sys: new Set(),
    run: new Set(),
  };
  for (const word of words) addWord(all, word.replace(/^--[\w-]+=/, ""), surroundings);
  const isFolder = command === "reproduce";
  for (const out of outputs(words, isFolder ? "results" : undefined)) {
    for (const kind of ["read", "write"] as const) all[kind].add(isFolder ? out : dirname(out));
  }
  if (command === "reproduce") addReproduce(all, surroundings);
  const unseen = all.run.size === 0 ? [] : [`--ignore-read=${UNSEEN.join(",")}`];
  const allowed = Object.entries(all).flatMap(([kind, values]) => flags(kind, values));
  return ["--no-prompt", ...unseen, ...allowed];
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
  const url = /^(https?|file):/.test(word) ? URL.parse(word) : null;
  if (url !== null && url.protocol !== "file:") return void all.net.add(url.host);
  const path = url === null ? word : fileURLToPath(url);
  if (path.includes(",") && !existsSync(path)) return;
  all.read.add(/\.(safetensors|index\.json)$/i.test(path) ? dirname(path) : path);
}

function addHub(all: Permissions, env: CommandSurroundings["env"]): void {
  for (const name of HUB_VARIABLES) all.env.add(name);
  try {
    const { cacheFolder, tokenFile } = hubPlaces(env);
    for (const kind of ["read", "write"] as const) all[kind].add(cacheFolder);
    all.read.add(tokenFile);
  } catch (error) {
    // The command says what the environment lacks.
    if (!(error instanceof DataError)) throw error;
  }
  // Another hub may keep its files on any host.
  for (const host of env.get("HF_ENDPOINT") ? [ALL] : HUB_HOSTS) all.net.add(host);
}

function addReproduce(all: Permissions, { root, chromium, env }: CommandSurroundings): void {
  all.read.add(root);
  const data = env.get("SMALLKV_DATA");
  if (data) all.read.add(data);
  for (const name of ["SMALLKV_DATA", "SMALLKV_CHROMIUM", "CHROMIUM_PATH", "PATH"]) {
    all.env.add(name);
  }
  if (chromium === undefined) return;
  all.env.add(ALL);
  for (const name of ["homedir", "osRelease", "uid"]) all.sys.add(name);
  all.run.add(chromium);
  for (const kind of ["read", "write"] as const) all[kind].add(tmpdir());
  all.read.add(chromium);
}

/** Values of `--out`, or the usual one. */
function outputs(words: readonly string[], usual: string | undefined): string[] {
  const found = words.flatMap((word, at) =>
    word === "--out" ? words[at + 1] ?? [] : /^--out=(.+)$/.exec(word)?.[1] ?? []
  );
  return found.length > 0 || usual === undefined ? found : [usual];
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
