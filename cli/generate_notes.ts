/**
 * What the help of `generate` says beyond its options.
 *
 * @module
 */

import { POLICIES } from "../cache/policies/mod.ts";

/** Lines behind the options. */
export const GENERATE_NOTES: readonly string[] = [
  "MODEL is a .gguf or .safetensors file, a folder, or hf:ORG/NAME. Without a prompt the embedded pair",
  "gets one of its own world. A budget is a share of the full cache (0.2, 20%; 1 is all of it) or a",
  "number of tokens (256, 256t). --json prints { tokens, text, stats, trace }; trace has, per step,",
  "layer and KV head, the positions { critical, recent, marginal } that attention saw, and what remains",
  "after it where a policy drops tokens then. Step 1 is the first decode step and sees prompt + 1",
  "tokens; a traced step behind the last token is run as well. With --reference-tokens, step s runs the",
  "s-th of those tokens, kl[s - 1] is the divergence of what is predicted then, in nats, and chosen",
  "what would have been chosen. A file for --tokens or --reference-tokens holds an array of ids or an",
  "object with one under tokens; --match-map reads what deno task match writes. With --compare, an",
  "option applies to the policies that have it. With --speculate, the large model checks N drafts in one",
  "pass, greedily: with --block per_query (the default) each of them attends to the tokens that it would",
  "get without drafts, and the text stays the same; with shared all attend to those of the first one",
  "and to the drafts before them. With --turns, each line of FILE or TEXT is said behind the answer",
  "before it, whose cache is kept; with --chat it is what a user says. --turns - answers each line of",
  "standard input as it comes, the first one too without --prompt, until the input ends (Ctrl-D); Ctrl-C",
  "ends the answer that is being written, once more, or between answers, it ends the conversation; with",
  "--json each turn is an object on a line of its own. Policies that drop for good read a turn token by",
  "token; with --turn-block N as blocks of N that see what is kept and themselves, and drop once each.",
  "",
  "Policies:",
  ...POLICIES.map(({ name, summary }) => `  ${name.padEnd(20)}${summary}`),
];
