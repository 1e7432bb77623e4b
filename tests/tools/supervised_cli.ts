/**
 * The command line as the tasks run it: under a supervisor.
 *
 * @module
 */

import { supervise } from "../../tools/supervise.ts";

const root = new URL("../../", import.meta.url).pathname;

if (import.meta.main) {
  const [folder, ...words] = Deno.args;
  const preload = ["--preload", `${root}tools/supervised.ts`];
  Deno.exit(
    await supervise({
      args: ["run", "-A", "--no-check", ...preload, `${root}cli.ts`, ...words],
      restarts: 0,
      folder: folder!,
      handlesInterrupts: words.includes("-"),
      say: console.error,
    }),
  );
}
