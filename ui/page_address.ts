/** Where the live page is served unless somebody says otherwise, and what an address to serve it on means. */
import { UserError } from "../errors.ts";

/** Where the page is looked for first. */
export const DEFAULT_PORT = 8686;

/** This machine only. */
export const LOOPBACK = "127.0.0.1";

/** Every address of this machine. */
export const EVERYWHERE = "0.0.0.0";

/** An address to serve the page on. */
export interface PageAddress {
  /** As a socket takes it, `::1`. */
  readonly hostname: string;
  /** As a URL and a permission have it, `[::1]`. */
  readonly host: string;
  /** Whether it is reached from this machine only. */
  readonly isLocal: boolean;
  /** Whether it stands for all addresses of this machine. */
  readonly isEverywhere: boolean;
}

/**
 * Reads an IP address, in brackets or without them, or a name.
 *
 * @throws {UserError} for what is neither
 */
export function readPageAddress(text: string): PageAddress {
  const isBare = text.includes(":") && !text.startsWith("[");
  const url = URL.parse(`http://${isBare ? `[${text}]` : text}`);
  if (url === null || url.href !== `http://${url.hostname}/`) {
    throw new UserError(
      `${text} is no address to serve the page on: expected an IP address or a name, such as ${LOOPBACK}`,
    );
  }
  // Its usual name needs no resolver, nor the permission to ask one.
  const host = url.hostname === "localhost" ? LOOPBACK : url.hostname;
  return {
    host,
    hostname: host.replace(/^\[(.*)\]$/, "$1"),
    isLocal: host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host),
    isEverywhere: host === EVERYWHERE || host === "[::]",
  };
}
