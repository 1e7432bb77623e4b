/**
 * Tests of `models/hub/hub_datasets.ts` and `data/fetch.ts`, against a server on this machine.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { DataError } from "../../../core/check.ts";
import {
  DATA_VARIABLE,
  datasetPaths,
  datasetSources,
  readDataFile,
} from "../../../data/dataset.ts";
import { datasetFolder, fetchDatasets } from "../../../models/hub/hub_datasets.ts";
import { dataFolderOfTests } from "../../data/data_folder.ts";
import { temporaryFolder } from "../../support/model_writer.ts";

const PATH = "longbench/config/dataset2maxlen.json";
const ORIGINAL =
  "/THUDM/LongBench/2e00731f8d0bff23dc4325161044d0ed8af94c1e/LongBench/config/dataset2maxlen.json";
const content = await Deno.readFile(
  new URL("../../fixtures/dataset2maxlen.json", import.meta.url),
);

/** A server whose connections can be cut, and an empty cache. */
interface Place {
  readonly origin: string;
  readonly cacheFolder: string;
  readonly requests: string[];
  /** Bytes after which a connection is cut, once for each entry. */
  readonly cuts: number[];
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
}

async function withServer(work: (place: Place) => Promise<void>): Promise<void> {
  const files = new Map([[ORIGINAL, content]]);
  const [requests, cuts]: [string[], number[]] = [[], []];
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const path = decodeURIComponent(new URL(request.url).pathname);
    const begin = Number(/bytes=(\d+)-/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
    requests.push(`${path} ${begin}`);
    assertStrictEquals(request.headers.get("authorization"), null);
    const bytes = files.get(path);
    if (bytes === undefined) return new Response(null, { status: 404 });
    const end = begin + (cuts.shift() ?? Infinity);
    if (begin === 0) return new Response(bytes.slice(0, end));
    const headers = { "content-range": `bytes ${begin}-${bytes.length - 1}/${bytes.length}` };
    return new Response(bytes.slice(begin, end), { status: 206, headers });
  });
  await using folder = await temporaryFolder();
  const origin = `http://127.0.0.1:${server.addr.port}`;
  await work({ origin, cacheFolder: folder.path, requests, cuts, files });
}

const fetchFrom = (
  { origin, cacheFolder }: Place,
  paths: readonly string[],
  options: Parameters<typeof fetchDatasets>[1] = {},
) => fetchDatasets(paths, { origin, cacheFolder, isOffline: false, ...options });

Deno.test("fetchDatasets() downloads a file once, and says license and origin", async () => {
  await withServer(async (place) => {
    const said: string[] = [];
    const onDataset = (name: string, licence: string, origins: readonly string[]) =>
      void said.push(`${name}: ${licence}: ${origins[0]}`);
    const folder = await fetchFrom(place, [PATH], { onDataset });
    assertStrictEquals(await readDataFile(folder, PATH), new TextDecoder().decode(content));
    assertEquals(said, [
      "longbench: MIT; the texts keep the terms of their sources: " +
      "https://github.com/THUDM/LongBench/tree/2e00731f8d0bff23dc4325161044d0ed8af94c1e",
    ]);
    await fetchFrom(place, [PATH], { onDataset, isOffline: true });
    assertEquals([place.requests, said.length], [[`${ORIGINAL} 0`], 1]);
  });
});

Deno.test("fetchDatasets() goes on where a connection was cut", async () => {
  await withServer(async (place) => {
    place.cuts.push(300);
    const folder = await fetchFrom(place, [PATH]);
    assertEquals(await Deno.readFile(`${folder}/${PATH}`), content);
    assertEquals(place.requests, [`${ORIGINAL} 0`, `${ORIGINAL} 300`]);
  });
});

Deno.test("fetchDatasets() replaces a damaged file, and refuses and removes a wrong one", async () => {
  await withServer(async (place) => {
    const folder = await fetchFrom(place, [PATH]);
    await Deno.writeFile(`${folder}/${PATH}`, content.map((byte) => byte ^ 1));
    await fetchFrom(place, [PATH]);
    assertEquals(await Deno.readFile(`${folder}/${PATH}`), content);
    await Deno.remove(`${folder}/${PATH}`);
    place.files.set(ORIGINAL, content.map((byte) => byte ^ 1));
    const error = await assertRejects(() => fetchFrom(place, [PATH]), DataError);
    assertMatch(error.message, /SHA-256 must be [0-9a-f]{64}: current hash is [0-9a-f]{64}/);
    const left = await Array.fromAsync(Deno.readDir(`${folder}/longbench/config`));
    assertEquals(left.map(({ name }) => name), [".locks"]);
  });
});

Deno.test("fetchDatasets() says what to put where, offline and where the server refuses", async () => {
  await withServer(async (place) => {
    place.files.clear();
    for (const [isOffline, reason] of [[true, "HF_HUB_OFFLINE"], [false, "404"]] as const) {
      const { message } = await assertRejects(
        () => fetchFrom(place, [PATH], { isOffline }),
        DataError,
      );
      const folder = `${place.cacheFolder}/smallkv-data`;
      assertMatch(message, new RegExp(reason));
      assert(message.includes(`put ${PATH} from ${place.origin}${ORIGINAL} into ${folder}`));
      assert(message.includes("--data"), message);
    }
  });
});

Deno.test("datasetFolder() prefers the named folder, then the variable, then the cache", async () => {
  await withServer(async (place) => {
    const before = Deno.env.get(DATA_VARIABLE);
    const find = (paths: readonly string[], named?: string) =>
      datasetFolder(paths, named, {
        origin: place.origin,
        cacheFolder: place.cacheFolder,
        isOffline: false,
      });
    try {
      Deno.env.set(DATA_VARIABLE, "from-variable");
      assertStrictEquals(await find([PATH], "from-flag"), "from-flag");
      assertStrictEquals(await find([PATH]), "from-variable");
      assertStrictEquals(await find([]), "");
      assertEquals(place.requests, []);
      Deno.env.delete(DATA_VARIABLE);
      assertStrictEquals(await find([PATH]), `${place.cacheFolder}/smallkv-data`);
      assertEquals(place.requests.length, 1);
    } finally {
      if (before === undefined) Deno.env.delete(DATA_VARIABLE);
      else Deno.env.set(DATA_VARIABLE, before);
    }
  });
});

Deno.test({
  name: "fetchDatasets() changes line ends and takes exemplars out of their task file",
  ignore: dataFolderOfTests === undefined,
  async fn() {
    await withServer(async (place) => {
      const [wikitext, exemplars] = ["wikitext2/wiki.test.raw", "gsm8k/cot_8shot.jsonl"];
      const text = await readDataFile(dataFolderOfTests!, wikitext);
      const lines = (await readDataFile(dataFolderOfTests!, exemplars)).trim().split("\n");
      const encode = (text: string) => new TextEncoder().encode(text);
      const { repository, commit } = datasetSources("wikitext2")[0]!;
      place.files.set(
        `/${repository}/${commit}/data/wiki.test.raw`,
        encode(text.replaceAll("\n", "\r\n")),
      );
      const harness = datasetSources("gsm8k")[1]!;
      place.files.set(
        `/${harness.repository}/${harness.commit}/${harness.paths[exemplars]}`,
        encode(taskFile(lines.map((line) => JSON.parse(line)))),
      );
      const folder = await fetchFrom(place, [wikitext, exemplars]);
      assertStrictEquals(await readDataFile(folder, wikitext), text);
      assertStrictEquals(await readDataFile(folder, exemplars), `${lines.join("\n")}\n`);
      assertEquals(
        (await Array.fromAsync(Deno.readDir(`${folder}/gsm8k`))).map(({ name }) => name).sort(),
        [".locks", "cot_8shot.jsonl"],
      );
    });
  },
});

/** YAML as the harness writes it: values go on in indented lines. */
function taskFile(samples: readonly { question: string; target: string }[]): string {
  const wrap = (text: string) => text.replace(/(.{40,60}) /g, "$1\n      ");
  return "dataset_name: main\nfewshot_config:\n  sampler: first_n\n  samples:\n" +
    samples.map(({ question, target }) =>
      `  - question: ${wrap(question)}\n    target: ${wrap(target)}\n`
    ).join("") + "filter_list:\n- filter:\n";
}

Deno.test("every file of the manifest has a source", () => {
  for (const name of ["bbh", "gsm8k", "longbench", "mmlu", "mt_bench", "wikitext2"]) {
    const prefixes = datasetSources(name).flatMap(({ paths }) => Object.keys(paths));
    for (const { commit } of datasetSources(name)) assertMatch(commit, /^[0-9a-f]{40}$/);
    for (const path of datasetPaths(name)) {
      assertStrictEquals(prefixes.filter((prefix) => path.startsWith(prefix)).length, 1, path);
    }
  }
});
