/**
 * Lint rule for errors: the product throws the classes of `core/check.ts`, so that users can tell them from
 * faults in the code.
 *
 * @module
 */

import { LAYERS } from "./layers.ts";

/** Folders whose errors users meet. */
const FOLDERS: readonly string[] = [...LAYERS, "notebooks", "examples"];

/** Classes of the language, which say nothing of whose fault it was. */
const FOREIGN: readonly string[] = [
  "Error",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError",
];

const root = new URL("../", import.meta.url).pathname;

const houseClasses: Deno.lint.Rule = {
  create(context) {
    const [folder] = context.filename.slice(root.length).split("/");
    if (!context.filename.startsWith(root) || !FOLDERS.includes(folder!)) return {};
    const check = (node: Deno.lint.NewExpression | Deno.lint.CallExpression) => {
      const { callee } = node;
      if (callee.type !== "Identifier" || !FOREIGN.includes(callee.name)) return;
      context.report({
        node,
        message: `Cannot make a ${callee.name}: errors must be of a class of core/check.ts`,
        hint: "RequirementError for arguments, DataError for files, UsageError for command lines",
      });
    };
    return { NewExpression: check, CallExpression: check };
  },
};

/** Plugin named in `deno.json`; lint plugins are found by their default export. */
const plugin: Deno.lint.Plugin = { name: "errors", rules: { "house-classes": houseClasses } };

export default plugin;
