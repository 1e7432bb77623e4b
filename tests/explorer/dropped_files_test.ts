import { assert, assertEquals } from "@std/assert";
import type { DroppedFile } from "../../explorer/messages.ts";
import { modelsOf } from "../../explorer/state/dropped_files.ts";

/** Files by path, with as many bytes as their number says. */
function files(sizes: Readonly<Record<string, number>>): DroppedFile[] {
  return Object.entries(sizes).map(([path, size]) => ({
    path,
    file: new File([new Uint8Array(size)], path.split("/").at(-1)!),
  }));
}

const paths = (model: readonly DroppedFile[] | undefined) => model?.map(({ path }) => path);

Deno.test("modelsOf() takes the larger model for the large one", () => {
  const models = modelsOf(files({ "small.gguf": 1, "large.gguf": 3 }));
  assert(!("fault" in models));
  assertEquals([paths(models.large), paths(models.small)], [["large.gguf"], ["small.gguf"]]);
});

Deno.test("modelsOf() joins parts of a split file, and files of a folder, and passes over others", () => {
  const models = modelsOf(files({
    "a/readme.md": 9,
    "m/large-00002-of-00002.gguf": 2,
    "m/large-00001-of-00002.gguf": 2,
    "m/small.gguf": 1,
  }));
  assert(!("fault" in models));
  assertEquals(paths(models.large)!.length, 2);
  assertEquals(paths(models.small), ["m/small.gguf"]);
  const folders = modelsOf(files({
    "one/config.json": 1,
    "one/model.safetensors": 5,
    "two/model-00001-of-00002.safetensors": 9,
    "two/model-00002-of-00002.safetensors": 9,
    "two/model.safetensors.index.json": 1,
  }));
  assert(!("fault" in folders));
  assertEquals([folders.large.length, folders.small!.length], [3, 2]);
  const loose = modelsOf(files({ "config.json": 1, "model.safetensors": 4, "x.gguf": 2 }));
  assert(!("fault" in loose));
  assertEquals(paths(loose.large), ["config.json", "model.safetensors"]);
});

Deno.test("modelsOf() says what can be dropped where there is no model, or too many", () => {
  const fault = (sizes: Readonly<Record<string, number>>) => {
    const models = modelsOf(files(sizes));
    return "fault" in models ? models.fault : "";
  };
  assert(
    fault({ "notes.txt": 1 }).startsWith("Cannot open notes.txt: drop GGUF files, or folders"),
  );
  assert(fault({ "a.gguf": 1, "b.gguf": 1, "c.gguf": 1 }).startsWith("Cannot open 3 files"));
});
