/**
 * The package as another project uses it.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { LabError, loadModel, openDevice, Session } from "../mod.ts";
import { temporaryFolder } from "./support/model_writer.ts";

const ROOT = new URL("../", import.meta.url);

/** Code blocks of the README's section on other projects. */
async function blocks(): Promise<{ json: string; imports: string }> {
  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  const section = readme.split("\n## ").find((text) => text.startsWith("In your own project"))!;
  const block = (kind: string) => section.split("```" + kind + "\n")[1]!.split("```")[0]!;
  return { json: block("json"), imports: block("ts ignore") };
}

/** What a newcomer writes: types by name, both ways to end, labels of a loaded model. */
const PROGRAM = `
import { embeddedPair, type GeneratedToken, type GenerateOptions, openDevice } from "@smallkv/lab";
using device = await openDevice({ backend: "reference" });
const large = await loadModel(embeddedPair().small, { device });
const pair: ModelPair = { large };
const options: GenerateOptions = { policy: "h2o", maxNewTokens: 2, stopTokens: [] };
const tokens: GeneratedToken[] = [];
for await (const token of generate(pair, "Uma", options)) tokens.push(token);
console.log(tokens.length, tokenLabels(large, large.tokenizer!.encode("Uma")));
console.log([PolicySession, fig1c, showFigures, WEIGHT_FORMATS].every(Boolean));
large.close();
`;

Deno.test("the README's lines make the package usable in another project, types included", async () => {
  const { json, imports } = await blocks();
  await using folder = await temporaryFolder();
  const config = json.replace("../smallkv-lab", ROOT.pathname.slice(0, -1));
  await Deno.writeTextFile(`${folder.path}/deno.json`, config);
  await Deno.writeTextFile(`${folder.path}/main.ts`, imports + PROGRAM);
  const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--check", "main.ts"],
    cwd: folder.path,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  assertEquals(code, 0, text.decode(stderr));
  assertEquals(text.decode(stdout), `2 [ "0 (special)", "1 Um", "2 a" ]\ntrue\n`);
});

Deno.test("close() frees what the end of using frees, once", async () => {
  using device = await openDevice({ backend: "reference" });
  const { liveBytes } = device.usage;
  const path = new URL("data/embedded/small", ROOT).pathname;
  const model = await loadModel(path, { device });
  const session = new Session(model, { capacity: 8 });
  await session.prefill([1, 2, 3]);
  for (const one of [session, model, session, model]) one.close();
  assertEquals(device.usage.liveBytes, liveBytes);
  device.close();
  assertThrows(() => device.createBuffer("late", 4), LabError);
});
