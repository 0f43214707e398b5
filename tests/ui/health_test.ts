/// <reference lib="dom" />
/** The charts of what training steps tell of themselves: norms, device time, memory. */
import { assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Page } from "playwright-core";
import { reportPage } from "../../ui/assets.ts";
import type { PageMessage, StatsRow } from "../../ui/records.ts";
import { writeReport } from "../../ui/report.ts";
import { RunReader } from "../../ui/run_reader.ts";
import { servePage } from "../../ui/server.ts";
import { testInBrowser } from "./browser.ts";
import { RecordedRun, recordOf, statsOf, stepOf } from "./recorded_run.ts";

/** The lines of a chart: values over x, by their names in the legend. */
async function linesOf(page: Page, id: string): Promise<Map<string, [number, number | null][]>> {
  const lines = await page.evaluate((id) => {
    // deno-lint-ignore no-explicit-any -- the page has put it there
    const chart = (globalThis as any).echarts.getInstanceByDom(document.getElementById(id));
    return chart.getOption().series.map(({ name, data }: { name: string; data: unknown }) => [name, data]);
  }, id);
  return new Map(lines);
}

async function openReport(page: Page, run: RecordedRun): Promise<void> {
  await page.goto(pathToFileURL(await writeReport(run.path)).href);
  await page.locator("#memory canvas").waitFor();
}

/** A run of 200 steps, whose rows are changed. */
async function recorded(change?: (row: StatsRow) => StatsRow): Promise<RecordedRun> {
  const run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  run.addSteps(1, 200);
  Deno.removeSync(join(run.path, "stats.jsonl"));
  run.addStats(10, 200, change);
  return run;
}

testInBrowser(
  "one run has norms by group of layers, device time, its share of a step, and memory",
  async (open) => {
    using run = await recorded((row) =>
      row.step === 100 ? { ...row, gradient_norms: { ...row.gradient_norms, layer1: NaN } } : row
    );
    // A pause, as for an evaluation or until a resume, is no part of a step's time.
    const rows = Array.from({ length: 200 }, (_, i) => stepOf(i + 1)).map((row) =>
      JSON.stringify({ ...row, time: row.time! + (row.step > 100 ? 7200 : 0) }) + "\n"
    );
    Deno.writeTextFileSync(join(run.path, "metrics.jsonl"), rows.join(""));
    const { page, complaints } = await open({ viewport: { width: 1280, height: 900 } });
    await openReport(page, run);
    const gradients = await linesOf(page, "gradient-norm");
    assertEquals([...gradients.keys()], ["total", "conv1", "layer1", "fc"]);
    // 3, 4 and 12 over the step make 13 over it.
    assertAlmostEquals(gradients.get("total")!.at(-1)![1]!, 13 / 200, 1e-12);
    const at = (group: string) => gradients.get(group)!.find(([step]) => step === 100)![1];
    assertEquals([at("total"), at("layer1"), at("fc")], [null, null, 12 / 100], "a gap");
    const log = page.getByRole("button", { name: "log scale, Gradient norm" });
    assertEquals(await log.getAttribute("aria-pressed"), "true");
    await log.click();
    assertEquals(await log.getAttribute("aria-pressed"), "false");
    const weights = await linesOf(page, "weight-norm");
    assertEquals([...weights].map(([name, points]) => [name, points[0][1]]), [
      ["total", 13],
      ["conv1", 3],
      ["layer1", 4],
      ["fc", 12],
    ]);
    const [[, time]] = await linesOf(page, "device-time");
    const [[, share]] = await linesOf(page, "device-share");
    assertEquals([time.length, time[0]], [20, [10, 0.75]]);
    // Steps are three seconds apart, but for the pause.
    assertEquals(share.map(([, percent]) => percent), time.map(() => 25));
    const memory = await linesOf(page, "memory");
    assertEquals([...memory].map(([name, points]) => [name, points[0][1]]), [
      ["trainer's device memory", 1],
      ["whole process", 3],
    ]);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Save Gradient norm as CSV" }).click(),
    ]);
    const table = Deno.readTextFileSync(await download.path()).split("\r\n");
    assertEquals(table[0], "group,step,value,smoothed");
    assertEquals(table[10 + 20 * 2], "layer1,100,,", "not finite");
    // They are zoomed and measured with the other curves.
    await page.locator('#unit [value="epoch"]').check();
    await page.locator("#memory ~ .legend").filter({ hasText: "epoch" }).waitFor();
    assertEquals((await linesOf(page, "memory")).get("whole process")!.at(-1), [2, 3]);
    await page.locator("#zoom-in").click();
    await page.waitForTimeout(300);
    assertEquals((await linesOf(page, "weight-norm")).get("total")!.length, 12);
    assertEquals(complaints, []);
  },
);

testInBrowser(
  "several runs have lines of their totals, and a legend of many lines scrolls by keyboard",
  async (open) => {
    const groups = Array.from({ length: 12 }, (_, i) => `features.${i}`);
    const norms = Object.fromEntries(groups.map((group, i) => [group, i + 1]));
    using run = await recorded((row) => ({ ...row, gradient_norms: norms, weight_norms: norms }));
    using other = await recorded();
    await using server = await servePage([run.path, other.path], { port: 0 });
    const { page, complaints } = await open({ viewport: { width: 400, height: 800 } });
    await page.goto(server.url);
    await page.locator("#memory canvas").waitFor();
    await page.locator("#gradient-norm ~ .legend tbody tr").nth(1).waitFor();
    assertEquals((await linesOf(page, "gradient-norm")).size, 2);
    assertMatch(
      (await page.locator("#health-said").textContent())!,
      /With several runs, only totals are plotted/,
    );
    assertEquals((await linesOf(page, "memory")).size, 4);
    await page.locator("#list [type=checkbox]").last().uncheck();
    const legend = page.getByRole("region", { name: "Legend, Gradient norm" });
    await legend.waitFor();
    const shown = await page.locator("#gradient-norm ~ .legend tbody th").allTextContents();
    assertEquals(shown, ["total", ...groups]);
    const [height, whole] = await legend.evaluate((element) => [element.clientHeight, element.scrollHeight]);
    assertEquals(whole > height && height < 220, true, `${whole} in ${height}`);
    await legend.focus();
    await page.keyboard.press("End");
    await page.waitForFunction(() => document.querySelector("#gradient-norm ~ .legend")!.scrollTop > 0);
    assertEquals(await page.evaluate(() => document.documentElement.scrollWidth), 400);
    assertEquals(complaints, []);
  },
);

testInBrowser("what was not recorded is told in words", async (open) => {
  const remove = (run: RecordedRun) => Deno.removeSync(join(run.path, "stats.jsonl"));
  const withSetting = (stats_every: number) => (run: RecordedRun) => {
    remove(run);
    run.write("config.json", { stats_every });
  };
  const { device_seconds: _, ...row } = statsOf(10);
  const write = (run: RecordedRun, row: StatsRow) =>
    Deno.writeTextFileSync(join(run.path, "stats.jsonl"), JSON.stringify(row) + "\n");
  const first = "there is a record every 50 batches (--stats-every).";
  const untimed = "Device time is unknown: the adapter has no timestamp queries.";
  const ofRanks = "Device time is unknown: it is not measured in runs of several ranks.";
  const cases: { change: (run: RecordedRun) => void; said: string | string[] }[] = [
    { change: remove, said: "Nothing was recorded: an older version wrote this run." },
    { change: withSetting(0), said: "Nothing is recorded: --stats-every is 0." },
    { change: withSetting(50), said: `The run ended before its first record: ${first}` },
    {
      change: (run) => {
        withSetting(50)(run);
        run.write("run.json", recordOf());
      },
      said: `Nothing is recorded yet: ${first}`,
    },
    {
      change: (run) => {
        remove(run);
        run.write("run.json", { ...recordOf(), task: "lincls", status: "finished" });
      },
      said: "A linear evaluation records no norms, device time or memory.",
    },
    {
      change: (run) => {
        remove(run);
        run.write("run.json", { ...recordOf(), task: "lincls", status: "finished" });
        run.write("config.json", { finetune: true, stats_every: 50 });
      },
      said: `The run ended before its first record: ${first}`,
    },
    { change: (run) => write(run, row), said: [untimed, untimed] },
    {
      change: (run) => {
        write(run, row);
        run.write("config.json", { stats_every: 10, ranks: 2 });
      },
      said: [ofRanks, ofRanks],
    },
    {
      change: (run) => write(run, { ...statsOf(10), gradient_norms: { conv1: NaN } }),
      said: ["No finite values."],
    },
    {
      change: (run) => {
        write(run, statsOf(10));
        Deno.writeTextFileSync(join(run.path, "metrics.jsonl"), JSON.stringify(stepOf(1)) + "\n");
      },
      said: ["Step time is unknown: metrics.jsonl has no two steps with a time."],
    },
  ];
  // One report has them all, of which one at a time is plotted.
  const messages: PageMessage[] = [];
  using folder = new RecordedRun();
  for (const [i, { change }] of cases.entries()) {
    using run = new RecordedRun();
    await run.writeAll({ status: "finished" });
    run.addSteps(1, 20);
    change(run);
    const reader = new RunReader(run.path, i);
    await reader.poll();
    messages.push(...reader.everything());
  }
  const path = join(folder.path, "compare.html");
  const names = cases.map((_, i) => `run${i}`);
  Deno.writeTextFileSync(path, reportPage([{ kind: "runs", names, isLive: false }, ...messages]));
  const { page, complaints } = await open();
  await page.goto(pathToFileURL(path).href);
  await page.locator("#draw-none").click();
  await page.locator("#runs-said").filter({ hasText: " 0 plotted" }).waitFor(); // the boxes are drawn in the next frame
  for (const [i, { said }] of cases.entries()) {
    const box = page.getByRole("checkbox", { name: `Plot ${names[i]}` });
    await box.check();
    await page.locator("#runs-said").filter({ hasText: " 1 plotted" }).waitFor();
    const panels = await page.locator("#health figure:visible").count();
    const why = await page.locator("#health figure > .none:visible").allTextContents();
    assertEquals(panels === 0 ? await page.locator("#health-said").textContent() : why, said, names[i]);
    await box.uncheck();
    await page.locator("#runs-said").filter({ hasText: " 0 plotted" }).waitFor();
  }
  assertEquals(complaints, []);
});
