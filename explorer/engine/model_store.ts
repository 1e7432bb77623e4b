/**
 * Models of the hub in the browser's own storage.
 *
 * They lie in the origin private file system, not in the Cache API: files there can be continued where they broke off, written
 * without a second copy, and read in ranges without being in memory. Each model has a folder. A list of its files is written
 * there twice: as `plan.json` before the first byte arrives, and as `model.json` once all of them have been checked, so that
 * what is not whole is never taken for it.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { DroppedFile, StoredModel } from "../messages.ts";

/** A file as the hub announced it. */
export interface PlannedFile {
  /** Path within the repository. */
  readonly path: string;
  /** Its size. */
  readonly byteLength: number;
  /** SHA-256, or git's SHA-1 of a blob; hexadecimal. */
  readonly hash: string;
}

/** A model and what it is made of. */
export interface ModelPlan {
  /** `hf:ORG/NAME[@REVISION][/FILE]`, as it was asked for. */
  readonly reference: string;
  /** The commit that the files are from. */
  readonly commit: string;
  /** All its files. */
  readonly files: readonly PlannedFile[];
}

/** A file that is written in place, as workers have it; close it to let others read. */
export interface StoredFile {
  getSize(): number;
  truncate(size: number): void;
  read(into: Uint8Array<ArrayBuffer>, at: { readonly at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, at: { readonly at: number }): number;
  flush(): void;
  close(): void;
}

/** The part of the storage interface that is used; TypeScript's own has no files for workers. */
interface Folder {
  getDirectoryHandle(name: string, options?: { readonly create: boolean }): Promise<Folder>;
  getFileHandle(name: string, options?: { readonly create: boolean }): Promise<{
    getFile(): Promise<File>;
    createSyncAccessHandle(): Promise<StoredFile>;
  }>;
  removeEntry(name: string, options?: { readonly recursive: boolean }): Promise<void>;
  keys(): AsyncIterable<string>;
}

/** Storage of an origin, as `navigator.storage` gives it. */
export interface BrowserStorage {
  getDirectory(): Promise<unknown>;
  estimate(): Promise<{ readonly quota?: number; readonly usage?: number }>;
}

/** Folder of all models. */
const ROOT = "hub-models";
/** Name of the error of a full storage. */
export const FULL = "QuotaExceededError";
const PLAN = "plan.json";
const MODEL = "model.json";

/** The models that a browser keeps for this page. */
export class ModelStore {
  readonly #storage: BrowserStorage | undefined;

  /** @param storage The browser's; undefined where it has none. */
  constructor(storage: BrowserStorage | undefined) {
    this.#storage = storage;
  }

  /** Lists models by name, those that are not whole included. */
  async list(): Promise<StoredModel[]> {
    const models: StoredModel[] = [];
    const root = await this.#root({ create: false });
    if (!root) return [];
    for await (const name of root.keys()) {
      const folder = await root.getDirectoryHandle(name);
      const plan = await readPlan(folder, MODEL) ?? await readPlan(folder, PLAN);
      // What has no list of files can still be removed.
      const { reference, commit, files } = plan ??
        { reference: decodeURIComponent(name), commit: "", files: [] };
      models.push({
        reference,
        commit,
        byteLength: sum(files.map(({ byteLength }) => byteLength)),
        heldBytes: sum(await Promise.all(files.map(({ path }) => sizeOf(folder, path)))),
        isWhole: await isWhole(folder),
      });
    }
    return models.sort((a, b) => a.reference < b.reference ? -1 : 1);
  }

  /**
   * Files of a model, with their paths in its repository.
   *
   * @throws {DataError} If it is not whole.
   */
  async files(reference: string): Promise<DroppedFile[]> {
    const root = await this.#root({ create: false });
    const folder = await root?.getDirectoryHandle(folderName(reference)).catch(passOverMissing);
    if (!folder || !await isWhole(folder)) {
      throw new DataError(
        `Cannot open ${reference}: it must be in this browser's storage: fetch it under “Models from the Hugging Face hub”`,
      );
    }
    const { files } = (await readPlan(folder, MODEL))!;
    return await Promise.all(files.map(async ({ path }) => {
      const handle = await folder.getFileHandle(fileName(path));
      return { path, file: await handle.getFile() };
    }));
  }

  /** Bytes that can still be stored, as far as the browser says so. */
  async room(): Promise<number> {
    const { quota = Infinity, usage = 0 } = await this.#storage!.estimate();
    return Math.max(0, quota - usage);
  }

  /** Bytes of a model that are there. */
  async heldBytes({ reference, files }: ModelPlan): Promise<number> {
    const root = await this.#root({ create: false });
    const folder = await root?.getDirectoryHandle(folderName(reference)).catch(passOverMissing);
    if (!folder) return 0;
    return sum(await Promise.all(files.map(({ path }) => sizeOf(folder, path))));
  }

  /** Begins a model, or continues one: files of an earlier attempt stay. */
  async begin(plan: ModelPlan): Promise<void> {
    const folder = await this.#folder(plan.reference);
    await folder.removeEntry(MODEL).catch(passOverMissing);
    await writeText(folder, PLAN, JSON.stringify(plan));
  }

  /** Opens a file of a model that was begun. */
  async open({ reference }: ModelPlan, { path }: PlannedFile): Promise<StoredFile> {
    return await openFile(await this.#folder(reference), fileName(path));
  }

  /** Says that all files of a model have been checked. */
  async finish(plan: ModelPlan): Promise<void> {
    await writeText(await this.#folder(plan.reference), MODEL, JSON.stringify(plan));
  }

  /** Removes a model. */
  async remove(reference: string): Promise<void> {
    const root = await this.#root({ create: false });
    await root?.removeEntry(folderName(reference), { recursive: true }).catch(passOverMissing);
  }

  async #folder(reference: string): Promise<Folder> {
    const root = (await this.#root({ create: true }))!;
    return await root.getDirectoryHandle(folderName(reference), { create: true });
  }

  /** Folder of all models; undefined if there is none, and none is to be made. */
  async #root(options: { readonly create: boolean }): Promise<Folder | undefined> {
    try {
      const top = await this.#storage!.getDirectory() as Folder;
      const made = top.getDirectoryHandle(ROOT, options);
      return await (options.create ? made : made.catch(passOverMissing));
    } catch (cause) {
      if ((cause as Error).name === FULL) throw cause;
      const current = this.#storage ? cause : "none";
      throw new DataError(
        `Cannot keep models: this browser must let the page store files: allow data of this site, leave the private window, or open the page by HTTPS; models that you have as files can be dropped onto the page: current storage is ${current}`,
        { cause },
      );
    }
  }
}

/** Whether a list of checked files is there, and they are. */
async function isWhole(folder: Folder): Promise<boolean> {
  const plan = await readPlan(folder, MODEL);
  if (!plan) return false;
  const sizes = await Promise.all(plan.files.map(({ path }) => sizeOf(folder, path)));
  return plan.files.every(({ byteLength }, place) => sizes[place] === byteLength);
}

async function readPlan(folder: Folder, name: string): Promise<ModelPlan | undefined> {
  try {
    const file = await (await folder.getFileHandle(name)).getFile();
    return JSON.parse(await file.text());
  } catch {
    return undefined; // It is not there, or was not written to its end.
  }
}

async function sizeOf(folder: Folder, path: string): Promise<number> {
  const handle = await folder.getFileHandle(fileName(path)).catch(passOverMissing);
  return handle ? (await handle.getFile()).size : 0;
}

async function writeText(folder: Folder, name: string, text: string): Promise<void> {
  const file = await openFile(folder, name);
  try {
    const bytes = new TextEncoder().encode(text);
    file.truncate(0);
    // A full disk may also end a write early.
    if (file.write(bytes, { at: 0 }) < bytes.length) throw new DOMException("", FULL);
    file.flush();
  } finally {
    file.close();
  }
}

async function openFile(folder: Folder, name: string): Promise<StoredFile> {
  const handle = await folder.getFileHandle(name, { create: true });
  try {
    return await handle.createSyncAccessHandle();
  } catch (cause) {
    if ((cause as Error).name !== "NoModificationAllowedError") throw cause;
    throw new DataError(
      "Cannot write the model: no other tab may be fetching it: close that tab, or wait for it",
      { cause },
    );
  }
}

function passOverMissing(error: unknown): undefined {
  if ((error as Error).name !== "NotFoundError") throw error;
}

/** Names of folders and files have no slashes. */
function folderName(reference: string): string {
  return encodeURIComponent(reference);
}

/** The prefix keeps files of a repository apart from the lists. */
function fileName(path: string): string {
  return `file-${encodeURIComponent(path)}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
