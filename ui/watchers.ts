/** Sends the news of runs to everyone who has the page open, as server-sent events. */
import type { ServerResponse } from "node:http";
import { Client } from "./client.ts";
import type { PageMessage } from "./records.ts";
import { CURVE_POINTS, RunReader } from "./run_reader.ts";

/** Between two looks into the folders, while the page is open somewhere. */
const POLL_MS = 500;

/** Streams that are open at once: more than people need, and little enough for a run that goes on beside them. */
export const MOST_CLIENTS = 64;

/** Runs that are shown at once. */
export const MOST_SHOWN = 200;

/** Points of all runs' curves together, below which each run keeps as many as it can. */
const MOST_POINTS = 100_000;

/** Between two looks for runs that have begun, in ms. */
const FIND_EVERY_MS = 5_000;

/** Of the time, as much at most is spent on looking, unless a heartbeat would come late. */
const MOST_BUSY = 0.1;

/** A line that a page ignores: it is how a client that went away without a word is found out. */
const HEARTBEAT = new TextEncoder().encode(": still here\n\n");

/** Between two of these, in ms. */
const HEARTBEAT_MS = 15_000;

/** Finds the folders of runs; those that it finds later are added. */
export type FindRuns = () => Promise<readonly string[]>;

/** All clients, and what they are told. */
export class Watchers {
  readonly #readers: RunReader[] = [];
  readonly #find: FindRuns;
  readonly #clients = new Set<Client>();
  readonly #onProblem: (error: unknown) => void;
  readonly #encoder = new TextEncoder();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #polling: Promise<void> | undefined;
  #toldAt = performance.now();
  #foundAt = -Infinity;
  #delayMs = POLL_MS;
  /** How long the last look took, in ms. */
  #hasLooked = false;
  #hasEnded = false;

  /** @param onProblem takes an error that is a bug; it goes no further */
  constructor(find: FindRuns, onProblem: (error: unknown) => void) {
    this.#find = find;
    this.#onProblem = onProblem;
  }

  /** Whether no more clients are taken. */
  get isFull(): boolean {
    return this.#clients.size >= MOST_CLIENTS;
  }

  /**
   * Tells a client everything there is, and then the news, until it goes away. Never rejects.
   *
   * @param run the number of the run of which it is told all
   */
  async add(response: ServerResponse, run: number): Promise<void> {
    const client = new Client(response, run);
    this.#clients.add(client);
    response.on("close", () => this.#clients.delete(client));
    await this.#poll();
    // It may have gone meanwhile, and the page may have been closed.
    if (this.#hasEnded || !client.isOpen) return client.end();
    client.begin(this.#encode([
      { ...this.#names(), begins: true },
      ...this.#readers.flatMap((reader) => reader.everything()).filter((message) => isFor(client, message)),
    ]));
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
    }, this.#delayMs);
    Deno.unrefTimer(this.#timer);
  }

  /** Looks into the folders and tells the news; one look at a time. Never rejects. */
  #poll(): Promise<void> {
    return this.#polling ??= (async () => {
      try {
        const start = performance.now();
        await this.#findRuns();
        for (const reader of this.#readers) {
          // What cannot be read now may be readable later.
          this.#tellNews(await reader.poll().catch(() => []));
        }
        // The first one has caught up: the next is short again.
        const took = this.#hasLooked ? performance.now() - start : 0;
        this.#hasLooked = true;
        this.#delayMs = Math.min(Math.max(POLL_MS, took / MOST_BUSY), HEARTBEAT_MS);
        if (performance.now() - this.#toldAt > HEARTBEAT_MS) this.#tell(HEARTBEAT);
      } catch (error) {
        this.#onProblem(error);
      } finally {
        this.#polling = undefined;
      }
    })();
  }

  /** Adds the runs that have begun since the last time. */
  async #findRuns(): Promise<void> {
    if (performance.now() - this.#foundAt < FIND_EVERY_MS) return;
    const known = new Set(this.#readers.map(({ folder }) => folder));
    const found = await this.#find().catch(() => []); // a folder that is not there now may be there later
    this.#foundAt = performance.now();
    const added = found.filter((folder) => !known.has(folder)).slice(0, MOST_SHOWN - known.size);
    if (added.length === 0) return;
    const points = Math.min(CURVE_POINTS, Math.ceil(MOST_POINTS / (known.size + added.length)));
    for (const folder of added) this.#readers.push(new RunReader(folder, this.#readers.length, { points }));
    this.#tell(this.#encode([this.#names()]));
  }

  #names(): Extract<PageMessage, { kind: "runs" }> {
    const names = this.#readers.map(({ folder }) => folder);
    return { kind: "runs", names, isLive: true, now: Date.now() };
  }

  #tellNews(news: readonly PageMessage[]): void {
    const shared = news.filter((message) => !isDetail(message));
    if (shared.length > 0) this.#tell(this.#encode(shared));
    const details = news.filter(isDetail);
    if (details.length === 0) return;
    const bytes = this.#encode(details);
    for (const client of this.#clients) {
      if (client.isReady && client.run === details[0].run) client.send(bytes);
    }
  }

  #tell(bytes: Uint8Array): void {
    this.#toldAt = performance.now();
    for (const client of this.#clients) if (client.isReady) client.send(bytes);
  }
}

/** A message that only those need who look into its run: images, neighbours, actors of its ranks. */
function isDetail(message: PageMessage): message is Extract<PageMessage, { kind: "diagnostics" | "rank" }> {
  return message.kind === "diagnostics" || message.kind === "rank";
}

/** Whether a client is told a message. */
function isFor({ run }: Client, message: PageMessage): boolean {
  return !isDetail(message) || message.run === run;
}
