/** Tests in a real browser: Debian's Chromium, where it is installed. */
import { type Browser, chromium, type Page } from "playwright-core";
import { skip } from "../skip.ts";

const PROGRAMS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** What Chromium is started with. */
export const BROWSER_FLAGS: string[] = [
  "--no-sandbox", // which root needs
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What a page did that it should not. */
export interface Watched {
  page: Page;
  /** Messages of the console, but for what is said of a server that is not there, and errors that nobody caught. */
  complaints: string[];
  /** Addresses that it asked for. */
  requests: string[];
}

/** Opens pages; they are closed with the browser. */
export type OpenPage = (options?: Parameters<Browser["newPage"]>[0]) => Promise<Watched>;

/** Path of the browser, where there is one. */
export async function findBrowser(): Promise<string | undefined> {
  for (const program of PROGRAMS) {
    if (await Deno.stat(program).then(() => true, () => false)) return program;
  }
}

/** A test in the browser; where there is none it says so and passes. */
export function testInBrowser(name: string, body: (open: OpenPage) => Promise<void>): void {
  Deno.test({
    name,
    // The browser's processes and pipes are playwright's to clean up, some of them after close() has resolved.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const executablePath = await findBrowser();
      if (executablePath === undefined) {
        return skip(name, "there is no Chromium; Debian: apt-get install chromium");
      }
      const browser = await chromium.launch({ executablePath, args: BROWSER_FLAGS });
      try {
        await body(async (options) => {
          const page = await browser.newPage(options);
          const watched: Watched = { page, complaints: [], requests: [] };
          page.on("console", (message) => {
            const isMissing = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/.test(
              message.text(),
            );
            if (!isMissing) watched.complaints.push(message.text());
          });
          page.on("pageerror", (error) => watched.complaints.push(String(error)));
          page.on("request", (request) => watched.requests.push(request.url()));
          return watched;
        });
      } finally {
        await browser.close();
      }
    },
  });
}
