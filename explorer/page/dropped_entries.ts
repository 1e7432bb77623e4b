/**
 * Files that were dropped onto the page or chosen, those in folders included.
 *
 * @module
 */

import type { DroppedFile } from "../messages.ts";

/** Most files that are taken of folders: enough for any model, and soon counted where a whole disk was dropped. */
const MOST = 1000;

/** Files that were chosen, with their paths below a folder that was. */
export function chosenFiles(files: ArrayLike<File>): DroppedFile[] {
  return Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/**
 * Files that were dropped; it must be called before the event ends.
 *
 * @param data What was dropped.
 * @returns Files with their paths.
 */
export async function droppedFiles(data: DataTransfer): Promise<DroppedFile[]> {
  const entries = Array.from(data.items, (item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return chosenFiles(data.files);
  const found: DroppedFile[] = [];
  for (const entry of entries) if (entry) await collect(entry, found);
  return found;
}

async function collect(entry: FileSystemEntry, found: DroppedFile[]): Promise<void> {
  if (found.length >= MOST) return;
  if (entry.isFile) {
    const file = await new Promise<File>((done, fail) =>
      (entry as FileSystemFileEntry).file(done, fail)
    );
    found.push({ path: entry.fullPath.replace(/^\//, ""), file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  while (true) {
    // A reader gives some entries at a time.
    const some = await new Promise<FileSystemEntry[]>((done, fail) =>
      reader.readEntries(done, fail)
    );
    if (some.length === 0) return;
    for (const one of some) await collect(one, found);
  }
}
