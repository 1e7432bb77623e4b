/**
 * Preloaded into a supervised process: records how it ends and ends it with its supervisor.
 *
 * A driver that aborts leaves no record, which is how `supervise.ts` tells it from an error of ours.
 * Only meant for `deno run --preload`, hence the side effects on import.
 *
 * @module
 */

import { onOrphaned } from "./orphan.ts";

const file = Deno.env.get("SMALLKV_EXIT_FILE");
if (file !== undefined) {
  const record = (text: string) => {
    try {
      Deno.writeTextFileSync(file, text);
    } catch {
      // The supervisor is gone and took its folder along; nobody reads the record.
    }
  };
  record("running");
  addEventListener("unload", () => record(String(Deno.exitCode)));
  addEventListener("error", () => record("1"));
  addEventListener("unhandledrejection", () => record("1"));
  onOrphaned(() => Deno.exit(143));
}
