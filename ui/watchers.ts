/** Sends the news of runs to everyone who has the page open, as server-sent events. */
import type { ServerResponse } from "node:http";
import type { PageMessage } from "./records.ts";
import { RunReader } from "./run_reader.ts";

/** Between two looks into the folders, while the page is open somewhere. */
const POLL_MS = 500;

/** How long a client may leave unread what was sent to it. One that is further behind is told everything anew. */
const MOST_BEHIND_MS = 60_000;

/** Streams that are open at once: more than people need, and little enough for a run that goes on beside them. */
export const MOST_CLIENTS = 64;

/** A line that a page ignores: it is how a client that went away without a word is found out. */
const HEARTBEAT = new TextEncoder().encode(": still here\n\n");

/** Between two of these, in ms. */
const HEARTBEAT_MS = 15_000;

/** One open page. */
class Client {
  readonly #response: ServerResponse;
  /** When it left something unread; nothing while it keeps up. */
  #behindSince: number | undefined;
  /** Whether it was told everything, so that it can be told the news. */
  isReady = false;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on("drain", () => this.#behindSince = undefined);
  }

  /** Whether it can be told anything. */
  get isOpen(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded;
  }

  /** Sends bytes, which are shared with the other clients. A client that reads nothing for too long is cut off. */
  send(bytes: Uint8Array): void {
    if (!this.isOpen) return;
    const now = performance.now();
    if (this.#behindSince !== undefined && now - this.#behindSince > MOST_BEHIND_MS) {
      this.#response.destroy(); // its page connects again by itself
    } else if (!this.#response.write(bytes)) this.#behindSince ??= now;
  }

  /** Ends the stream; what was sent before may still be read. */
  end(): void {
    if (this.isOpen) this.#response.end();
  }
}

/** All clients, and what they are told. */
export class Watchers {
  readonly #readers: readonly RunReader[];
  readonly #clients = new Set<Client>();
  readonly #onProblem: (error: unknown) => void;
  readonly #encoder = new TextEncoder();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #polling: Promise<void> | undefined;
  #toldAt = performance.now();
  #hasEnded = false;

  /** @param onProblem takes an error that is a bug; it goes no further */
  constructor(folders: readonly string[], onProblem: (error: unknown) => void) {
    this.#readers = folders.map((folder, run) => new RunReader(folder, run));
    this.#onProblem = onProblem;
  }

  /** Whether no more clients are taken. */
  get isFull(): boolean {
    return this.#clients.size >= MOST_CLIENTS;
  }

  /** Tells a client everything there is, and then the news, until it goes away. Never rejects. */
  async add(response: ServerResponse): Promise<void> {
    const client = new Client(response);
    this.#clients.add(client);
    response.on("close", () => this.#clients.delete(client));
    await this.#poll();
    // It may have gone meanwhile, and the page may have been closed.
    if (this.#hasEnded || !client.isOpen) return client.end();
    client.send(this.#encode([
      { kind: "runs", names: this.#readers.map(({ folder }) => folder), isLive: true },
      ...this.#readers.flatMap((reader) => reader.everything()),
    ]));
    client.isReady = true;
    this.#schedule();
  }

  /** Tells the last news and ends all streams. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#polling;
    await this.#poll();
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    for (const client of this.#clients) client.end();
  }

  #encode(messages: readonly PageMessage[]): Uint8Array {
    return this.#encoder.encode(
      messages.map((message) => `data: ${JSON.stringify(message)}\n\n`).join(""),
    );
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#clients.size === 0 || this.#hasEnded) return;
    this.#timer = setTimeout(async () => {
      await this.#poll();
      this.#timer = undefined;
      this.#schedule();
    }, POLL_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** Looks into the folders and tells the news; one look at a time. Never rejects. */
  #poll(): Promise<void> {
    return this.#polling ??= (async () => {
      try {
        for (const reader of this.#readers) {
          // What cannot be read now may be readable later.
          const news = await reader.poll().catch(() => []);
          if (news.length > 0) this.#tell(this.#encode(news));
        }
        if (performance.now() - this.#toldAt > HEARTBEAT_MS) this.#tell(HEARTBEAT);
      } catch (error) {
        this.#onProblem(error);
      } finally {
        this.#polling = undefined;
      }
    })();
  }

  #tell(bytes: Uint8Array): void {
    this.#toldAt = performance.now();
    for (const client of this.#clients) if (client.isReady) client.send(bytes);
  }
}
