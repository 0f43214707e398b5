/** Serves the live page: runs' folders are read, and their news sent to whoever looks. Nothing can be changed by it. */
import { lookup } from "node:dns/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname as machineName } from "node:os";
import { UserError } from "../errors.ts";
import { findAsset, livePage } from "./assets.ts";
import { DEFAULT_PORT, EVERYWHERE, LOOPBACK, type PageAddress, readPageAddress } from "./page_address.ts";
import { type FindRuns, Watchers } from "./watchers.ts";

/** Ports from the usual one on that are tried where that is taken. */
const PORTS_TRIED = 20;

/** Names that a browser on this machine may call it by: a page of somebody else's name is not let in. */
const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"];

/**
 * Limits of what clients can take of the process, which may be a run: connections, each a file handle; and ms for a request
 * to arrive, for a connection without one, and for a client that reads nothing. Pages connect again by themselves.
 */
const LIMITS = { connections: 256, requestMs: 10_000, idleMs: 5_000, silentMs: 120_000 };

/** How long clients are given to take the last news when the page is closed, in ms. */
const LAST_NEWS_MS = 1_000;

/** Seconds after which a client that was one too many may try again. */
const RETRY_SECONDS = 3;

/** How the page is served. */
export interface PageOptions {
  /** 0 for any that is free; {@linkcode DEFAULT_PORT} unless said otherwise, or the first free one after it. */
  port?: number;
  /** {@linkcode LOOPBACK} unless said otherwise. */
  hostname?: string;
  /** How long a request may take to arrive, in ms; 10 s unless said otherwise. */
  requestMs?: number;
  /** Takes an error that is a bug of the page. The page goes on; by default nothing is said. */
  onProblem?: (error: unknown) => void;
}

/** A page that is served. */
export interface PageServer extends AsyncDisposable {
  /** Where it is. */
  readonly url: string;
  /** What has to be said of an address that others than this machine can reach. */
  readonly warning: string | undefined;
}

const HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

function refuse(response: ServerResponse, status: number, text: string, headers = {}): void {
  response.writeHead(status, {
    ...HEADERS,
    "content-type": "text/plain; charset=utf-8",
    connection: "close",
    ...headers,
  });
  response.end(`${text}\n`);
}

function give(response: ServerResponse, type: string, text: string, headers = {}): void {
  response.writeHead(200, { ...HEADERS, "content-type": `${type}; charset=utf-8`, ...headers });
  response.end(text);
}

function respond(request: IncomingMessage, response: ServerResponse, watchers: Watchers): void {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return refuse(response, 405, "only GET and HEAD are supported", { allow: "GET, HEAD" });
  }
  const url = URL.parse(request.url ?? "", "http://localhost");
  const path = url?.pathname.slice(1);
  if (path === "events") {
    if (watchers.isFull) {
      const text = "the page is open in too many places: close one, or wait";
      return refuse(response, 503, text, { "retry-after": String(RETRY_SECONDS) });
    }
    response.writeHead(200, { ...HEADERS, "content-type": "text/event-stream" });
    if (request.method === "HEAD") return void response.end();
    response.flushHeaders();
    void watchers.add(response, Number(url!.searchParams.get("run") ?? 0));
    return;
  }
  if (path === "") {
    const nonce = crypto.randomUUID();
    const policy =
      `default-src 'none'; connect-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; ` +
      `script-src 'self' 'nonce-${nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
    return give(response, "text/html", livePage(nonce), { "content-security-policy": policy });
  }
  const asset = path === undefined ? undefined : findAsset(path);
  if (asset === undefined) return refuse(response, 404, "not found");
  give(response, asset.type, asset.text);
}

/** This machine's name, where it may be asked for. */
function nameOfMachine(): string | undefined {
  try {
    return machineName().toLowerCase();
  } catch {
    return undefined;
  }
}

/**
 * Says whether a request may be answered that calls this machine by a name: no page of somebody else's name may read a run
 * through a browser in this network (DNS rebinding). An address is nobody's name.
 */
function nameCheck(named: string, { isLocal }: PageAddress): (host: string | undefined) => boolean {
  const names = new Set([...LOOPBACK_NAMES, named, ...isLocal ? [] : [nameOfMachine()]]);
  const isAddress = (name: string) => name.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(name);
  return (host) => {
    const name = URL.parse(`http://${host ?? ""}`)?.hostname;
    return name !== undefined && (names.has(name) || (!isLocal && isAddress(name)));
  };
}

/**
 * Serves a page that shows runs side by side; it follows those that are still running. Whatever its clients do, nothing of
 * it reaches the program, which may be a run: how many there are, what each may leave unread and how long a request may take
 * are limited, and errors end in `onProblem`.
 *
 * @param folders of runs, which need not be there yet; or what finds them, which is asked again now and then
 * @throws {UserError} where the port is taken, or the address is not this machine's, or not permitted
 */
export async function servePage(
  folders: readonly string[] | FindRuns,
  { port = DEFAULT_PORT, hostname = LOOPBACK, requestMs = LIMITS.requestMs, onProblem = () => {} }:
    PageOptions = {},
): Promise<PageServer> {
  const find = typeof folders === "function" ? folders : () => Promise.resolve(folders);
  const watchers = new Watchers(find, onProblem);
  const named = readPageAddress(hostname);
  const address = await resolveName(named, port);
  const { isLocal } = address;
  const isKnown = nameCheck(named.host, address);
  const server = createServer(
    {
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      keepAliveTimeout: LIMITS.idleMs,
      connectionsCheckingInterval: requestMs / 4,
    },
    (request, response) => {
      response.on("error", () => {}); // the client has gone
      try {
        if (isKnown(request.headers.host)) return respond(request, response, watchers);
        const served = isLocal ? "to this machine only" : "under this machine's name and addresses only";
        refuse(response, 403, `the page is served ${served}`);
      } catch (error) {
        response.destroy();
        onProblem(error);
      }
    },
  );
  server.maxConnections = LIMITS.connections;
  server.timeout = LIMITS.silentMs;
  server.on("clientError", (_, socket) => socket.destroy());
  const served = await listen(server, port, address);
  server.on("error", onProblem);
  const shown = named.host === LOOPBACK || address.isEverywhere ? "localhost" : named.host;
  return {
    url: `http://${shown}:${served}/`,
    warning: isLocal
      ? undefined
      : `the page is served on ${hostname}: everyone who can reach this machine can read the run`,
    async [Symbol.asyncDispose]() {
      await watchers.close();
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      const patience = setTimeout(() => server.closeAllConnections(), LAST_NEWS_MS);
      await closed.promise;
      clearTimeout(patience);
    },
  };
}

/** Returns the error for an address that the page cannot be served on. */
function cannotServe({ host }: PageAddress, error: unknown): UserError {
  const { message } = error as Error;
  return new UserError(
    `cannot serve the page on ${host}: ${message}. Use ${LOOPBACK}, or ${EVERYWHERE} for all networks of this machine`,
    { cause: error },
  );
}

/**
 * Asks for the permission of an address. Where it is missing, Node's server throws out of anyone's reach.
 *
 * @throws {UserError} where it is not given
 */
async function requirePermission({ host }: PageAddress, port: number): Promise<void> {
  const { state } = await Deno.permissions.request({ name: "net", host: `${host}:${port}` });
  if (state === "granted") return;
  throw new UserError(
    `cannot serve the page on ${host}: that needs --allow-net=${host}. Use ${EVERYWHERE} for all networks of this ` +
      "machine, or the command that `deno task doctor --permissions` prints for this address",
  );
}

/** Returns the address of a name; an address as it is. */
async function resolveName(named: PageAddress, port: number): Promise<PageAddress> {
  await requirePermission(named, port);
  const { address } = await lookup(named.hostname).catch((error) => {
    throw cannotServe(named, error);
  });
  return readPageAddress(address);
}

/** Listens at a port, and says at which one. */
async function listen(server: Server, port: number, address: PageAddress): Promise<number> {
  for (let tried = 0;; tried++) {
    const wanted = port + tried;
    await requirePermission(address, wanted);
    try {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      server.once("error", reject);
      server.listen(wanted, address.hostname, resolve);
      await promise;
      server.off("error", reject);
      return (server.address() as AddressInfo).port;
    } catch (error) {
      if ((error as { code?: string }).code !== "EADDRINUSE") throw cannotServe(address, error);
      if (port === DEFAULT_PORT && tried < PORTS_TRIED) continue;
      throw new UserError(`port ${wanted} is in use by another program: choose another port`, {
        cause: error,
      });
    }
  }
}
