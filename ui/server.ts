/** Serves the live page: runs' folders are read, and their news sent to whoever looks. Nothing can be changed by it. */
import { UserError } from "../errors.ts";
import { findAsset, livePage } from "./assets.ts";
import { DEFAULT_PORT, LOOPBACK } from "./page_address.ts";
import type { PageMessage } from "./records.ts";
import { RunReader } from "./run_reader.ts";

/** Between two looks into the folders, while somebody watches. */
const POLL_MS = 500;

/** News that may wait for a slow reader; who is further behind is told everything anew. */
const MOST_WAITING = 500;

/** Ports from the usual one on that are tried where that is taken. */
const PORTS_TRIED = 20;

/** Every address of this machine. */
const EVERYWHERE = "0.0.0.0";

/** Names that a browser on this machine may call it by: a page of somebody else's name is not let in. */
const LOOPBACK_NAMES = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** How the page is served. */
export interface PageOptions {
  /** 0 for any that is free; {@linkcode DEFAULT_PORT} unless said otherwise, or the first free one after it. */
  port?: number;
  /** {@linkcode LOOPBACK} unless said otherwise. */
  hostname?: string;
}

/** A page that is served. */
export interface PageServer extends AsyncDisposable {
  /** Where it is. */
  readonly url: string;
}

/** Who is told the news. */
class Watchers {
  readonly #readers: readonly RunReader[];
  readonly #controllers = new Set<ReadableStreamDefaultController<Uint8Array>>();
  readonly #encoder = new TextEncoder();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #polling: Promise<void> | undefined;

  constructor(folders: readonly string[]) {
    this.#readers = folders.map((folder, run) => new RunReader(folder, run));
  }

  /** Everything there is, and then the news. */
  stream(): ReadableStream<Uint8Array> {
    let mine: ReadableStreamDefaultController<Uint8Array>;
    return new ReadableStream({
      start: async (controller) => {
        mine = controller;
        await this.#poll();
        this.#send(controller, [
          { kind: "runs", names: this.#readers.map(({ folder }) => folder), isLive: true },
          ...this.#readers.flatMap((reader) => reader.everything()),
        ]);
        this.#controllers.add(controller);
        this.#schedule();
      },
      cancel: () => void this.#controllers.delete(mine),
    }, new CountQueuingStrategy({ highWaterMark: MOST_WAITING }));
  }

  /** Tells the last news. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#polling;
    await this.#poll();
    for (const controller of this.#controllers) controller.close();
    this.#controllers.clear();
  }

  #send(controller: ReadableStreamDefaultController<Uint8Array>, messages: readonly PageMessage[]): void {
    if (messages.length === 0) return;
    const text = messages.map((message) => `data: ${JSON.stringify(message)}\n\n`).join("");
    controller.enqueue(this.#encoder.encode(text));
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#controllers.size === 0) return;
    this.#timer = setTimeout(async () => {
      await this.#poll();
      this.#timer = undefined;
      this.#schedule();
    }, POLL_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** One look at a time. */
  #poll(): Promise<void> {
    return this.#polling ??= (async () => {
      try {
        for (const reader of this.#readers) {
          // What cannot be read now may be later; whoever serves the page must not end by it.
          const news = await reader.poll().catch(() => []);
          for (const controller of this.#controllers) {
            if ((controller.desiredSize ?? 0) > 0) this.#send(controller, news);
            else this.#drop(controller);
          }
        }
      } finally {
        this.#polling = undefined;
      }
    })();
  }

  /** It comes again by itself, and is told everything. */
  #drop(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controllers.delete(controller);
    controller.close();
  }
}

const HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

function respond(request: Request, watchers: Watchers): Response {
  if (request.method !== "GET") {
    return new Response("only GET\n", { status: 405, headers: { ...HEADERS, allow: "GET" } });
  }
  const path = new URL(request.url).pathname.slice(1);
  if (path === "events") {
    return new Response(watchers.stream(), { headers: { ...HEADERS, "content-type": "text/event-stream" } });
  }
  if (path === "") {
    const nonce = crypto.randomUUID();
    const policy =
      `default-src 'none'; connect-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; ` +
      `script-src 'self' 'nonce-${nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
    return new Response(livePage(nonce), {
      headers: { ...HEADERS, "content-type": "text/html; charset=utf-8", "content-security-policy": policy },
    });
  }
  const asset = findAsset(path);
  if (asset === undefined) return new Response("nothing here\n", { status: 404, headers: HEADERS });
  return new Response(asset.text, {
    headers: { ...HEADERS, "content-type": `${asset.type}; charset=utf-8` },
  });
}

/**
 * Serves a page that shows runs side by side; it follows those that are still running.
 *
 * @param folders of runs, which need not be there yet
 * @throws {UserError} where the port is taken
 */
export function servePage(
  folders: readonly string[],
  { port = DEFAULT_PORT, hostname = LOOPBACK }: PageOptions = {},
): PageServer {
  const watchers = new Watchers(folders);
  const isLocal = hostname === LOOPBACK;
  const handler = (request: Request) => {
    const { hostname: name } = new URL(request.url);
    if (isLocal && !LOOPBACK_NAMES.has(name)) {
      return new Response("the page is served to this machine only\n", { status: 403, headers: HEADERS });
    }
    return respond(request, watchers);
  };
  const server = listen(port, hostname, handler);
  const shown = isLocal || hostname === EVERYWHERE ? "localhost" : hostname;
  return {
    url: `http://${shown}:${server.addr.port}/`,
    async [Symbol.asyncDispose]() {
      await watchers.close();
      await server.shutdown();
    },
  };
}

function listen(
  port: number,
  hostname: string,
  handler: (request: Request) => Response,
): Deno.HttpServer<Deno.NetAddr> {
  const serve = (port: number) => Deno.serve({ port, hostname, onListen() {} }, handler);
  for (let tried = 0;; tried++) {
    const wanted = port + tried;
    try {
      return serve(wanted);
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) {
        throw new UserError(
          `the page cannot be served at ${hostname}: ${
            (error as Error).message
          }. Use ${LOOPBACK}, or ${EVERYWHERE} for every ` +
            "network that this machine is in",
          { cause: error },
        );
      }
      if (port === DEFAULT_PORT && tried < PORTS_TRIED) continue;
      throw new UserError(`port ${wanted} is taken by another program: choose another port`, {
        cause: error,
      });
    }
  }
}
