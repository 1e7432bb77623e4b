/**
 * Where tokens that may return wait.
 *
 * @module
 */

import type { StoreKind } from "./kv_store.ts";
import type { ResolvedPolicy } from "./policy_options.ts";

/** A full cache leaves nothing to the host, and lists of query heads only simulate a cache. */
export function storeOf({ name, granularity }: ResolvedPolicy, wanted: StoreKind): StoreKind {
  return name === "full" || granularity === "query_head" ? "resident" : wanted;
}
