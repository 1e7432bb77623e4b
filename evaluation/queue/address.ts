/**
 * Addresses of queues, and the credentials in them, which no message may show.
 *
 * @module
 */

import { RequirementError } from "../../core/check.ts";

/** Where a queue is, and how it is opened. */
export interface QueueAddress {
  /** Host and port; safe to show. */
  readonly host: string;
  /** Whether the server must speak TLS; otherwise it decides. */
  readonly isEncrypted: boolean;
  /** What opens it; absent if nothing is needed. */
  readonly credentials?: QueueCredentials;
}

/** What opens a queue: a user with a password, a token, or the text of a NATS credentials file. */
export type QueueCredentials =
  | { readonly user: string; readonly password: string }
  | { readonly token: string }
  | { readonly file: string };

const PORT = "4222";

/**
 * Reads the address of a NATS server: `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]`, or `tls://` with the same parts.
 *
 * @throws {RequirementError} If it is something else; the message shows no credentials.
 */
export function parseQueueAddress(text: string): QueueAddress {
  const url = /^(nats|tls):/.test(text) ? URL.parse(text) : null;
  const words = url && [url.username, url.password].map(decoded);
  const isAddress = url?.hostname && url.pathname.length < 2 && !url.search && !url.hash;
  if (!isAddress || !words || words.includes(undefined)) {
    throw new RequirementError({
      action: "use a queue",
      requirement: "its address must be written nats://HOST[:PORT] or tls://HOST[:PORT]",
      current: text.replace(/.*@/, ""),
    });
  }
  const [user, password] = words as [string, string];
  return {
    host: `${url.hostname}:${url.port || PORT}`,
    isEncrypted: url.protocol === "tls:",
    ...(user && { credentials: password ? { user, password } : { token: user } }),
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/**
 * Reads a file of credentials: one that NATS tools write, or a line `USER:PASSWORD` or `TOKEN`.
 *
 * @param text Content of the file.
 */
export function parseQueueCredentials(text: string): QueueCredentials {
  if (text.includes("-----BEGIN")) return { file: text };
  const line = text.trim();
  const end = line.indexOf(":");
  return end < 0 ? { token: line } : { user: line.slice(0, end), password: line.slice(end + 1) };
}
