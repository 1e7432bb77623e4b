import { assertEquals } from "@std/assert";
import { embeddedPair } from "../../data/embedded.ts";
import { extractAttention } from "../../explorer/engine/extract_attention.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";

/** Header and data of a safetensors file, without what names model and machine. */
function parts(bytes: Uint8Array<ArrayBuffer>) {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const { model: _, device: __, ...metadata } = header.__metadata__;
  return { header: { ...header, __metadata__: metadata }, data: bytes.subarray(8 + length) };
}

Deno.test("extractAttention() writes the file that deno task extract writes", async () => {
  const text = "Glen has a red ball. Fern has two keys. Where is the ball?";
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    const out = `${folder}/attention.safetensors`;
    await Deno.writeTextFile(`${folder}/text.txt`, text);
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--no-check", "cli.ts", "extract", "--text", `${folder}/text.txt`],
        ...["--accumulated", "--attention", "2:3", "--device", "cpu", "--out", out],
      ],
      cwd: new URL("../..", import.meta.url),
      stdout: "null",
      stderr: "null",
    }).output();
    assertEquals(success, true);
    using device = await openDevice({ backend: "cpu", threads: 1 });
    using model = await loadModel(embeddedPair().large, { device });
    const tokens = model.tokenizer!.encode(text);
    const bytes = await extractAttention(model, tokens, { head: { layer: 2, head: 3 } });
    assertEquals(parts(bytes), parts(await Deno.readFile(out)));
    const names = Object.keys(parts(await extractAttention(model, tokens)).header);
    assertEquals(names, ["__metadata__", "tokens", "accumulated"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
