/** Where the live page is served unless somebody says otherwise. */

/** Where the page is looked for first. */
export const DEFAULT_PORT = 8686;

/** This machine only. */
export const LOOPBACK = "127.0.0.1";
