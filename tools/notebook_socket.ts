/**
 * The client end of a Jupyter connection: ZMTP 3.0 frames over TCP, signed messages inside.
 *
 * @see {@link https://rfc.zeromq.org/spec/23/ | ZMTP 3.0}
 * @see {@link https://jupyter-client.readthedocs.io/en/stable/messaging.html | Jupyter messages}
 * @module
 */

/** Content of a Jupyter message. */
export type MessageContent = Readonly<Record<string, unknown>>;

/** A message of the kernel. */
export interface KernelMessage {
  /** Its type, for example `execute_reply`. */
  readonly type: string;
  /** Id of the request that it answers or belongs to; empty if none. */
  readonly parent: string;
  /** What it says. */
  readonly content: MessageContent;
}

/** What all sockets of a connection share. */
export interface ConnectionKey {
  /** Signs messages. */
  readonly hmac: CryptoKey;
  /** Names this client. */
  readonly session: string;
}

/** Where to connect. */
export interface SocketAddress {
  /** Port on this machine. */
  readonly port: number;
  /** `DEALER` for requests, `SUB` for what is published. */
  readonly kind: "DEALER" | "SUB";
}

/** Flags of a ZMTP frame. */
const FLAG = { more: 1, long: 2, command: 4 } as const;

const GREETING_BYTES = 64;
const DELIMITER = "<IDS|MSG>";
const CONNECT_TRIES = 600;
const CONNECT_PAUSE_MS = 100;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** One socket of a kernel. Disposing it closes the connection. */
export class KernelSocket implements Disposable {
  readonly #connection: Deno.TcpConn;
  readonly #key: ConnectionKey;
  #received = new Uint8Array(0);

  private constructor(connection: Deno.TcpConn, key: ConnectionKey) {
    this.#connection = connection;
    this.#key = key;
  }

  /**
   * Connects, trying for a minute, since a kernel opens its ports only some time after it starts.
   *
   * @returns The open socket; a `SUB` socket hears everything.
   */
  static async open(address: SocketAddress, key: ConnectionKey): Promise<KernelSocket> {
    const socket = new KernelSocket(await connect(address.port), key);
    const greeting = new Uint8Array(GREETING_BYTES);
    greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0]);
    greeting.set(encoder.encode("NULL"), 12);
    await socket.#write(greeting);
    await socket.#take(GREETING_BYTES);
    await socket.#write(frame(readyCommand(address.kind), FLAG.command));
    await socket.#readFrame();
    if (address.kind === "SUB") await socket.#write(frame(Uint8Array.of(1), 0));
    return socket;
  }

  /** Sends a request and gives its id. */
  async send(type: string, content: MessageContent): Promise<string> {
    const { session, hmac } = this.#key;
    const id = crypto.randomUUID();
    const header = {
      msg_id: id,
      session,
      username: "notebooks",
      date: new Date().toISOString(),
      msg_type: type,
      version: "5.3",
    };
    const body = [header, {}, {}, content].map((part) => encoder.encode(JSON.stringify(part)));
    const signature = new Uint8Array(await crypto.subtle.sign("HMAC", hmac, join(body)));
    const parts = [encoder.encode(DELIMITER), encoder.encode(signature.toHex()), ...body];
    // One write, so that the last frame does not wait for an acknowledgement of the first.
    await this.#write(
      join(parts.map((part, index) => frame(part, index < parts.length - 1 ? FLAG.more : 0))),
    );
    return id;
  }

  /**
   * Waits for the next message.
   *
   * @throws {Error} If the kernel closed the connection.
   */
  async receive(): Promise<KernelMessage> {
    const parts: string[] = [];
    let flags: number = FLAG.more;
    while ((flags & FLAG.more) !== 0) {
      const next = await this.#readFrame();
      flags = next.flags;
      parts.push(decoder.decode(next.data));
    }
    const first = parts.indexOf(DELIMITER) + 2;
    const [header, parent, , content] = parts.slice(first, first + 4).map((part) =>
      JSON.parse(part)
    );
    return { type: header.msg_type, parent: parent.msg_id ?? "", content };
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#connection.close();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length;) {
      sent += await this.#connection.write(bytes.subarray(sent));
    }
  }

  async #readFrame(): Promise<{ flags: number; data: Uint8Array }> {
    const [flags] = await this.#take(1) as unknown as [number];
    const isLong = (flags & FLAG.long) !== 0;
    const size = await this.#take(isLong ? 8 : 1);
    const view = new DataView(size.buffer, size.byteOffset, size.byteLength);
    const length = isLong ? Number(view.getBigUint64(0)) : view.getUint8(0);
    return { flags, data: await this.#take(length) };
  }

  async #take(count: number): Promise<Uint8Array> {
    const parts = [this.#received];
    for (let have = this.#received.length; have < count;) {
      const chunk = new Uint8Array(1 << 16);
      const read = await this.#connection.read(chunk);
      if (read === null) throw new Error("The kernel closed the connection");
      parts.push(chunk.subarray(0, read));
      have += read;
    }
    const all = parts.length === 1 ? this.#received : join(parts);
    this.#received = all.subarray(count);
    return all.subarray(0, count);
  }
}

async function connect(port: number): Promise<Deno.TcpConn> {
  for (let tries = 1;; tries++) {
    try {
      return await Deno.connect({ hostname: "127.0.0.1", port });
    } catch (error) {
      if (tries === CONNECT_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, CONNECT_PAUSE_MS));
    }
  }
}

function readyCommand(kind: string): Uint8Array<ArrayBuffer> {
  const name = encoder.encode("READY");
  const property = encoder.encode("Socket-Type");
  const value = encoder.encode(kind);
  return join([
    Uint8Array.of(name.length),
    name,
    Uint8Array.of(property.length),
    property,
    Uint8Array.of(0, 0, 0, value.length),
    value,
  ]);
}

function frame(data: Uint8Array, flags: number): Uint8Array<ArrayBuffer> {
  const framed = new Uint8Array(9 + data.length);
  framed[0] = flags | FLAG.long;
  new DataView(framed.buffer).setBigUint64(1, BigInt(data.length));
  framed.set(data, 9);
  return framed;
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
