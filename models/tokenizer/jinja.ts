/**
 * Renders Jinja templates as jinja2 with transformers' settings does, within bounds of time and memory.
 *
 * The library reads a template; its evaluation differs from jinja2 where numbers, text of values, scopes and methods are
 * concerned, and cannot be stopped, so what it read is evaluated here.
 *
 * @see {@link https://jinja.palletsprojects.com/en/stable/templates/ | Jinja, Template Designer Documentation}
 * @module
 */

import { parse, tokenize } from "@huggingface/jinja";
import { applyFilter, applyTest } from "./jinja_filters.ts";
import { globalFunctions } from "./jinja_functions.ts";
import { attributeOf, itemOf, sliceOf } from "./jinja_methods.ts";
import { applyOperator, join } from "./jinja_operators.ts";
import {
  Budget,
  Callable,
  isDictionary,
  isTrue,
  itemsOf,
  Loop,
  Namespace,
  numberOf,
  SafeText,
  TemplateError,
  textOf,
  Tuple,
  typeName,
  type Value,
} from "./jinja_values.ts";

export { TemplateError } from "./jinja_values.ts";

/** Time that a template may take, in seconds. */
const MAX_SECONDS = 1.5;
/** Longest template, and most white space in a row, in UTF-16 units: reading takes time in proportion to their product. */
const MAX_TEMPLATE = 2 ** 18;
const MAX_SPACES = 256;
/** What an iteration of a loop costs beside its statements. */
const ITERATION_WORK = 50;
/** Most macros that run within each other. */
const MAX_DEPTH = 100;

/** Part of a template as the library reads it; other fields depend on the type. */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Ends an iteration or a loop. */
class LoopControl {
  readonly isBreak: boolean;

  constructor(isBreak: boolean) {
    this.isBreak = isBreak;
  }
}

/**
 * Renders a template.
 *
 * @param variables What the template may use: JSON values.
 * @throws {Error} If the template is malformed, refuses its variables, asks for what is not supported, or takes too long.
 */
export function renderTemplate(
  template: string,
  variables: Readonly<Record<string, unknown>>,
): string {
  if (template.length > MAX_TEMPLATE || new RegExp(`\\s{${MAX_SPACES}}`).test(template)) {
    throw new TemplateError(
      `one of more than ${MAX_TEMPLATE} characters, or of ${MAX_SPACES} spaces in a row`,
    );
  }
  const budget = new Budget(MAX_SECONDS);
  const tokens = tokenize(template.replace(/\r\n?/g, "\n"), {
    lstrip_blocks: true,
    trim_blocks: true,
  });
  checkComparisons(tokens);
  const root = new Scope();
  for (const [name, value] of globalFunctions(budget)) root.set(name, value);
  const scope = new Scope(root);
  for (const [name, value] of Object.entries(variables)) scope.set(name, toValue(value));
  const output = new Output(budget);
  new Interpreter(budget).execute(parse(tokens).body as unknown as Node[], scope, output);
  return output.text();
}

/** `a < b < c` compares twice in Python; the library reads it as `(a < b) < c`. */
function checkComparisons(tokens: readonly { type: string; value: string }[]): void {
  const seen = [false];
  for (const { type, value } of tokens) {
    const isIn = type === "Identifier" && value === "in";
    if (/^Open(?!Statement|Expression)/.test(type)) seen.push(false);
    else if (/^Close(?!Statement|Expression)/.test(type)) seen.pop();
    else if (type === "ComparisonBinaryOperator" || isIn) {
      if (seen.at(-1)) throw new TemplateError("one that compares three values at once");
      // The first "in" of a loop is none of an expression.
      seen[seen.length - 1] = true;
    } else if (
      /^(Comma|Colon|Equals|Text|(Open|Close)(Statement|Expression))$/.test(type) ||
      type === "Identifier" && /^(and|or|not|if|else|elif|set|for)$/.test(value)
    ) seen[seen.length - 1] = false;
  }
}

function toValue(value: unknown): Value {
  if (typeof value === "number") return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(toValue);
  if (typeof value === "object" && value !== null) {
    return new Map(Object.entries(value).map(([key, item]) => [key, toValue(item)]));
  }
  if (typeof value === "string") return value.toWellFormed();
  return value as Value;
}

/** Variables of a template, a loop's iteration or a macro. */
class Scope {
  readonly #values = new Map<string, Value>();
  readonly #outer: Scope | undefined;

  constructor(outer?: Scope) {
    this.#outer = outer;
  }

  get(name: string): Value {
    return this.#values.has(name) ? this.#values.get(name) : this.#outer?.get(name);
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }
}

/** Text that a template has written so far. */
class Output {
  readonly #parts: string[] = [];
  readonly #budget: Budget;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  write(text: string): void {
    this.#budget.reserve(text.length);
    this.#parts.push(text);
  }

  text(): string {
    return join(this.#parts, this.#budget);
  }
}

const CONSTANTS: Readonly<Record<string, Value>> = {
  ...{ true: true, false: false, none: null, True: true, False: false, None: null },
};

class Interpreter {
  readonly #budget: Budget;
  #depth = 0;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Runs statements one after the other. */
  execute(nodes: readonly Node[], scope: Scope, output: Output): void {
    for (const node of nodes) {
      this.#budget.spend(1);
      const run = this.#statements[node.type];
      if (run !== undefined) {
        run(node, scope, output);
        continue;
      }
      const value = this.evaluate(node, scope);
      output.write(value instanceof SafeText ? value.text : textOf(value, this.#budget));
    }
  }

  readonly #statements: Readonly<
    Record<string, (node: Node, scope: Scope, output: Output) => void>
  > = {
    Comment: () => {},
    Break: () => {
      throw new LoopControl(true);
    },
    Continue: () => {
      throw new LoopControl(false);
    },
    Set: (node, scope) => this.#assign(node, scope),
    If: (node, scope, output) => {
      const isMet = isTrue(this.evaluate(node.test as Node, scope));
      this.execute((isMet ? node.body : node.alternate) as Node[], scope, output);
    },
    For: (node, scope, output) => this.#loop(node, scope, output),
    Macro: (node, scope) =>
      scope.set((node.name as Node).value as string, this.#macro(node, scope)),
    CallStatement: (node, scope, output) => {
      const caller = this.#macro({ ...node, args: node.callerArgs ?? [] }, scope);
      output.write(
        textOf(this.#call(node.call as Node, scope, [["caller", caller]]), this.#budget),
      );
    },
    FilterStatement: (node, scope, output) => {
      const text = this.#block(node.body as Node[], new Scope(scope));
      output.write(textOf(this.#filter(node.filter as Node, text, scope), this.#budget));
    },
  };

  /** The value of an expression. */
  evaluate(node: Node, scope: Scope): Value {
    this.#budget.spend(1);
    const compute = this.#expressions[node.type];
    if (compute === undefined) {
      throw new TemplateError(`one with ${node.type}, which is not supported`);
    }
    return compute(node, scope);
  }

  readonly #expressions: Readonly<Record<string, (node: Node, scope: Scope) => Value>> = {
    StringLiteral: ({ value }) => value as string,
    FloatLiteral: ({ value }) => value as number,
    IntegerLiteral: ({ value }) => {
      if (Number.isSafeInteger(value)) return BigInt(value as number);
      throw new TemplateError(`one with the integer ${value}`);
    },
    ArrayLiteral: (node, scope) => this.#list(node, scope),
    TupleLiteral: (node, scope) => Tuple.from(this.#list(node, scope)),
    ObjectLiteral: (node, scope) =>
      new Map(Array.from(node.value as Map<Node, Node>, ([key, value]) => [
        dictionaryKey(this.evaluate(key, scope)),
        this.evaluate(value, scope),
      ])),
    Identifier: ({ value }, scope) => {
      const name = value as string;
      return Object.hasOwn(CONSTANTS, name) ? CONSTANTS[name] : scope.get(name);
    },
    CallExpression: (node, scope) => this.#call(node, scope),
    MemberExpression: (node, scope) => this.#member(node, scope),
    UnaryExpression: (node, scope) => this.#unary(node, scope),
    BinaryExpression: (node, scope) => this.#binary(node, scope),
    FilterExpression: (node, scope) =>
      this.#filter(node.filter as Node, this.evaluate(node.operand as Node, scope), scope),
    TestExpression: (node, scope) => {
      const value = this.evaluate(node.operand as Node, scope);
      const name = (node.test as Node).value as string;
      return applyTest(name, value, undefined, this.#budget) !== node.negate;
    },
    SelectExpression: (node, scope) =>
      isTrue(this.evaluate(node.test as Node, scope))
        ? this.evaluate(node.lhs as Node, scope)
        : undefined,
    Ternary: (node, scope) => {
      const isMet = isTrue(this.evaluate(node.condition as Node, scope));
      return this.evaluate((isMet ? node.trueExpr : node.falseExpr) as Node, scope);
    },
  };

  #list(node: Node, scope: Scope): Value[] {
    return (node.value as Node[]).map((item) => this.evaluate(item, scope));
  }

  #block(nodes: readonly Node[], scope: Scope): string {
    const output = new Output(this.#budget);
    this.execute(nodes, scope, output);
    return output.text();
  }

  #assign(node: Node, scope: Scope): void {
    const value = node.value === null
      ? this.#block(node.body as Node[], new Scope(scope))
      : this.evaluate(node.value as Node, scope);
    const target = node.assignee as Node;
    if (target.type !== "MemberExpression") return setTarget(target, value, scope);
    const object = this.evaluate(target.object as Node, scope);
    const name = (target.property as Node).value;
    const isPlain = target.computed !== true && typeof name === "string" && !name.startsWith("_");
    if (!(object instanceof Namespace) || object instanceof Loop || !isPlain) {
      throw new TemplateError("one that sets an attribute of something other than a namespace");
    }
    object.values.set(name, value);
  }

  #loop(node: Node, scope: Scope, output: Output): void {
    const target = node.loopvar as Node;
    const iterable = node.iterable as Node;
    const isFiltered = iterable.type === "SelectExpression";
    const items = itemsOf(
      this.evaluate((isFiltered ? iterable.lhs : iterable) as Node, scope),
    ).filter((item) => {
      if (!isFiltered) return true;
      const inner = new Scope(scope);
      setTarget(target, item, inner);
      return isTrue(this.evaluate(iterable.test as Node, inner));
    });
    let isDone = false; // whether an iteration came to its end, as jinja2 decides about "else"
    let changed: Value;
    for (let at = 0; at < items.length; at++) {
      this.#budget.spend(ITERATION_WORK);
      const inner = new Scope(scope);
      setTarget(target, items[at], inner);
      const loop = new Loop(loopFields(items, at));
      loop.values.set(
        "changed",
        new Callable((args) => {
          const isNew = changed === undefined ||
            isTrue(applyOperator("!=", changed, [...args], this.#budget));
          changed = [...args];
          return isNew;
        }),
      );
      inner.set("loop", loop);
      try {
        this.execute(node.body as Node[], inner, output);
        isDone = true;
      } catch (control) {
        if (!(control instanceof LoopControl)) throw control;
        if (control.isBreak) break;
      }
    }
    if (!isDone) this.execute(node.defaultBlock as Node[], scope, output);
  }

  #macro({ args, body }: Node, scope: Scope): Callable {
    const parameters = (args as Node[]).map((parameter) => ({
      name: (parameter.type === "Identifier" ? parameter : parameter.key as Node).value as string,
      missing: parameter.type === "Identifier" ? undefined : parameter.value as Node,
    }));
    const names = namesIn(body);
    return new Callable((given, named) => {
      const inner = new Scope(scope);
      const rest = new Map(named);
      if (names.has("caller")) inner.set("caller", rest.get("caller"));
      if (names.has("caller")) rest.delete("caller");
      const missing: (() => void)[] = [];
      parameters.forEach(({ name, missing: value }, at) => {
        const isGiven = at < given.length || rest.has(name);
        if (at < given.length && rest.has(name)) {
          throw new TemplateError(`one that passes ${name} to a macro twice`);
        }
        inner.set(name, at < given.length ? given[at] : rest.get(name));
        rest.delete(name);
        if (!isGiven && value) missing.push(() => inner.set(name, this.evaluate(value, inner)));
      });
      const more = given.slice(parameters.length);
      if (names.has("varargs")) inner.set("varargs", Tuple.from(more));
      if (names.has("kwargs")) inner.set("kwargs", rest);
      if (!names.has("varargs") && more.length > 0 || !names.has("kwargs") && rest.size > 0) {
        throw new TemplateError("one that passes more to a macro than it takes");
      }
      return this.#nested(() => {
        for (const set of missing) set();
        return this.#block(body as Node[], inner);
      });
    });
  }

  #nested(work: () => Value): Value {
    if (++this.#depth > MAX_DEPTH) {
      throw new TemplateError(`one whose macros call each other more than ${MAX_DEPTH} deep`);
    }
    try {
      return work();
    } finally {
      this.#depth--;
    }
  }

  #call(node: Node, scope: Scope, more: readonly [string, Value][] = []): Value {
    const callee = node.callee as Node;
    const callable = this.evaluate(callee, scope);
    const { args, named } = this.#arguments(node.args as Node[], scope);
    for (const [name, value] of more) named.set(name, value);
    if (callable instanceof Callable) return callable.call(args, named);
    const name = ((callee.property ?? callee) as Node).value ?? "it";
    throw new TemplateError(`one that calls ${name}, which is ${typeName(callable)}`);
  }

  #arguments(nodes: readonly Node[], scope: Scope): { args: Value[]; named: Map<string, Value> } {
    const args: Value[] = [];
    const named = new Map<string, Value>();
    const set = (name: string, value: Value) => {
      if (named.has(name)) throw new TemplateError(`one that passes ${name} twice`);
      named.set(name, value);
    };
    for (const node of nodes) {
      if (node.type === "KeywordArgumentExpression") {
        set((node.key as Node).value as string, this.evaluate(node.value as Node, scope));
      } else if (node.type === "KeywordSpreadExpression") {
        const values = this.evaluate(node.argument as Node, scope);
        if (!isDictionary(values)) throw new TemplateError(`one that passes **${typeName(values)}`);
        for (const [name, value] of values) set(String(name), value);
      } else if (node.type === "SpreadExpression") {
        args.push(...itemsOf(this.evaluate(node.argument as Node, scope)));
      } else args.push(this.evaluate(node, scope));
    }
    return { args, named };
  }

  #member(node: Node, scope: Scope): Value {
    const object = this.evaluate(node.object as Node, scope);
    const property = node.property as Node;
    if (node.computed !== true && property.type === "Identifier") {
      return attributeOf(object, property.value as string, this.#budget);
    }
    if (property.type !== "SliceExpression") {
      return itemOf(object, this.evaluate(property, scope), this.#budget);
    }
    const bounds = [property.start, property.stop, property.step] as (Node | undefined)[];
    return sliceOf(
      object,
      bounds.map((bound) => bound && this.evaluate(bound, scope)),
      this.#budget,
    );
  }

  #unary(node: Node, scope: Scope): Value {
    const value = this.evaluate(node.argument as Node, scope);
    const operator = (node.operator as Node).value as string;
    if (operator === "not") return !isTrue(value);
    const number = numberOf(value);
    if (number === undefined) {
      throw new TemplateError(`one with ${operator} before ${typeName(value)}`);
    }
    return operator === "-" ? -number : number;
  }

  #binary(node: Node, scope: Scope): Value {
    const operator = (node.operator as Node).value as string;
    const left = this.evaluate(node.left as Node, scope);
    if (operator === "and" && !isTrue(left) || operator === "or" && isTrue(left)) return left;
    const right = this.evaluate(node.right as Node, scope);
    const isLogical = operator === "and" || operator === "or";
    return isLogical ? right : applyOperator(operator, left, right, this.#budget);
  }

  #filter(node: Node, value: Value, scope: Scope): Value {
    const isCall = node.type === "CallExpression";
    const name = (isCall ? node.callee as Node : node).value as string;
    const { args, named } = this.#arguments((isCall ? node.args : []) as Node[], scope);
    return applyFilter(name, value, args, named, this.#budget);
  }
}

function dictionaryKey(value: Value): Value {
  if (value === null || typeof value === "string" || typeof value === "bigint") return value;
  throw new TemplateError(`one with ${typeName(value)} as a key`);
}

/** Gives a variable, or several at once, their values. */
function setTarget(target: Node, value: Value, scope: Scope): void {
  if (target.type === "Identifier") return scope.set(target.value as string, value);
  if (target.type !== "TupleLiteral") throw new TemplateError(`one that assigns to ${target.type}`);
  const [targets, items] = [target.value as Node[], itemsOf(value)];
  if (targets.length !== items.length) {
    throw new TemplateError(`one that takes ${items.length} values for ${targets.length}`);
  }
  targets.forEach((one, at) => setTarget(one, items[at], scope));
}

function loopFields(items: readonly Value[], at: number): [string, Value][] {
  const count = BigInt(items.length);
  const index = BigInt(at);
  return [
    ["index", index + 1n],
    ["index0", index],
    ["revindex", count - index],
    ["revindex0", count - index - 1n],
    ["first", at === 0],
    ["last", at === items.length - 1],
    ["length", count],
    ["previtem", items[at - 1]],
    ["nextitem", items[at + 1]],
    ["cycle", new Callable((args) => args[at % args.length])],
  ];
}

/** Names that occur in a part of a template. */
function namesIn(part: unknown): Set<string> {
  const names = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const { type, value: name } = value as Node;
    if (type === "Identifier") names.add(name as string);
    const children = value instanceof Map ? [...value].flat() : Object.values(value);
    children.forEach(visit);
  };
  visit(part);
  return names;
}
