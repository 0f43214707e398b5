/** Tests in a real browser: Debian's Chromium, where it is installed. Its headless shell takes a third less processor time. */
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { skip } from "../skip.ts";

const PROGRAMS = [
  "/usr/bin/chromium-headless-shell",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];

/** What Chromium is started with. */
export const BROWSER_FLAGS: string[] = [
  "--no-sandbox", // which root needs
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // One process for all pages, and no compiler that optimizes: both take more time than they save where a page lives for seconds.
  "--process-per-site",
  "--renderer-process-limit=1",
  "--js-flags=--no-opt --no-maglev",
];

/** A page, and what it did that it should not. Disposed of, it is for the next that is opened. */
export interface Watched extends AsyncDisposable {
  page: Page;
  /** Messages of the console, but for what is said of a server that is not there, and errors that nobody caught. */
  complaints: string[];
  /** Addresses that it asked for. */
  requests: string[];
}

/** Opens pages that know nothing of those before; what was not disposed of is closed after the test. */
export type OpenPage = (options?: Parameters<Browser["newPage"]>[0]) => Promise<Watched>;

/** Makes a profile, whose pages share their connections; it is closed after the test. */
export type MakeProfile = () => Promise<BrowserContext>;

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

/**
 * Pages that nobody uses now, each in a profile of its own. A new page takes a new process of the browser, which has to compile
 * all scripts anew: three times the work of one that has shown a page before.
 */
const idle: Page[] = [];

/** What a page has that is not told otherwise: Playwright's defaults. */
const VIEWPORT = { width: 1280, height: 720 };

/** Opens a page of certain properties. Those that only a new profile can have give it one. */
async function openPage(
  running: Browser,
  { viewport = VIEWPORT, colorScheme = "light", ...others }: Parameters<Browser["newPage"]>[0] = {},
): Promise<{ page: Page; isPlain: boolean }> {
  const isPlain = Object.keys(others).length === 0;
  const page = isPlain && idle.pop() || await running.newPage(others);
  if (viewport !== null) await page.setViewportSize(viewport);
  await page.emulateMedia({ colorScheme });
  return { page, isPlain };
}

/** Has a page forget what it showed. */
async function leavePage(page: Page): Promise<void> {
  page.removeAllListeners();
  await page.evaluate(() => localStorage.clear());
  await page.mouse.move(0, 0);
  await page.goto("about:blank");
}

function watch(page: Page, leave: () => Promise<void>): Watched {
  const watched: Watched = { page, complaints: [], requests: [], [Symbol.asyncDispose]: leave };
  page.on("console", (message) => {
    const isMissing = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/.test(
      message.text(),
    );
    if (!isMissing) watched.complaints.push(message.text());
  });
  page.on("pageerror", (error) => watched.complaints.push(String(error)));
  page.on("request", (request) => watched.requests.push(request.url()));
  return watched;
}

/** A test in the browser; where there is none it says so and passes. */
export function testInBrowser(
  name: string,
  body: (open: OpenPage, test: Deno.TestContext, makeProfile: MakeProfile) => Promise<void>,
): void {
  if (!closes) Deno.test.afterAll(async () => await (await browser)?.close());
  closes = true;
  Deno.test({
    name,
    // The browser lives on for the next test.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn(test) {
      const executablePath = await findBrowser();
      if (executablePath === undefined) {
        return skip(name, "there is no Chromium; Debian: apt-get install chromium-headless-shell");
      }
      browser ??= chromium.launch({ executablePath, args: BROWSER_FLAGS });
      const running = await browser;
      const opened = new Map<Page, () => Promise<void>>();
      await using profiles = new AsyncDisposableStack();
      try {
        await body(
          async (options) => {
            const { page, isPlain } = await openPage(running, options);
            const leave = async () => {
              if (!opened.delete(page)) return;
              if (!isPlain) return await page.context().close();
              await leavePage(page);
              idle.push(page);
            };
            opened.set(page, leave);
            return watch(page, leave);
          },
          test,
          async () => profiles.use(await running.newContext()),
        );
        for (const leave of opened.values()) await leave();
      } finally {
        for (const page of opened.keys()) await page.context().close(); // whatever a test that failed left in it
      }
    },
  });
}
