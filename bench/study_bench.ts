/**
 * Benchmark of a whole study: prompts under 16 settings, forced along their own text, beside what a researcher without a GPU
 * writes with transformers (`python_study.py`), one after the other on the same texts.
 *
 * @module
 */

import { readWikitext, wikitextParagraphs } from "../data/wikitext2.ts";
import {
  type TeacherForcedRun,
  teacherForceSettings,
} from "../decoding/forced/teacher_force_settings.ts";
import type { PolicySetting } from "../decoding/engine/settings.ts";
import type { Model } from "../models/load.ts";
import { mean } from "../core/stats.ts";
import { rememberedPeak } from "./memory_bench.ts";
import { withPair } from "./policy_bench.ts";
import { startClock } from "./speed.ts";
import { DataError } from "../core/check.ts";
import { DEVICE_OPTIONS, modelPath, Options, printJson } from "./timing.ts";

const BUDGETS = [0.05, 0.1, 0.2, 0.4];
/** Tokens of a prompt. */
const PROMPT = 200;

/** The full cache and 15 others; critical tokens alone at three budgets. */
const SETTINGS: readonly { readonly name: string; readonly setting: PolicySetting }[] = [
  { name: "full 1.0", setting: { policy: "full", budget: { ratio: 1 } } },
  ...["random", "h2o", "smallkv", "critical_only"].flatMap((name) =>
    BUDGETS.map((ratio) => ({ name: `${name} ${ratio}`, setting: settingOf(name, ratio) }))
  ),
].slice(0, 16);

function settingOf(name: string, ratio: number): PolicySetting {
  const budget = { ratio };
  if (name !== "critical_only") return { policy: name, budget };
  return { policy: "smallkv", options: { marginal: "dropped" }, budget };
}

/** What the script prints. */
interface PythonStudy {
  readonly divergence: readonly number[];
  readonly processorSeconds: number;
  readonly wallSeconds: number;
  readonly peakBytes: number;
}

/** Paragraphs that are long enough, cut into a prompt and what is forced. */
async function studyTexts(
  folder: string,
  { tokenizer }: Pick<Model, "tokenizer">,
  { limit, steps }: { readonly limit: number; readonly steps: number },
): Promise<[number[], number[]][]> {
  const texts: [number[], number[]][] = [];
  for (const { text } of wikitextParagraphs(await readWikitext(folder))) {
    if (texts.length === limit) break;
    const ids = tokenizer!.encode(text);
    // The last token is compared with, but not run.
    if (ids.length <= PROMPT + steps) continue;
    texts.push([[...ids.slice(0, PROMPT)], [...ids.slice(PROMPT, PROMPT + steps + 1)]]);
  }
  return texts;
}

async function runPython(python: string, args: readonly string[]): Promise<PythonStudy> {
  const script = new URL("python_study.py", import.meta.url).pathname;
  const command = new Deno.Command(python, { args: [script, ...args], stderr: "inherit" });
  const { success, code, signal, stdout } = await command.output();
  if (!success) {
    throw new DataError(
      `Cannot run python_study.py: ${python} must end without an error: current end is ${
        signal ?? `exit code ${code}`
      }`,
    );
  }
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

/** Refuses an interpreter that cannot be started, before minutes go into the study. */
async function checkPython(python: string): Promise<void> {
  try {
    const args = ["-c", "import torch, transformers"];
    if ((await new Deno.Command(python, { args, stderr: "null" }).output()).success) return;
  } catch {
    // cannot be started
  }
  throw new DataError(
    `Cannot run the benchmark: --python must name an interpreter with torch and transformers: current value is ${python}`,
  );
}

/** Runs the study here, and by the script where `--python` names an interpreter that has torch and transformers. */
export async function benchStudy(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    large: "1.5b",
    small: "0.5b",
    data: Deno.env.get("SMALLKV_DATA") ?? "",
    prompts: "12",
    steps: "24",
    python: "",
  });
  const { data, python } = options.values;
  if (python !== "") await checkPython(python);
  const [limit, steps] = [options.count("prompts"), options.count("steps")];
  const [threads = 0] = options.counts("threads", 0);
  await withPair(options, async (pair, device) => {
    const texts = await studyTexts(data, pair.large, { limit, steps });
    const clock = startClock();
    const runs: TeacherForcedRun[][] = [];
    for (const [prompt, continuation] of texts) {
      const settings = SETTINGS.map(({ setting }) => setting);
      const limits = { settings, newTokens: steps, endTokens: [] };
      runs.push(await teacherForceSettings(pair, { prompt, continuation }, limits));
    }
    const { wallMs, processorMs } = clock();
    const ours = {
      divergence: SETTINGS.map((_, index) => mean(runs.flatMap((run) => run[index]!.kl.slice(1)))),
      processorSeconds: processorMs / 1000,
      wallSeconds: wallMs / 1000,
      peakBytes: rememberedPeak() ?? Deno.memoryUsage().rss,
    };
    printStudy("here", ours);
    const theirs = python === "" ? undefined : await pythonStudy();
    if (theirs) {
      printStudy("transformers", theirs);
      const [time, memory] = [
        theirs.processorSeconds / ours.processorSeconds,
        theirs.peakBytes / ours.peakBytes,
      ];
      console.log(
        `transformers takes ${time.toFixed(2)} times the processor time and ${
          memory.toFixed(1)
        } times the memory`,
      );
    }
    const names = { large: pair.large.name, small: pair.small.name };
    const settings = SETTINGS.map(({ name }) => name);
    const sizes = { prompts: texts.length, steps, settings };
    printJson("study", device, { ...names, ...sizes, ours, ...(theirs && { theirs }) });

    async function pythonStudy(): Promise<PythonStudy> {
      const file = await Deno.makeTempFile({ suffix: ".json" });
      try {
        await Deno.writeTextFile(file, JSON.stringify(texts));
        const { large, small } = options.values;
        return await runPython(python, [
          ...["--large", modelPath(large), "--small", modelPath(small, "small")],
          ...["--texts", file, "--steps", String(steps)],
          ...threads > 0 ? ["--threads", String(threads)] : [],
        ]);
      } finally {
        await Deno.remove(file);
      }
    }
  });
}

function printStudy(who: string, study: PythonStudy): void {
  const [processor, wall] = [study.processorSeconds, study.wallSeconds].map((s) => s.toFixed(1));
  const peak = (study.peakBytes / 1e9).toFixed(2);
  console.log(`${who}: ${processor} s of processor time, ${wall} s, at most ${peak} GB resident`);
}
