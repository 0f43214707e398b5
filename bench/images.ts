/**
 * Photographs the report of a run for the README: `deno task images OUTPUT`. Needs Chromium. Writes WebP files, for light
 * and dark pages, into `docs/images/`.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { UsageError } from "../cli/flags/flags.ts";
import { resolvePath } from "../cli/flags/paths.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { loadSharp } from "../data/sharp.ts";
import { requireFile } from "../data/stat_or_explain.ts";
import { UserError } from "../errors.ts";
import { BROWSER_FLAGS, findBrowser } from "../tests/ui/browser.ts";
import { REPORT } from "../ui/report.ts";

const FOLDER = new URL("../docs/images/", import.meta.url);
const SIZE = { width: 1160, height: 900 };
const SCALE = 1.5;
const QUALITY = 82;

/** What is photographed, by the name of its file. */
const SUBJECTS = { curves: "#curves .grid", actors: "#actors", batch: "#look", neighbours: "#neighbours" };

const HELP = `Usage: deno task images OUTPUT

Photographs the report of the run in OUTPUT for the README, by Chromium: WebP files in docs/images, for light and dark
pages.`;

async function main(): Promise<void> {
  const [output, ...more] = Deno.args;
  if (output === "--help") {
    console.log(HELP);
    return;
  }
  if (output === undefined || output.startsWith("-") || more.length > 0) {
    throw new UsageError(
      `expected OUTPUT, the folder of a run that has ended, found ${
        Deno.args.join(" ") || "nothing"
      }; see --help`,
    );
  }
  const report = join(resolvePath(output), REPORT);
  await requireFile(report, "the report of a run");
  const executablePath = await findBrowser();
  if (executablePath === undefined) {
    throw new UserError("there is no Chromium (Debian: apt-get install chromium-headless-shell)");
  }
  const browser = await chromium.launch({ executablePath, args: BROWSER_FLAGS });
  try {
    await photograph(browser, report);
  } finally {
    await browser.close();
  }
}

/** Writes all images of a report in a file. */
async function photograph(browser: Browser, report: string): Promise<void> {
  const sharp = await loadSharp();
  await Deno.mkdir(FOLDER, { recursive: true });
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await browser.newPage({ viewport: SIZE, deviceScaleFactor: SCALE, colorScheme });
    await page.goto(pathToFileURL(report).href);
    await page.locator("#now div").first().waitFor();
    await page.waitForTimeout(1000); // charts are drawn in the next frames
    // What stays in place while the page moves would stand in the way.
    await page.addStyleTag({ content: "nav { display: none !important } section { padding: 0 .5rem }" });
    for (const [name, selector] of Object.entries(SUBJECTS)) {
      const image = await page.locator(selector).screenshot();
      const path = new URL(`${name}-${colorScheme}.webp`, FOLDER);
      await Deno.writeFile(path, await sharp(image).webp({ quality: QUALITY }).toBuffer());
      console.log(`wrote ${path.pathname}`);
    }
  }
}

if (import.meta.main) await runMain(main);
