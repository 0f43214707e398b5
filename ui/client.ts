/** One open page, to which bytes are sent as it takes them. */
import type { ServerResponse } from "node:http";

/** How long a client may take nothing of what was sent to it, in ms. Then it is told everything anew. */
const MOST_SILENT_MS = 60_000;

/** Bytes of news that may wait for a client, which takes less than there comes. With more it is told everything anew. */
const MOST_WAITING = 2 ** 24;

/** Bytes that are sent at once: a client shows that it reads when it has taken as many. */
const SENT_AT_ONCE = 2 ** 16;

/** One open page. */
export class Client {
  /** Number of the run of which it is told all; of others there is no need for images. */
  readonly run: number;
  readonly #response: ServerResponse;
  readonly #now: () => number;
  /** What is sent when the client has taken what was sent before, and how many bytes that is. */
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #mostWaiting = MOST_WAITING;
  /** Since when it has not taken what was sent last; nothing while it keeps up. */
  #silentSince: number | undefined;
  #isReady = false;
  #isEnding = false;

  /** @param now tells the time in ms */
  constructor(response: ServerResponse, run: number, now: () => number = () => performance.now()) {
    this.run = run;
    this.#response = response;
    this.#now = now;
    response.on("drain", () => {
      this.#silentSince = undefined;
      this.#sendWaiting();
    });
  }

  /** Whether it can be told anything. */
  get isOpen(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded && !this.#isEnding;
  }

  /** Whether it was told everything, so that it can be told the news. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Sends everything there is, however much that is. */
  begin(bytes: Uint8Array): void {
    this.#mostWaiting = bytes.length + MOST_WAITING;
    this.#isReady = true;
    this.send(bytes);
  }

  /** Sends bytes, which are shared with the other clients. A client that reads nothing for too long is cut off. */
  send(bytes: Uint8Array): void {
    if (!this.isOpen) return;
    const isSilent = this.#silentSince !== undefined && this.#now() - this.#silentSince > MOST_SILENT_MS;
    if (isSilent || this.#waitingBytes + bytes.length > this.#mostWaiting) {
      this.#response.destroy(); // its page connects again by itself
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#silentSince === undefined) this.#sendWaiting();
  }

  /** Ends the stream; what was sent before may still be read. */
  end(): void {
    if (!this.isOpen) return;
    this.#isEnding = true;
    if (this.#silentSince === undefined) this.#sendWaiting();
  }

  /** Sends as much of what waits as the client takes. */
  #sendWaiting(): void {
    while (this.#waiting.length > 0 && !this.#response.destroyed) {
      const [next] = this.#waiting;
      const part = next.subarray(0, SENT_AT_ONCE);
      if (part.length < next.length) this.#waiting[0] = next.subarray(SENT_AT_ONCE);
      else this.#waiting.shift();
      this.#waitingBytes -= part.length;
      if (this.#response.write(part)) continue;
      this.#silentSince = this.#now();
      return;
    }
    if (this.#isEnding) this.#response.end();
  }
}
