/**
 * Campaigns that try to break the toolkit: kills, damaged files, lying servers, long runs, odd settings.
 *
 *     deno task harden [NAME...] [--minutes N] [--count N] [--seed N]
 *
 * @module
 */

import { type Command, type CommandCall, type CommandIo, valueOption } from "../cli/command.ts";
import { EXIT, runCommandLine } from "../cli/command_line.ts";
import { openProcessIo } from "../cli/process_io.ts";
import { derivedSeed, seededRandom } from "../core/random.ts";
import type { Campaign, CampaignRun } from "./harden/campaign.ts";

/** Loads the campaigns, each a module in the folder beside this one. */
async function loadCampaigns(): Promise<Campaign[]> {
  const folder = new URL("./harden/", import.meta.url);
  const campaigns: Campaign[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    const loaded = name.endsWith(".ts") ? await import(new URL(name, folder).href) : {};
    if (loaded.campaign) campaigns.push(loaded.campaign);
  }
  return campaigns.sort((a, b) => a.name < b.name ? -1 : 1);
}

function chosen(campaigns: readonly Campaign[], call: CommandCall): readonly Campaign[] {
  const names = campaigns.map(({ name }) => name);
  for (const name of call.operands) {
    if (names.includes(name)) continue;
    call.fail(`a campaign must be one of ${names.join(", ")}: current value is ${name}`);
  }
  if (call.operands.length === 0) return campaigns;
  return campaigns.filter(({ name }) => call.operands.includes(name));
}

function campaignRun(campaign: Campaign, call: CommandCall, io: CommandIo): CampaignRun {
  const integer = { min: 0, max: 2 ** 31 - 1, isInteger: true };
  const seed = call.number("seed", integer);
  const minutes = call.has("minutes") ? call.number("minutes", { min: 0, max: 1e6 }) : undefined;
  const count = call.has("count")
    ? call.number("count", { ...integer, min: 1 })
    : minutes === undefined
    ? campaign.count
    : Infinity;
  const end = minutes === undefined ? Infinity : performance.now() + minutes * 60_000;
  return {
    seed,
    goesOn: (cases) => cases < count && performance.now() < end && !io.signal.aborted,
    random: (index) => seededRandom(derivedSeed(seed, `${campaign.name} ${index}`)),
    say: (line) => io.error(`${line}\n`),
    signal: io.signal,
  };
}

/** Runs campaigns one after the other; the exit code says whether any case failed. */
async function runCampaigns(
  campaigns: readonly Campaign[],
  call: CommandCall,
  io: CommandIo,
): Promise<number> {
  let failures = 0;
  for (const campaign of chosen(campaigns, call)) {
    if (io.signal.aborted) break;
    io.error(`${campaign.name}: ${campaign.summary}\n`);
    const start = performance.now();
    const report = await campaign.run(campaignRun(campaign, call, io));
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    for (const line of report.failures) io.out(`${campaign.name}: FAILED ${line}\n`);
    for (const [what, value] of Object.entries(report.figures ?? {})) {
      io.out(`${campaign.name}: ${what}: ${value}\n`);
    }
    io.out(
      `${campaign.name}: ${report.cases} cases, ${report.failures.length} failed, ${seconds} s\n`,
    );
    failures += report.failures.length;
  }
  if (io.signal.aborted) return EXIT.stopped;
  return failures === 0 ? EXIT.ok : EXIT.failed;
}

function hardenCommand(campaigns: readonly Campaign[]): Command {
  return {
    name: "harden",
    summary: "Try to break the toolkit: each campaign draws cases from a seed and reports failures",
    operands: "[NAME...]",
    options: {
      minutes: valueOption("N", "how long each campaign goes on; by number of cases if left out"),
      count: valueOption("N", "cases of each campaign; its own number if left out"),
      seed: valueOption("N", "seed of the cases", "0"),
    },
    notes: [
      "Campaigns:",
      ...campaigns.map(({ name, summary, count }) => `  ${name}: ${summary} (${count} cases)`),
    ],
    examples: ["deno task harden fuzz --minutes 10", "deno task harden --count 5"],
    run: (call, io) => runCampaigns(campaigns, call, io),
  };
}

if (import.meta.main) {
  const { io, exitCode } = openProcessIo();
  const commands = [hardenCommand(await loadCampaigns())];
  Deno.exit(exitCode(await runCommandLine(commands, ["harden", ...Deno.args], io)));
}
