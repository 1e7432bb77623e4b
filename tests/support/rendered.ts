/**
 * Elements that a view draws, without a browser.
 *
 * @module
 */

import { Component, type ComponentChildren, isValidElement, type VNode } from "preact";

/** An element. */
export interface Rendered {
  /** Name of the element. */
  readonly name: string;
  /** Its attributes and listeners. */
  readonly props: Readonly<Record<string, unknown>>;
  /** All text in it. */
  readonly text: string;
  /** Elements in it, at any depth, in order. */
  readonly all: readonly Rendered[];
}

/** Draws a view; the result stands for its parent. */
export function rendered(view: ComponentChildren): Rendered {
  const all: Rendered[] = [];
  const text = draw(view, all);
  return { name: "", props: {}, text, all };
}

/** Elements of a name with some attributes. */
export function found(
  { all }: Rendered,
  name: string,
  props: Readonly<Record<string, unknown>> = {},
): Rendered[] {
  return all.filter((element) =>
    element.name === name &&
    Object.entries(props).every(([key, value]) => element.props[key] === value)
  );
}

function draw(view: ComponentChildren, all: Rendered[]): string {
  if (Array.isArray(view)) return view.map((child) => draw(child, all)).join("");
  if (!isValidElement(view)) {
    return view === null || view === undefined || typeof view === "boolean" ? "" : String(view);
  }
  const { type, props } = view as VNode<Record<string, unknown>>;
  if (typeof type === "function") return draw(call(type, props), all);
  const place = all.length;
  const inner: Rendered[] = [];
  const text = draw(props["children"] as ComponentChildren, inner);
  all.splice(place, 0, { name: type, props, text, all: inner }, ...inner);
  return text;
}

function call(
  type: VNode<Record<string, unknown>>["type"] & object,
  props: Record<string, unknown>,
): ComponentChildren {
  if (!(type.prototype instanceof Component)) {
    return (type as (props: unknown) => ComponentChildren)(props);
  }
  const made = new (type as new (props: unknown) => Component)(props);
  return made.render(made.props, made.state);
}
