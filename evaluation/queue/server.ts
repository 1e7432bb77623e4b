/**
 * A connection to the NATS server of a queue that outlasts its absences, up to a bound.
 *
 * @module
 */

import {
  type Consumer,
  jetstream,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import {
  connect,
  type ConnectionOptions,
  credsAuthenticator,
  errors,
  type NatsConnection,
} from "@nats-io/transport-node";
import { delay, untilAborted } from "../../core/aborted.ts";
import { DataError } from "../../core/check.ts";
import type { QueueAddress } from "./address.ts";

/** How a server is used. */
export interface QueueServerOptions {
  /** How long it may be away; two minutes if left out. */
  readonly patienceMs?: number;
  /** How long a first connection may take; twenty seconds if left out. */
  readonly connectMs?: number;
  /** Told when the server goes away and when it is back. */
  readonly onWarning?: (warning: string) => void;
  /** Ends all waits. */
  readonly signal?: AbortSignal;
}

/** Times between attempts: longer and longer from the first up to the last. */
const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 5_000;
/** A server that does not answer pings for three of these times counts as away. */
const PING_MS = 15_000;
/** How long one answer of the server may take; what it is asked for can be asked for again. */
const REQUEST_MS = 2_000;

/** A server's answer of these kinds says that it is not ready, as after a start. */
const NOT_READY = 503;

/** A connection; disposing it closes it. */
export class QueueServer implements AsyncDisposable {
  /** Host and port. */
  readonly host: string;
  /** Sends and receives. */
  readonly connection: NatsConnection;
  /** Sends and receives what the server keeps. */
  readonly stream: JetStreamClient;
  /** Makes and removes what the server keeps. */
  readonly manager: JetStreamManager;
  readonly #options: QueueServerOptions & { readonly patienceMs: number };
  readonly #owned: AsyncDisposableStack;
  #failure: DataError | undefined;

  private constructor(
    host: string,
    parts: {
      readonly connection: NatsConnection;
      readonly manager: JetStreamManager;
      readonly owned: AsyncDisposableStack;
    },
    options: QueueServerOptions & { readonly patienceMs: number },
  ) {
    this.host = host;
    this.connection = parts.connection;
    this.manager = parts.manager;
    this.#owned = parts.owned;
    this.stream = jetstream(parts.connection, { timeout: REQUEST_MS });
    this.#options = options;
    this.#watch();
  }

  /**
   * Connects to a server.
   *
   * @param address The server.
   * @param options Bounds, events.
   * @throws {DataError} If it cannot be reached in time, refuses the credentials or keeps no streams.
   */
  static async open(address: QueueAddress, options: QueueServerOptions = {}): Promise<QueueServer> {
    const { patienceMs = 120_000, connectMs = 20_000, signal } = options;
    const { host } = address;
    await using owned = new AsyncDisposableStack();
    owned.use(guardSockets());
    const connection = await retried(() => connect(connectionOptions(address)), {
      ...(signal && { signal }),
      patienceMs: connectMs,
      makeError: (cause) => serverError(host, cause),
    });
    owned.defer(() => connection.close());
    const manager = await retried(() => jetstreamManager(connection, { timeout: REQUEST_MS }), {
      ...(signal && { signal }),
      patienceMs: connectMs,
      makeError: (cause) => serverError(host, cause),
    });
    const parts = { connection, manager, owned: owned.move() };
    return new QueueServer(host, parts, { ...options, patienceMs });
  }

  /** Why the server can no longer be used; undefined while it can. */
  get failure(): DataError | undefined {
    return this.#failure;
  }

  /**
   * Asks the server, again and again while it is away.
   *
   * @throws {DataError} If it is away for too long or refuses; `serverCode` tells why it refused.
   */
  async attempt<T>(ask: () => Promise<T>): Promise<T> {
    const { patienceMs, signal } = this.#options;
    const makeError = (cause: unknown) => {
      if (this.#failure) return this.#failure;
      const error = serverError(this.host, cause);
      if (isPassing(cause)) this.#failure = error;
      return error;
    };
    return await retried(ask, {
      ...(signal && { signal }),
      patienceMs,
      makeError,
      isOver: () => this.#failure !== undefined,
    });
  }

  /**
   * Takes what waits for a consumer, and what comes within a time.
   *
   * @param consumer What the server keeps about who takes it.
   * @param limits Most messages; time, at least a second.
   * @returns Messages; none if the consumer is gone.
   * @throws The reason of the signal if that aborts.
   */
  async *pull(
    consumer: Consumer,
    { messages: max, milliseconds }: { readonly messages: number; readonly milliseconds: number },
  ): AsyncGenerator<JsMsg> {
    const { signal } = this.#options;
    if (this.#failure) throw this.#failure;
    const messages = await consumer.fetch({ max_messages: max, expires: milliseconds });
    const stop = () => messages.stop();
    signal?.addEventListener("abort", stop);
    try {
      for await (const message of messages) yield message;
    } catch {
      // The consumer is gone, or the server is away, which the next request finds out.
    } finally {
      signal?.removeEventListener("abort", stop);
      messages.stop();
    }
    signal?.throwIfAborted();
    if (this.#failure) throw this.#failure;
  }

  /** Sends everything, as far as the server is there, and closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { connection } = this;
    if (this.#failure === undefined) {
      await Promise.race([connection.flush().catch(() => {}), delay(500)]);
    }
    await this.#owned.disposeAsync();
  }

  /** Tells when the server goes, and gives up when it stays away. */
  async #watch(): Promise<void> {
    const { connection, host } = this;
    const { patienceMs, onWarning } = this.#options;
    let end: ReturnType<typeof setTimeout> | undefined;
    const giveUp = () => {
      this.#failure ??= serverError(host, `away for ${patienceMs / 1000} s`);
      connection.close();
    };
    connection.closed().then((cause) => {
      clearTimeout(end);
      if (cause) this.#failure ??= serverError(host, cause);
    });
    for await (const { type } of connection.status()) {
      if (type === "disconnect" && !connection.isClosed() && end === undefined) {
        onWarning?.(`The queue at ${host} went away; trying for ${patienceMs / 1000} s`);
        end = setTimeout(giveUp, patienceMs);
      }
      if (type !== "reconnect") continue;
      clearTimeout(end);
      end = undefined;
      onWarning?.(`The queue at ${host} is back`);
    }
  }
}

/**
 * Keeps sockets that the client has let go of from ending the process: it takes its listeners off before it closes a
 * socket, so that a server that hangs up at that moment is an uncaught error.
 */
function guardSockets(): AsyncDisposable {
  const listener = (event: ErrorEvent) => {
    const { code, syscall } = Object(event.error) as NodeJS.ErrnoException;
    if (syscall === "read" && code === "ECONNRESET") event.preventDefault();
  };
  addEventListener("error", listener);
  return {
    async [Symbol.asyncDispose]() {
      await delay(20);
      removeEventListener("error", listener);
    },
  };
}

function connectionOptions(
  { host, isEncrypted, credentials = {} as never }: QueueAddress,
): ConnectionOptions {
  let lostAt = 0;
  let askedAt = -Infinity;
  return {
    servers: host,
    name: "smallkv",
    // Permissions are for this host alone, by its name.
    resolve: false,
    ignoreClusterUpdates: true,
    timeout: REQUEST_MS,
    pingInterval: PING_MS,
    maxReconnectAttempts: -1,
    // Asked several times before each attempt, so that the wait follows from the time that the server has been away.
    reconnectDelayHandler() {
      const now = performance.now();
      if (now - askedAt > 2 * LAST_WAIT_MS) lostAt = now;
      askedAt = now;
      return Math.min(LAST_WAIT_MS, Math.max(FIRST_WAIT_MS, (now - lostAt) / 4));
    },
    ...(isEncrypted && { tls: {} }),
    ..."user" in credentials && { user: credentials.user, pass: credentials.password },
    ..."token" in credentials && { token: credentials.token },
    ..."file" in credentials && {
      authenticator: credsAuthenticator(new TextEncoder().encode(credentials.file)),
    },
  } as ConnectionOptions;
}

/** How long and how often something is tried. */
interface Retries {
  readonly patienceMs: number;
  readonly signal?: AbortSignal;
  readonly makeError: (cause: unknown) => DataError;
  readonly isOver?: () => boolean;
}

async function retried<T>(
  ask: () => Promise<T>,
  { patienceMs, signal, makeError, isOver }: Retries,
): Promise<T> {
  const end = performance.now() + patienceMs;
  for (let wait = FIRST_WAIT_MS;; wait = Math.min(2 * wait, LAST_WAIT_MS)) {
    signal?.throwIfAborted();
    try {
      return await untilAborted(ask(), signal);
    } catch (cause) {
      signal?.throwIfAborted();
      const left = end - performance.now();
      if (!isPassing(cause) || left <= 0 || isOver?.()) throw makeError(cause);
      await delay(Math.min(wait, left), signal);
    }
  }
}

/** Whether a failure may pass by itself: the server is away, or was just started. */
function isPassing(cause: unknown): boolean {
  if (isFull(cause)) return false;
  if (cause instanceof JetStreamApiError) return cause.apiError().code === NOT_READY;
  const { AuthorizationError, UserAuthenticationExpiredError, PermissionViolationError } = errors;
  const refusals = [AuthorizationError, UserAuthenticationExpiredError, PermissionViolationError];
  if (refusals.some((refusal) => cause instanceof refusal)) return false;
  const { name, code } = Object(cause) as { readonly name?: string; readonly code?: string };
  return ["TimeoutError", "ConnectionError"].includes(name ?? "") ||
    ["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH"].includes(code ?? "");
}

/**
 * Whether a subject that holds one message has one. The server's number for it stands for any failure to store, full disks
 * included.
 */
function isFull(cause: unknown): boolean {
  return cause instanceof JetStreamApiError && /messages per subject/.test(cause.message);
}

/**
 * Whether a message was refused because its subject has one, and holds no more.
 *
 * @param error What `attempt` threw.
 */
export function isQueuedAlready(error: unknown): boolean {
  return isFull((Object(error) as { readonly cause?: unknown }).cause);
}

/**
 * Number by which the server says why it refused.
 *
 * @param error What `attempt` threw.
 */
export function serverCode(error: unknown): number | undefined {
  const { cause } = Object(error) as { readonly cause?: unknown };
  return cause instanceof JetStreamApiError ? cause.code : undefined;
}

/**
 * Whether nobody on the server takes what was sent: its stream or consumer is gone.
 *
 * @param error What `attempt` threw.
 */
export function isNobodyThere(error: unknown): boolean {
  const { cause } = Object(error) as { readonly cause?: unknown };
  const { name } = Object(cause) as { readonly name?: string };
  // The client takes a stream that is not there for a server without streams.
  return name === "RequestError" || name === "JetStreamNotEnabled";
}

function serverError(host: string, cause: unknown): DataError {
  const { name = "", message = "" } = Object(cause) as Partial<Error>;
  const requirement = name === "JetStreamNotEnabled"
    ? "its server must keep streams, as nats-server -js does"
    : /Authorization|Authentication|Permission/.test(name)
    ? "the server must accept the credentials"
    : /certificate/.test(message)
    ? "its certificate must come from an authority that this machine, or DENO_CERT, names"
    : cause instanceof JetStreamApiError
    ? "the server must do what it is asked"
    : "the server must answer";
  const text = message || String(cause);
  return new DataError(
    `Cannot use the queue at ${host}: ${requirement}: current error is ${text}`,
    { cause },
  );
}
