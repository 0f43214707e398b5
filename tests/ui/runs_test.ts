/// <reference lib="dom" />
/** A folder of many runs: on the page, and as the server tells of it. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { UserError } from "../../errors.ts";
import { findAllRuns, findRuns } from "../../cli/output/run_folders.ts";
import type { RunRecord } from "../../ui/records.ts";
import { servePage } from "../../ui/server.ts";
import { testInBrowser } from "./browser.ts";
import { RecordedRun, recordOf, stepOf } from "./recorded_run.ts";

/** What a run in a folder of runs is made of. */
interface Made {
  status?: string;
  student?: string;
  lr?: number;
  top1?: number;
  seconds?: number;
  before?: RunRecord["before"];
  started_at?: string;
}

/** Writes a run into a folder of runs. */
function addRun(
  parent: RecordedRun,
  name: string,
  {
    status = "finished",
    student = "resnet18",
    lr = 0.03,
    top1 = 30,
    seconds = 60,
    before,
    started_at: startedAt,
  }: Made = {},
): void {
  parent.write(`${name}/config.json`, {
    ...{ student_arch: student, teacher_arch: "resnet50", teacher_ssl: "moco", lr, test_data: "/t.tsv" },
    output: name,
  });
  parent.write(`${name}/run.json`, {
    ...{ ...recordOf(), status, seconds, before, command: `deno task distill --output ${name}` },
    ...startedAt === undefined ? {} : { started_at: startedAt },
  });
  const scores = [["teacher", 60], ["student", top1]].map(([of, top1]) => ({
    of,
    by: "knn",
    step: 20,
    top1,
    top5: 90,
  }));
  const steps = Array.from({ length: 20 }, (_, i) => stepOf(i + 1));
  for (const [file, rows] of [["scores.jsonl", scores], ["metrics.jsonl", steps]] as const) {
    Deno.writeTextFileSync(
      join(parent.path, name, file),
      rows.map((row) => JSON.stringify(row) + "\n").join(""),
    );
  }
}

/** A column of the list. */
async function columnOf(page: Page, column: number): Promise<string[]> {
  return await page.locator(`#list tbody td:nth-child(${column})`).allTextContents();
}

/** Waits until the list has some runs, in order. */
async function lists(page: Page, names: string[]): Promise<void> {
  await page.waitForFunction(
    (names) =>
      [...document.querySelectorAll("#list .look")].map((button) => button.textContent).join() === names,
    names.join(),
    { timeout: 15_000 },
  );
}

testInBrowser("a folder of runs is listed, searched and sorted, and its runs are chosen", async (open) => {
  using parent = new RecordedRun();
  addRun(parent, "a", { top1: 30, seconds: 300, started_at: "2026-01-03T00:00:00.000Z" });
  const before = { started_at: "2026-01-01T12:00:00.000Z", seconds: 7200 };
  addRun(parent, "b", {
    ...{ student: "resnet34", lr: 0.06, top1: 50, started_at: "2026-01-02T00:00:00.000Z", before },
  });
  addRun(parent, "sweep/c", { status: "failed", top1: 9, started_at: "2026-01-01T00:00:00.000Z" });
  for (const [name, time] of [["a", 3], ["b", 2], ["sweep/c", 1]] as const) {
    Deno.utimeSync(join(parent.path, name, "config.json"), time, time);
  }
  await using server = await servePage(() => findRuns(parent.path), { port: 0 });
  const { page, complaints } = await open({ viewport: { width: 1280, height: 900 } });
  await page.goto(server.url);
  await lists(page, ["a", "b", "c"]);
  assertEquals(await columnOf(page, 3), ["finished", "finished", "failed"]);
  assertEquals(await columnOf(page, 4), ["resnet18", "resnet34", "resnet18"]);
  assertEquals(await columnOf(page, 5), ["resnet50 (moco)", "resnet50 (moco)", "resnet50 (moco)"]);
  assertEquals(await columnOf(page, 6), ["30.0 %", "50.0 %", "9.0 %"]);
  assertEquals(await columnOf(page, 9), ["5m 0s", "2h 1m", "1m 0s"]);

  // Numbers are sorted as numbers, the largest first, and by another click the other way round.
  const heading = page.locator("#list thead").getByRole("button", { name: "top-1" });
  await heading.click();
  await lists(page, ["b", "a", "c"]);
  await heading.press("Enter");
  await lists(page, ["c", "a", "b"]);
  assertEquals(await page.locator("#list th").nth(5).getAttribute("aria-sort"), "ascending");
  await page.locator("#list thead").getByRole("button", { name: "state" }).click();
  await lists(page, ["c", "a", "b"]);

  await page.locator("#search").fill("resnet18 finished");
  await lists(page, ["a"]);
  assertMatch((await page.locator("#runs-said").textContent())!, /^1 of 3 runs found, 3 plotted$/);
  await page.locator("#draw-found").click();
  await page.locator("#runs-said").filter({ hasText: "1 plotted" }).waitFor();
  await page.locator("#search").fill("");
  await page.getByRole("checkbox", { name: "Plot b" }).check();
  await page.locator("#runs-said").filter({ hasText: "3 of 3 runs found, 2 plotted" }).waitFor();
  const legend = page.locator("#loss ~ .legend tbody tr");
  await page.waitForFunction(() => document.querySelectorAll("#loss ~ .legend tbody tr").length === 2);

  // The legend and the list have the lines' colours.
  const swatches = (rows: string) =>
    page.locator(`${rows} .swatch`).evaluateAll((all) =>
      all.map((one) => (one as HTMLElement).style.backgroundImage)
    );
  const listed = new Map<string, string>();
  for (const [i, name] of (await page.locator("#list .look").allTextContents()).entries()) {
    listed.set(name, (await swatches("#list"))[i]);
  }
  assertEquals(await swatches("#loss ~ .legend"), [listed.get("a")!, listed.get("b")!]);
  assertEquals(new Set(listed.values()).size, 3);
  assertEquals(await legend.locator("th").allTextContents(), ["a", "b"]);
  const colours = await page.evaluate(() => {
    // deno-lint-ignore no-explicit-any -- the page has put it there
    const chart = (globalThis as any).echarts.getInstanceByDom(document.getElementById("lr"));
    return chart.getOption().series.map(({ lineStyle }: { lineStyle: { color: string } }) => lineStyle.color);
  });
  const shown = await page.evaluate((colours) =>
    colours.map((colour: string) => {
      const probe = document.createElement("span");
      probe.style.color = colour;
      return probe.style.color;
    }), colours);
  for (const [i, name] of ["a", "b"].entries()) {
    assert(listed.get(name)!.includes(shown[i]), listed.get(name));
  }

  // Only what differs is in the table of settings, and not where the runs' files are.
  assertEquals(await page.locator("#differing-list tbody th").allTextContents(), ["student_arch", "lr"]);
  assertEquals(await page.locator("#differing-list tbody td").allTextContents(), [
    "resnet18",
    "resnet34",
    "0.03",
    "0.06",
  ]);
  await page.locator("#draw-none").click();
  await page.getByText("No run is selected.").first().waitFor();
  await page.getByText("Plot at least two runs with settings to compare them.").waitFor();
  assertEquals(complaints, []);
});

testInBrowser(
  "a run that is looked into is shown with its images, and runs that begin later are added",
  async (open) => {
    using parent = new RecordedRun();
    using images = new RecordedRun();
    await images.writeAll({ status: "finished" });
    addRun(parent, "a");
    addRun(parent, "b", { started_at: "2026-01-01T00:00:00.000Z" });
    for (const name of ["look", "gallery", "teacher"]) {
      const record = JSON.parse(Deno.readTextFileSync(join(images.path, "insight", `${name}.json`)));
      parent.write(`b/insight/${name}.json`, record);
    }
    const start = (name: string, time: number) =>
      Deno.utimeSync(join(parent.path, name, "config.json"), time, time);
    start("a", 2000);
    start("b", 1000);
    await using server = await servePage(() => findRuns(parent.path), { port: 0 });
    const { page, complaints } = await open();
    await page.goto(server.url);
    await lists(page, ["a", "b"]);
    await page.locator("#title").filter({ hasText: /^a$/ }).waitFor();
    assertEquals(await page.locator("#look").isVisible(), false);
    await page.locator("#list .look").nth(1).click();
    await page.locator("#title").filter({ hasText: /^b$/ }).waitFor();
    await page.locator("#views .tile").first().waitFor();
    assertMatch((await page.locator("#command").textContent())!, /--output b$/);
    await page.locator("#list .look").first().click();
    await page.locator("#look").waitFor({ state: "hidden" });
    // It is found within seconds, and shown behind those that are known.
    addRun(parent, "new", { started_at: "2025-01-01T00:00:00.000Z" });
    await lists(page, ["a", "b", "new"]);
    await page.waitForFunction(() => document.querySelectorAll("#loss ~ .legend tbody tr").length === 3);
    assertEquals(await page.locator("#title").textContent(), "a");
    assertEquals(complaints, []);
  },
);

testInBrowser("a page of a hundred runs is there within seconds", async (open) => {
  using parent = new RecordedRun();
  for (let i = 0; i < 100; i++) addRun(parent, `run${i}`, { top1: i });
  await using server = await servePage(() => findRuns(parent.path), { port: 0 });
  const { page, complaints } = await open();
  const start = performance.now();
  await page.goto(server.url);
  await page.locator("#runs-said").filter({ hasText: "100 of 100 runs found, 10 plotted" }).waitFor();
  assert(performance.now() - start < 15_000);
  await page.locator("#draw-found").click();
  await page.locator("#runs-said").filter({ hasText: "100 plotted" }).waitFor();
  assertEquals(complaints, []);
});

Deno.test("findRuns finds runs in a folder and below, the newest first, and none within a run", async () => {
  using parent = new RecordedRun();
  for (
    const [name, time] of [["a", 2000], ["sweep/b", 3000], ["a/linear", 4000], ["x/y/z", 1], [
      "1/2/3/4",
      5,
    ]] as const
  ) {
    addRun(parent, name);
    Deno.utimeSync(join(parent.path, name, "config.json"), time, time);
  }
  addRun(parent, ".hidden");
  Deno.symlinkSync(parent.path, join(parent.path, "circle"));
  using elsewhere = new RecordedRun();
  elsewhere.write("config.json", {});
  Deno.utimeSync(join(elsewhere.path, "config.json"), 10, 10);
  Deno.symlinkSync(elsewhere.path, join(parent.path, "x", "linked"));
  const paths = (...names: string[]) => names.map((name) => join(parent.path, name));
  assertEquals(await findRuns(parent.path), paths("sweep/b", "a", "x/linked", "x/y/z"));
  assertEquals(await findRuns(join(parent.path, "a")), paths("a"));
  assertEquals(await findRuns(join(parent.path, "nowhere")), []);
  assertEquals(await findAllRuns(paths("a", "sweep", "a")), paths("a", "sweep/b"));
  await assertRejects(
    () => findAllRuns(paths("a", "1/2/3/4/insight")),
    UserError,
    "but it does not exist",
  );
  assertEquals(await findAllRuns(paths("1/2/3/4/insight", "a"), true), paths("a"));
});
