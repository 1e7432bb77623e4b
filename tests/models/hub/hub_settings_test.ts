/**
 * Tests of `models/hub/hub_settings.ts`.
 *
 * @module
 */

import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { hubSettings, parseHubReference } from "../../../models/hub/hub_settings.ts";
import { temporaryFolder } from "../../support/model_writer.ts";

Deno.test("parseHubReference() reads every form", () => {
  const cases: [string, unknown][] = [
    ["hf:o/n", { repository: "o/n", revision: "main" }],
    ["hf:o/n@v1.0", { repository: "o/n", revision: "v1.0" }],
    ["hf:o/n@refs/pr/1", { repository: "o/n", revision: "refs/pr/1" }],
    ["hf:o/n/x.gguf", { repository: "o/n", revision: "main", file: "x.gguf" }],
    ["hf:o/n@v1/sub/x.gguf", { repository: "o/n", revision: "v1", file: "sub/x.gguf" }],
    ["hf:Qwen/Qwen2.5-0.5B", { repository: "Qwen/Qwen2.5-0.5B", revision: "main" }],
  ];
  for (const [text, expected] of cases) assertEquals(parseHubReference(text), expected, text);
  for (
    const text of [
      ...["hf:", "hf:o", "hf:o/", "hf:o/n@", "hf:o/../x.gguf", "hf:o/n@../../x", "hf:../n"],
      ...["hf:o/n@a\\b", "hf:o/n@a\nb", "hf:o/n@C:x", "hf:o/n/a\\..\\x.gguf", "hf:o/n/ ./x.gguf"],
    ]
  ) {
    assertMatch(
      assertThrows(() => parseHubReference(text), Error).message,
      /a hub reference must be hf:ORG\/NAME/,
      text,
    );
  }
});

Deno.test("hubSettings() reads what Python's client reads", async () => {
  await using folder = await temporaryFolder();
  await Deno.writeTextFile(`${folder.path}/token`, "saved\n");
  const code = `import { hubSettings } from "${
    import.meta.resolve("../../../models/hub/hub_settings.ts")
  }"; console.log(JSON.stringify(await hubSettings({})));`;
  const others = Object.fromEntries(
    Object.entries(Deno.env.toObject()).filter(([name]) => !/^(HF|HUGGING)/.test(name)),
  );
  const settings = async (env: Record<string, string>) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", code],
      clearEnv: true,
      env: { ...others, HF_HOME: folder.path, ...env },
    }).output();
    return JSON.parse(new TextDecoder().decode(stdout));
  };
  assertEquals(await settings({}), {
    endpoint: "https://huggingface.co",
    cacheFolder: `${folder.path}/hub`,
    token: "saved",
    isOffline: false,
    silenceMs: 10_000,
  });
  const env = {
    HF_HUB_CACHE: "/x",
    HF_TOKEN: "t",
    HF_HUB_OFFLINE: "1",
    HF_ENDPOINT: "http://h/",
    HF_HUB_DOWNLOAD_TIMEOUT: "3",
  };
  assertEquals(await settings(env), {
    endpoint: "http://h",
    cacheFolder: "/x",
    token: "t",
    isOffline: true,
    silenceMs: 3000,
  });
  assertEquals((await hubSettings({ token: "own", endpoint: "http://e" })).token, "own");
});

Deno.test("hubSettings() refuses addresses and tokens that cannot be sent", async () => {
  for (const endpoint of ["hub", "file:///x", "http://["]) {
    await assertRejects(
      () => hubSettings({ endpoint, token: "t" }),
      RequirementError,
      "HF_ENDPOINT",
    );
  }
  for (const token of ["a b", "a\nb", "\u00e9"]) {
    const error = await assertRejects(() => hubSettings({ token }), RequirementError, "HF_TOKEN");
    assertEquals(error.message.includes(token), false);
  }
});
