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

/** Opens pages, each in a profile of its own; they are closed after the test. */
export type OpenPage = (options?: Parameters<Browser["newPage"]>[0]) => Promise<Watched>;

/** Path of the browser, where there is one. */
export async function findBrowser(): Promise<string | undefined> {
  for (const program of PROGRAMS) {
    if (await Deno.stat(program).then(() => true, () => false)) return program;
  }
}

/** The browser of a file's tests: started by the first of them, closed after the last. */
let browser: Promise<Browser> | undefined;

/** Whether it will be closed. */
let closes = false;

/** A test in the browser, in a profile of its own; where there is none it says so and passes. */
export function testInBrowser(name: string, body: (open: OpenPage) => Promise<void>): void {
  if (!closes) Deno.test.afterAll(async () => await (await browser)?.close());
  closes = true;
  Deno.test({
    name,
    // The browser lives on for the next test.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const executablePath = await findBrowser();
      if (executablePath === undefined) {
        return skip(name, "there is no Chromium; Debian: apt-get install chromium");
      }
      browser ??= chromium.launch({ executablePath, args: BROWSER_FLAGS });
      const running = await browser;
      const opened: Page[] = [];
      try {
        await body(async (options) => {
          const page = await running.newPage(options);
          opened.push(page);
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
        for (const page of opened) await page.context().close();
      }
    },
  });
}
