/// <reference lib="dom" />
/** The page and the report, as people have them before them. */
import AXE from "axe-core/axe.min.js" with { type: "text" };
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Page } from "playwright-core";
import { reportPage } from "../../ui/assets.ts";
import type { PageMessage } from "../../ui/records.ts";
import { writeReport } from "../../ui/report.ts";
import { RunReader } from "../../ui/run_reader.ts";
import { servePage } from "../../ui/server.ts";
import { MOST_CLIENTS } from "../../ui/watchers.ts";
import { RunFolder, TINY_ENCODER } from "../actors/small_run.ts";
import { hostPrograms } from "../cli/run_program.ts";
import { IS_LONG } from "../long.ts";
import { testInBrowser } from "./browser.ts";
import { RecordedRun, recordOf } from "./recorded_run.ts";

const runProgram = hostPrograms();
const PRETRAIN = fileURLToPath(new URL("../../cli/commands/pretrain.ts", import.meta.url));

const status = (page: Page) => page.locator("#status").textContent();

/** Waits until the page says something. */
async function says(page: Page, id: string, text: RegExp): Promise<void> {
  await page.locator(`#${id}`).filter({ hasText: text }).waitFor({ timeout: 15_000 });
}

/** Hides a page from its reader, or shows it again. A browser without a screen never does. */
async function hide(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}

/** What a check of accessibility has against the page. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return await page.evaluate(async () => {
    // deno-lint-ignore no-explicit-any -- it has put itself there
    const { violations } = await (globalThis as any).axe.run();
    return violations.map((
      { id, nodes }: { id: string; nodes: { html: string; failureSummary: string }[] },
    ) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`);
  });
}

testInBrowser("the page shows a run, follows it, and comes again after a reload", async (open) => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 50);
  await using server = await servePage([run.path], { port: 0 });
  const { page, complaints, requests } = await open();
  await page.goto(server.url);
  await says(page, "status", /^Running$/);
  await says(page, "now", /step50 of 200/);
  const now = (await page.locator("#now").textContent())!;
  assert(!now.includes("time left"), now); // until the run says it
  await says(
    page,
    "bottleneck",
    /Bottleneck: student_trainer, busy 90 % .*\(measured over 60.s and 10.messages per actor\)/,
  );
  const actors = JSON.parse(Deno.readTextFileSync(join(run.path, "actors.json")));
  actors.actors[1].seconds = 2;
  actors.seconds_left = 3660;
  run.write("actors.json", actors);
  await says(page, "bottleneck", /^Bottleneck not known yet: measured over 2.s and 10.messages per actor/);
  await says(page, "now", /time left1h 1m/);
  await says(page, "look-said", /Step 190\. SEED's loss for the first image is 2\.5/);
  await says(page, "neighbours-said", /Teacher: 100 % of the neighbours have the image's class/);
  await says(page, "command", /deno task distill --output '\/tmp\/my run'/);
  assertEquals(await page.locator("#ring li strong").allTextContents(), [
    "tsv_reader 0",
    "augmenter",
    "teacher_encoder",
    "queue_keeper",
    "student_trainer",
  ]);
  assertEquals(await page.locator("#views .tile").count(), 12);
  assertMatch((await page.locator("#loss").getAttribute("aria-label"))!, /at step 1, .* at step 50$/);
  assertMatch(
    (await page.locator("#scores").getAttribute("aria-label"))!,
    /20 % at step 0, 30 % at step 200/,
  );

  run.addSteps(51, 60);
  await says(page, "now", /step60 of 200/);
  run.addSteps(61, 200);
  run.write("run.json", {
    ...recordOf(),
    status: "finished",
    ended_at: "2026-01-02T04:04:05.000Z",
    seconds: 3600,
  });
  await says(page, "status", /^Finished$/);
  await page.reload();
  await says(page, "now", /step200 of 200.*time taken1h 0m/);
  assert(!(await page.locator("#now").textContent())!.includes("time left"));
  assertEquals(complaints, []);
  assert(requests.every((url) => url.startsWith(server.url) || url.startsWith("data:")), requests.join("\n"));
});

testInBrowser(
  "the page shows how all ranks stand, and the actors of the one that is chosen",
  async (open) => {
    using run = new RecordedRun();
    await run.writeAll();
    run.addSteps(1, 50);
    await using server = await servePage([run.path], { port: 0 });
    await using opened = await open({ viewport: { width: 360, height: 800 } });
    const { page, complaints } = opened;
    await page.goto(server.url);
    await says(page, "bottleneck", /student_trainer/);
    assertEquals(await page.locator("#ranks").isVisible(), false, "one process has no ranks");

    run.writeRanks(3, [2]);
    await says(
      page,
      "ranks-said",
      /^Rank 0 waits least for the others, 10.% of its time; rank 1 waits most, 20.%\./,
    );
    await says(page, "ranks-said", /Of 1 of 3 ranks there are no records\.$/);
    run.writeRanks(3);
    await says(page, "ranks-list", /node2/);
    const table = await page.locator("#ranks-list tr").evaluateAll((rows) =>
      rows.map((row) => Array.from(row.children, ({ textContent }) => textContent))
    );
    assertEquals([table[0].slice(0, 6), table[0].at(-1)], [
      ["rank", "host", "device", "images per second", "waiting for other ranks", "tsv_reader busy"],
      "gradient_exchange busy",
    ]);
    assertEquals(table.slice(1).map((row) => [...row.slice(0, 5), row.at(-2), row.at(-1)]), [
      ["0", "node0", "an adapter", "100", "10 %", "90 %", "5 %"],
      ["1", "node1", "an adapter", "101", "20 %", "90 %", "5 %"],
      ["2", "node2", "an adapter", "102", "30 %", "90 %", "5 %"],
    ]);
    assertEquals(await violations(page), []);
    assertEquals(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);

    const names = () => page.locator("#actors li strong").allTextContents();
    assert((await names()).includes("teacher_encoder"));
    await page.locator("#rank").selectOption("1");
    await page.waitForFunction(() => document.querySelectorAll("#actors li strong").length === 3);
    assertEquals(await names(), ["tsv_reader 0", "student_trainer", "gradient_exchange"]);
    // News do not take the choice away.
    run.writeRanks(4);
    await says(page, "ranks-list", /node3/);
    assertEquals([await page.locator("#rank").inputValue(), (await names()).length], ["1", 3]);
    assertEquals(complaints, []);
  },
);

testInBrowser("the page says when the program is gone, and goes on when it is back", async (open) => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 50);
  let server = await servePage([run.path], { port: 0 });
  const port = Number(new URL(server.url).port);
  const { page, complaints } = await open();
  await page.goto(server.url);
  await says(page, "now", /step50 of 200/);
  await server[Symbol.asyncDispose]();
  await says(page, "status", /Connection lost/);
  assertEquals(await page.locator("#status").getAttribute("data-status"), "lost");

  // It was killed a while ago.
  const actors = { at: "2026-01-02T03:05:00.000Z", actors: [] };
  run.write("actors.json", actors);
  server = await servePage([run.path], { port });
  await says(page, "status", /No updates since/);
  await server[Symbol.asyncDispose]();
  run.write("actors.json", { ...actors, at: new Date().toISOString() });
  // And goes on from an earlier checkpoint.
  Deno.removeSync(join(run.path, "metrics.jsonl"));
  run.addSteps(1, 30);
  server = await servePage([run.path], { port });
  await says(page, "status", /^Running$/);
  await says(page, "now", /step30 of 200/);
  await server[Symbol.asyncDispose]();
  assertEquals(complaints, []);
});

testInBrowser("a page that is one too many says so, and goes on when another one is closed", async (open) => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 50);
  await using server = await servePage([run.path], { port: 0 });
  const others = await Promise.all(Array.from({ length: MOST_CLIENTS }, () => fetch(`${server.url}events`)));
  const { page } = await open();
  await page.goto(server.url);
  await says(
    page,
    "status",
    /^No updates: the page is open in too many places.* The page retries automatically\.$/,
  );
  for (const { body } of others) await body!.cancel();
  await says(page, "now", /step50 of 200/);
  await says(page, "status", /^Running$/);
});

testInBrowser(
  "a page that is hidden leaves its connection to others, and follows the run again when it is seen",
  async (_open, _test, makeProfile) => {
    using run = new RecordedRun();
    await run.writeAll();
    run.addSteps(1, 50);
    await using server = await servePage([run.path], { port: 0 });
    const profile = await makeProfile();
    const first = await profile.newPage();
    await first.clock.install();
    await first.goto(server.url);
    await says(first, "now", /step50 of 200/);
    const others = await profile.newPage();
    await others.goto(`${server.url}page.css`);
    await others.evaluate(async () => {
      for (let i = 0; i < 5; i++) {
        const stream = new EventSource("events");
        await new Promise((resolve) => stream.onopen = resolve);
      }
    });
    await hide(first, true);
    await first.clock.runFor(90_000);
    const last = await profile.newPage();
    await last.goto(server.url);
    await says(last, "status", /^Running$/);
    await last.close();
    assertEquals(await status(first), "Running", "it knows nothing new, and says nothing new");

    run.addSteps(51, 60);
    run.write("actors.json", { at: new Date(Date.now() + 90_000).toISOString(), actors: [] });
    await hide(first, false);
    await says(first, "now", /step60 of 200/);
    await says(first, "status", /^Running$/);
  },
);

testInBrowser(
  "the page can be read in the light, in the dark, on a phone, by keyboard and by ear",
  async (open) => {
    using run = new RecordedRun();
    using other = new RecordedRun();
    for (const { path } of [run, other]) assert(path !== "");
    await run.writeAll();
    await other.writeAll({ status: "failed", error: "the disk is full" });
    run.addSteps(1, 200);
    other.addSteps(1, 100);
    await using server = await servePage([run.path, other.path], { port: 0 });
    const { page, complaints } = await open();
    await page.goto(server.url);
    await says(page, "now", /step200 of 200/);
    await page.keyboard.press("Tab");
    assertEquals(await page.evaluate(() => document.activeElement!.textContent), "Skip to the curves");
    const backgrounds: string[] = [];
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [360, 1280]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 800 });
        await page.waitForTimeout(300);
        const look = `${colorScheme}, ${width} wide`;
        // A check takes two seconds, and finds what a theme or a width has wrong: one of each is checked.
        if (IS_LONG || (colorScheme === "light") === (width === 360)) {
          assertEquals(await violations(page), [], look);
        }
        assertEquals(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0, look);
        backgrounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      }
    }
    assertEquals(complaints, []);
    assertNotEquals(backgrounds[0], backgrounds[2]);

    // Everything that can be done can be done by keyboard.
    await page.locator("#list input").first().focus();
    await page.keyboard.press("Space");
    await says(page, "list", /seed_recorded/);
    await page.waitForFunction(() =>
      !document.querySelector("#loss")!.getAttribute("aria-label")!.includes("step 200")
    );
    await page.locator("#list .look").nth(1).focus();
    await page.keyboard.press("Enter");
    await says(page, "status", /^Failed: the disk is full$/);
    // The values of a chart can be read as a table.
    const values = page.locator("#scores ~ details");
    await values.locator("summary").focus();
    await page.keyboard.press("Enter");
    await values.locator("tbody tr").nth(1).waitFor();
    assertMatch((await values.textContent())!, /runstepTop-1.*020 %.*20030 %/);
    assertEquals(await violations(page), []);
    const projections = page.locator("#projection input");
    await projections.first().waitFor(); // the run's maps come after its curves
    await projections.first().focus();
    await page.keyboard.press("ArrowRight");
    await page.waitForFunction(() =>
      document.querySelector("#map-teacher")!.getAttribute("aria-label")!.includes("projected by umap")
    );
  },
);

testInBrowser("the page draws 10,000 points, and is there while more come", async (open) => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 10_000);
  await using server = await servePage([run.path], { port: 0 });
  const { page, complaints, requests } = await open();
  await page.goto(server.url);
  await says(page, "now", /step10000 of/);
  for (let i = 0; i < 3; i++) {
    run.addSteps(10_001 + 20 * i, 10_020 + 20 * i);
    await says(page, "now", new RegExp(`step${10_020 + 20 * i} of`));
    // Whoever looks on can use the page meanwhile.
    await page.locator("#loss ~ details > summary").click();
  }
  const label = await page.locator("#loss").getAttribute("aria-label");
  assertMatch(label!, /at step 1, .* at step 10[, ]?060$/);
  // The line reaches from one side of the chart to the other.
  const drawn = await page.locator("#loss canvas").evaluate((canvas: HTMLCanvasElement) => {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, width, height);
    // Blue is the first curve's colour, #00568f.
    const columns = Array.from({ length: width }, (_, x) => x).filter((x) => {
      for (let y = 0; y < height; y++) {
        const [r, g, b, a] = data.subarray(4 * (y * width + x), 4 * (y * width + x) + 4);
        if (a > 200 && b > 120 && r < 60 && g < 130) return true;
      }
      return false;
    });
    return { width, first: columns[0], last: columns.at(-1)!, count: columns.length };
  });
  assert(
    drawn.last - drawn.first > 0.8 * drawn.width,
    `the line reaches from ${drawn.first} to ${drawn.last}`,
  );
  assert(drawn.count > 0.75 * drawn.width, `the line is in ${drawn.count} of ${drawn.width} columns`);
  assertEquals(
    requests.filter((url) => url.includes("/events")).length,
    1,
    "it was not told everything anew",
  );
  assertEquals(complaints, []);
});

testInBrowser("the report is one file that shows the run without a server or a network", async (open) => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished", error: "</script><b>no markup</b>" });
  run.addSteps(1, 200);
  run.write("linear/run.json", { ...recordOf(), results: [{ name: "best top-1", value: 45.67, unit: "%" }] });
  // Those of an earlier start by more ranks are not in it.
  run.writeRanks(3);
  run.writeRanks(2);
  const path = await writeReport(run.path);
  const { page, complaints, requests } = await open();
  await page.goto(pathToFileURL(path).href);
  await says(page, "now", /step200 of 200/);
  await says(page, "status", /^Finished: <\/script><b>no markup<\/b>$/);
  await says(page, "results-list", /student after, weighted kNN top-130\.3 %linear: best top-145\.7 %/);
  await says(page, "facts", /images\/data \(0123456789abcdef\)/);
  assertEquals(await page.locator("#alike tbody tr").count(), 10);
  await says(page, "ranks-list", /node1/);
  assertEquals(await page.locator("#ranks-list tbody tr").count(), 2);
  assertEquals(complaints, []);
  assert(requests.every((url) => url.startsWith("file:") || url.startsWith("data:")), requests.join("\n"));
});

testInBrowser(
  "the report of a pretraining shows its encoder before and now, and InfoNCE of its two encoders",
  async (open) => {
    using folder = new RunFolder(24, 12);
    const output = join(folder.path, "out");
    const { code, stderr } = await runProgram(
      PRETRAIN,
      ...["--data", folder.data, "-a", "tiny_convnet", "--plugin", TINY_ENCODER, "--output", output],
      ...["-b", "8", "--moco-k", "16", "--image-size", "32", "--epochs", "2", "-j", "1", "--no-tune"],
    );
    assertEquals([code, stderr], [0, ""]);
    const { similarities } = JSON.parse(Deno.readTextFileSync(join(output, "insight", "look.json")));
    const loss = -Math.log(similarities.student.probabilities[similarities.own]);

    const { page, complaints } = await open();
    await page.goto(pathToFileURL(join(output, "report.html")).href);
    await says(page, "look-said", /^Step \d+\. InfoNCE for the first image is /);
    const said = (await page.locator("#look-said").textContent())!;
    const shown = Number(/InfoNCE for the first image is ([\d.]+)\. Effective/.exec(said)![1]);
    assertAlmostEquals(shown, loss, 1e-3 * loss);
    assertNotEquals(shown, Number(similarities.crossEntropy.toPrecision(4)));
    assertMatch(said, /[\d.]+ for the query encoder, [\d.]+ for the key encoder, of 16\.$/);
    await says(page, "look-title", /^A batch, as the query encoder sees it$/);
    await says(page, "likeliest-title", /^Key and query encoder softmax over the queue/);
    assertMatch((await page.locator("#likeliest").getAttribute("aria-label"))!, /^The key encoder's 16 most/);

    await says(page, "neighbours-said", /Encoder before: \d+ % of the neighbours have the image's class\./);
    await says(page, "neighbours-said", /Encoder now: .*, \d+ % were so before training\./);
    assertEquals(await page.locator("#alike th").allTextContents(), [
      "image",
      "encoder before",
      "encoder now",
    ]);
    assertEquals(await page.locator("#map figcaption:visible").allTextContents(), [
      "Encoder before training",
      "Encoder after 6 steps",
    ]);
    const [save] = await page.locator("#map .tools button").all();
    assertEquals(await save.getAttribute("aria-label"), "Save Encoder before training as CSV");
    assertMatch(
      (await page.locator("#map-teacher").getAttribute("aria-label"))!,
      /^Map of 12 images by the encoder's features before training, projected by pca$/,
    );
    assertEquals(await page.locator("#what dt").allTextContents(), ["encoder", "data", "latest kNN top-1"]);
    const all = (await page.locator("main section:visible:not(#about)").allInnerTexts()).join("\n");
    assert(!/teacher|student|SEED/i.test(all), all);
    assertEquals(await violations(page), []);
    assertEquals(complaints, []);
  },
);

testInBrowser(
  "neighbours in another probe set than the run has now are left out, and all else is shown",
  async (open) => {
    using run = new RecordedRun();
    await run.writeAll({ status: "finished" });
    run.addSteps(1, 200);
    const gallery = JSON.parse(Deno.readTextFileSync(join(run.path, "insight", "gallery.json")));
    const all = Array.from({ length: 60 }, (_, i) => i);
    run.write("insight/gallery.json", { ...gallery, rows: all, labels: all.map(() => -1) });
    /** The headings of the neighbours, where there are any. */
    const columns = async () => {
      await using opened = await open();
      const { page, complaints } = opened;
      await page.goto(pathToFileURL(await writeReport(run.path)).href);
      await says(page, "results", /student after, weighted kNN top-1/);
      assertEquals(complaints, []);
      assertEquals(await page.locator("#map").isVisible(), await page.locator("#neighbours").isVisible());
      return await page.locator("#alike th:visible").allTextContents();
    };
    assertEquals(await columns(), []);
    const similarities = all.map(() => 1);
    const pca = all.flatMap((i) => [i, i]);
    run.write("insight/teacher.json", { step: 0, k: 1, neighbours: all, similarities, pca, umap: null });
    assertEquals(await columns(), ["image", "teacher"]);
  },
);

testInBrowser(
  "an image keeps the keyboard's focus when a run has newer ones, which it then shows",
  async (open) => {
    using run = new RecordedRun();
    await run.writeAll();
    await using server = await servePage([run.path], { port: 0 });
    const { page, complaints } = await open();
    await page.goto(server.url);
    await says(page, "neighbours-said", /Nearest neighbours/);
    const read = (name: string) => JSON.parse(Deno.readTextFileSync(join(run.path, "insight", name)));
    const isFocused = (name: string) =>
      page.locator(name).evaluate((element) => element === document.activeElement);
    await page.locator("#views button").nth(3).focus();
    run.write("insight/look.json", { ...read("look.json"), step: 195 });
    await says(page, "look-said", /Step 195\./);
    assertEquals(await isFocused("#views li:nth-child(4) button"), true);

    const [, , , student] = await page.locator("#alike tbody tr:first-child .set").all();
    const newest = student.locator("button").nth(1);
    await newest.focus();
    assertEquals(await newest.getAttribute("title"), "class 0, cosine 0.50");
    const { neighbours, ...record } = read("student.json");
    const last = neighbours.with(1, 1); // of class 1
    run.write("insight/student.json", { ...record, neighbours: last, step: 210 });
    await says(page, "map-student-title", /210 steps/);
    assertEquals(await newest.evaluate((element) => element === document.activeElement), true);
    assertEquals(await newest.getAttribute("title"), "class 1, cosine 0.50");
    assertMatch((await newest.getAttribute("class"))!, /other/);
    await newest.press("Enter");
    await says(page, "viewer-said", /^class 1, cosine 0\.50 \(2 of 2\)$/);
    assertEquals(complaints, []);
  },
);

testInBrowser("a part of the page that cannot be drawn does not keep the others from it", async (open) => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  const reader = new RunReader(run.path, 0);
  await reader.poll();
  const messages = reader.everything().map((message) =>
    message.kind === "diagnostics" && message.name === "look" ? { ...message, value: {} } : message
  ) as PageMessage[];
  const path = join(run.path, "broken.html");
  Deno.writeTextFileSync(path, reportPage([{ kind: "runs", names: [run.path], isLive: false }, ...messages]));
  const { page, complaints } = await open();
  await page.goto(pathToFileURL(path).href);
  await says(page, "neighbours-said", /Teacher: 100 %/);
  await says(page, "command", /deno task distill/);
  assertEquals(complaints.length, 1);
  assertMatch(complaints[0], /TypeError/);
});

testInBrowser("a report of several runs lays their curves over each other", async (open) => {
  using first = new RecordedRun();
  using second = new RecordedRun();
  const readers = [first, second].map(({ path }, i) => new RunReader(path, i));
  for (const [i, run] of [first, second].entries()) {
    await run.writeAll();
    run.addSteps(1, 50 * (i + 1));
    await readers[i].poll();
  }
  const path = join(first.path, "compare.html");
  const messages = readers.flatMap((reader) => reader.everything());
  Deno.writeTextFileSync(path, reportPage([{ kind: "runs", names: ["a", "b"], isLive: false }, ...messages]));
  const { page, complaints } = await open();
  await page.goto(pathToFileURL(path).href);
  await says(page, "list", /a[^]*b/);
  const said = (await page.locator("#loss").getAttribute("aria-label"))!;
  assertStringIncludes(said, "at step 50");
  assertStringIncludes(said, "at step 100");
  assertEquals([await status(page), complaints], ["Running", []]);
});
