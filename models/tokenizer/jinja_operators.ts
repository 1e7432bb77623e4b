/**
 * Operators of chat templates, with Python's rules: floor division, text that only joins text, tests of membership.
 *
 * @module
 */

import {
  type Budget,
  compare,
  isDictionary,
  isEqual,
  isList,
  itemsOf,
  numberOf,
  Range,
  TemplateError,
  textOf,
  Tuple,
  typeName,
  type Value,
} from "./jinja_values.ts";

/** Most bits of an integer that a template may compute. */
const MAX_BITS = 4096;

/**
 * Applies an operator to two values.
 *
 * @throws {TemplateError} If Python refuses the operands.
 */
export function applyOperator(operator: string, a: Value, b: Value, budget: Budget): Value {
  switch (operator) {
    case "==":
      return isEqual(a, b, budget);
    case "!=":
      return !isEqual(a, b, budget);
    case "in":
      return isIn(a, b, budget);
    case "not in":
      return !isIn(a, b, budget);
    case "<":
      return compare(a, b, budget) < 0;
    case ">":
      return compare(a, b, budget) > 0;
    case "<=":
      return compare(a, b, budget) <= 0;
    case ">=":
      return compare(a, b, budget) >= 0;
    case "~":
      return join([textOf(a, budget), textOf(b, budget)], budget);
  }
  const [first, second] = [numberOf(a), numberOf(b)];
  if (first !== undefined && second !== undefined) return calculate(operator, first, second);
  if (operator === "+") return add(a, b, budget);
  if (operator === "*" && typeof second === "bigint") return repeat(a, second, budget);
  if (operator === "*" && typeof first === "bigint") return repeat(b, first, budget);
  throw new TemplateError(`one that applies ${operator} to ${typeName(a)} and ${typeName(b)}`);
}

/** Joins texts within the limits. */
export function join(texts: readonly string[], budget: Budget, separator: string = ""): string {
  budget.reserve(texts.reduce((sum, text) => sum + text.length + separator.length, 0));
  return texts.join(separator);
}

function isIn(item: Value, container: Value, budget: Budget): boolean {
  if (typeof container === "string") {
    if (typeof item === "string") {
      budget.spend(container.length / 16);
      return container.includes(item);
    }
    throw new TemplateError(`one that looks for ${typeName(item)} in a string`);
  }
  if (isDictionary(container)) {
    if (!isDictionary(item) && (!isList(item) || item instanceof Tuple)) return container.has(item);
    throw new TemplateError(`one that looks for ${typeName(item)} among keys`);
  }
  return itemsOf(container).some((other) => isEqual(item, other, budget));
}

function add(a: Value, b: Value, budget: Budget): Value {
  if (typeof a === "string" && typeof b === "string") return join([a, b], budget);
  if (isList(a) && isList(b) && a.constructor === b.constructor && !(a instanceof Range)) {
    budget.reserveItems(a.length + b.length);
    return a instanceof Tuple ? Tuple.from([...a, ...b]) : [...a, ...b];
  }
  throw new TemplateError(`one that adds ${typeName(a)} and ${typeName(b)}`);
}

function repeat(value: Value, times: bigint, budget: Budget): Value {
  const count = times < 0n ? 0 : Number(times);
  if (typeof value !== "string" && !isList(value)) {
    throw new TemplateError(`one that repeats ${typeName(value)}`);
  }
  if (typeof value === "string") {
    budget.reserve(value.length * count);
    return value.repeat(count);
  }
  budget.reserveItems(value.length * count);
  const items = Array.from({ length: count }, () => value).flat(1);
  return value instanceof Tuple ? Tuple.from(items) : items;
}

function calculate(operator: string, a: bigint | number, b: bigint | number): Value {
  if (operator === "/") {
    refuseZero(b);
    return Number(a) / Number(b);
  }
  if (typeof a === "bigint" && typeof b === "bigint") return calculateIntegers(operator, a, b);
  return calculateFloats(operator, Number(a), Number(b));
}

function calculateIntegers(operator: string, a: bigint, b: bigint): Value {
  if (operator === "**") return power(a, b);
  const result = operator === "+"
    ? a + b
    : operator === "-"
    ? a - b
    : operator === "*"
    ? a * b
    : operator === "//"
    ? floorDivide(a, b)
    : a - b * floorDivide(a, b);
  if (bits(result) <= MAX_BITS) return result;
  throw new TemplateError("one whose integers grow too large");
}

function floorDivide(a: bigint, b: bigint): bigint {
  refuseZero(b);
  return a / b - (a % b !== 0n && (a < 0n) !== (b < 0n) ? 1n : 0n);
}

function power(a: bigint, b: bigint): Value {
  if (b < 0n) return calculateFloats("**", Number(a), Number(b));
  if (bits(a) * Number(b) <= MAX_BITS) return a ** b;
  throw new TemplateError("one whose integers grow too large");
}

function bits(value: bigint): number {
  return (value < 0n ? -value : value).toString(16).length * 4;
}

function calculateFloats(operator: string, a: number, b: number): number {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "**": {
      if (a === 0 && b < 0) refuseZero(0);
      const result = a ** b;
      if (Number.isFinite(result) || !Number.isFinite(a) || !Number.isFinite(b)) return result;
      throw new TemplateError("one whose power is no finite number");
    }
  }
  refuseZero(b);
  const remainder = a % b;
  const isOther = remainder !== 0 && (remainder < 0) !== (b < 0);
  if (operator === "%") return isOther ? remainder + b : remainder === 0 ? 0 * b : remainder;
  const quotient = (a - (isOther ? remainder + b : remainder)) / b;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

function refuseZero(value: bigint | number): void {
  if (Number(value) === 0) throw new TemplateError("one that divides by zero");
}
