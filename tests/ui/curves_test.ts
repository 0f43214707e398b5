/// <reference lib="dom" />
/** What can be done with the curves, and how they are seen. */
import { assert, assertAlmostEquals, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Page } from "playwright-core";
import { contrast, faded, LEAST_CONTRAST } from "../../ui/page/colours.ts";
import { HELD_OUT } from "../../methods/held_out.ts";
import type { MetricsRow, RunRecord } from "../../ui/records.ts";
import { writeReport } from "../../ui/report.ts";
import { servePage } from "../../ui/server.ts";
import { testInBrowser } from "./browser.ts";
import { RecordedRun, recordOf, stepOf } from "./recorded_run.ts";

/** What a chart is drawn from. */
interface DrawnOption {
  xAxis: { min: number; max: number }[];
  yAxis: { type: string }[];
  series: { type: string; data: [number, number | null][]; lineStyle: { color: string; width: number } }[];
}

/** Asks a chart what it is drawn from. */
async function optionOf(page: Page, id: string): Promise<DrawnOption> {
  return await page.evaluate((id) => {
    // deno-lint-ignore no-explicit-any -- the page has put it there
    return (globalThis as any).echarts.getInstanceByDom(document.getElementById(id)).getOption();
  }, id);
}

/** What part of the x axis a chart shows. */
async function rangeOf(page: Page, id = "loss"): Promise<[from: number, to: number]> {
  const { xAxis: [{ min, max }] } = await optionOf(page, id);
  return [min, max];
}

/** Waits until a chart shows another part of the x axis than before. */
async function newRange(page: Page, act: () => Promise<void>): Promise<[from: number, to: number]> {
  const before = await rangeOf(page);
  await act();
  await page.waitForFunction(([from, to]) => {
    // deno-lint-ignore no-explicit-any -- the page has put it there
    const chart = (globalThis as any).echarts.getInstanceByDom(document.getElementById("loss"));
    const [{ min, max }] = chart.getOption().xAxis;
    return min !== from || max !== to;
  }, before);
  return await rangeOf(page);
}

/** What is tried on one page after the other, since each page takes a second: the report of a run of 200 steps. */
const onReport: { name: string; body: (page: Page) => Promise<void> }[] = [];

/** A step of the test of the report. It leaves the curves as it found them. */
function stepOnReport(name: string, body: (page: Page) => Promise<void>): void {
  onReport.push({ name, body });
}

/** Where a step is in the chart of the loss. */
async function pixelOf(page: Page, x: number): Promise<{ x: number; y: number }> {
  await page.locator("#loss").scrollIntoViewIfNeeded();
  const box = (await page.locator("#loss").boundingBox())!;
  const left = await page.evaluate((x) => {
    // deno-lint-ignore no-explicit-any -- the page has put it there
    const chart = (globalThis as any).echarts.getInstanceByDom(document.getElementById("loss"));
    return chart.convertToPixel({ xAxisIndex: 0 }, x);
  }, x);
  return { x: box.x + left, y: box.y + box.height / 2 };
}

/** Saves the chart of a loss of so many steps as CSV and PNG. */
async function saveCharts(page: Page, steps: number): Promise<void> {
  const save = async (name: string) => {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name }).click(),
    ]);
    return { name: download.suggestedFilename(), bytes: await Deno.readFile(await download.path()) };
  };
  const table = await save("Save Loss as CSV");
  assertMatch(table.name, /^seed_recorded_\w+-SEED-Loss\.csv$/);
  const rows = new TextDecoder().decode(table.bytes).trimEnd().split("\r\n").map((row) => row.split(","));
  assertEquals([rows.length, rows[0]], [steps + 1, ["run", "step", "value", "smoothed"]]);
  assertEquals(rows[50].slice(1, 3).map(Number), [50, stepOf(50).loss]);
  const image = await save("Save Loss as PNG");
  assertMatch(image.name, /Loss\.png$/);
  assertEquals([...image.bytes.subarray(1, 4)], [..."PNG"].map((letter) => letter.charCodeAt(0)));
  const [width, height] = [16, 20].map((at) => new DataView(image.bytes.buffer).getUint32(at));
  const chart = (await page.locator("#loss").boundingBox())!;
  assert(width > 2 * chart.width - 2 && height > 2 * chart.height + 40, `${width} x ${height}`);
}

stepOnReport("the curves are zoomed and moved together, by pointer, wheel and buttons", async (page) => {
  assertEquals(await rangeOf(page), [0, 200]);
  const drag = async (from: number, to: number) => {
    const [start, end] = [await pixelOf(page, from), await pixelOf(page, to)];
    await page.mouse.move(start.x, start.y);
    await page.mouse.down();
    await page.mouse.move(end.x, end.y, { steps: 4 });
    await page.mouse.up();
  };
  const zoomed = await newRange(page, () => drag(50, 100));
  assertAlmostEquals(zoomed[0], 50, 1);
  assertAlmostEquals(zoomed[1], 100, 1);
  for (const id of ["scores", "throughput", "lr"]) assertEquals(await rangeOf(page, id), zoomed);
  const { series } = await optionOf(page, "loss");
  assert(series[0].data.length < 60, `${series[0].data.length} points are drawn of 50`);

  await page.keyboard.down("Shift");
  const moved = await newRange(page, () => drag(70, 80));
  await page.keyboard.up("Shift");
  assertAlmostEquals(moved[1] - moved[0], zoomed[1] - zoomed[0], 1e-6);
  assert(moved[0] < zoomed[0], "what was under the pointer has moved with it");

  const { x, y } = await pixelOf(page, moved[0] + 5);
  await page.mouse.move(x, y);
  await page.mouse.wheel(0, 100);
  await page.waitForTimeout(300);
  assertEquals(await rangeOf(page), moved, "without a key the page scrolls");
  await page.keyboard.down("Control");
  const { x: left, y: top } = await pixelOf(page, moved[0] + 5);
  await page.mouse.move(left, top);
  const wider = await newRange(page, () => page.mouse.wheel(0, 100));
  await page.keyboard.up("Control");
  assert(wider[1] - wider[0] > moved[1] - moved[0]);

  await page.locator("#loss").dblclick();
  await page.waitForTimeout(300);
  assertEquals(await rangeOf(page), [0, 200]);
  assertEquals(await newRange(page, () => page.locator("#zoom-in").press("Enter")), [50, 150]);
  assertEquals(await newRange(page, () => page.locator("#zoom-after").press("Enter")), [100, 200]);
  assertEquals(await newRange(page, () => page.locator("#zoom-before").press("Enter")), [50, 150]);
  assertEquals(await newRange(page, () => page.locator("#zoom-out").press("Enter")), [0, 200]);
  await newRange(page, () => page.locator("#zoom-in").press("Enter"));
  assertEquals(await newRange(page, () => page.locator("#zoom-all").press("Enter")), [0, 200]);
});

stepOnReport("two fingers zoom and move the curves, and one finger selects as before", async (page) => {
  const session = await page.context().newCDPSession(page);
  type Point = { x: number; y: number };
  const send = (type: "touchStart" | "touchMove" | "touchEnd", ...points: Point[]) =>
    session.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map((point, id) => ({ ...point, id })),
    });
  /** Fingers that move from some places to others. */
  const slide = async (from: Point[], to: Point[]) => {
    for (let count = 1; count <= from.length; count++) await send("touchStart", ...from.slice(0, count));
    for (const share of [0.25, 0.5, 0.75, 1]) {
      const between = from.map((start, i) => ({
        x: start.x + (to[i].x - start.x) * share,
        y: start.y + (to[i].y - start.y) * share,
      }));
      await send("touchMove", ...between);
    }
    await send("touchEnd");
  };
  const at = (...steps: number[]) => Promise.all(steps.map((step) => pixelOf(page, step)));

  // Twice as far apart, around step 100: half of the range.
  const near = await at(80, 120);
  const apart = await at(60, 140);
  const zoomed = await newRange(page, () => slide(near, apart));
  await page.waitForTimeout(300);
  const [from, to] = await rangeOf(page);
  assertAlmostEquals(from, 50, 2);
  assertAlmostEquals(to, 150, 2);
  assert(zoomed[1] - zoomed[0] < 200);
  for (const id of ["scores", "throughput", "lr"]) assertEquals(await rangeOf(page, id), [from, to]);

  // Together they move it: what was between them goes with them.
  await newRange(page, async () => await slide(await at(90, 110), await at(80, 100)));
  await page.waitForTimeout(300);
  const moved = await rangeOf(page);
  assertAlmostEquals(moved[0], from + 10, 2);
  assertAlmostEquals(moved[1] - moved[0], to - from, 2);

  // Nearer together: wider again.
  await newRange(page, async () => await slide(await at(90, 130), await at(100, 120)));
  await page.waitForTimeout(300);
  const wider = await rangeOf(page);
  assertAlmostEquals(wider[1] - wider[0], 2 * (to - from), 4);

  await page.locator("#zoom-all").click();
  const selected = await newRange(page, async () => await slide(await at(50), await at(100)));
  await page.waitForTimeout(300);
  assertAlmostEquals(selected[0], 50, 2);
  assertAlmostEquals(selected[1], 100, 2);
  await newRange(page, () => page.locator("#zoom-all").click());
});

testInBrowser("a zoom stays while a run goes on, whose charts are saved as CSV and PNG", async (open) => {
  using run = new RecordedRun();
  await run.writeAll();
  run.addSteps(1, 100);
  await using server = await servePage([run.path], { port: 0 });
  const { page, complaints } = await open();
  await page.goto(server.url);
  await page.locator("#now").filter({ hasText: "step100" }).waitFor();
  // The first evaluation is at step 0, and the newest at 200.
  const range = await newRange(page, () => page.locator("#zoom-in").click());
  assertEquals(range, [50, 150]);
  run.addSteps(101, 120);
  await page.locator("#now").filter({ hasText: "step120" }).waitFor();
  await page.waitForTimeout(600);
  assertEquals(await rangeOf(page), range);
  assertEquals((await optionOf(page, "loss")).series[0].data.at(-1)![0], 120);
  await page.locator("#zoom-all").click();
  await saveCharts(page, 120);
  assertEquals(complaints, []);
});

testInBrowser(
  "a zoom over time stays when the unit changes, and goes with the runs that it is of",
  async (open) => {
    using run = new RecordedRun();
    using other = new RecordedRun();
    run.addSteps(1, 31);
    other.addSteps(1, 6);
    await using server = await servePage([run.path, other.path], { port: 0 });
    const { page, complaints } = await open();
    await page.goto(server.url);
    await page.locator("#loss canvas").waitFor();
    const choose = () => page.locator('#unit [value="time"]').check();
    assertEquals(await newRange(page, choose), [0, 90], "seconds");
    assertEquals(await newRange(page, () => page.locator("#zoom-in").click()), [22.5, 67.5]);
    const minutes = await newRange(page, () => Promise.resolve(run.addSteps(32, 50)));
    assertEquals(minutes, [22.5 / 60, 67.5 / 60]);
    assertEquals(await newRange(page, () => page.locator("#zoom-after").click()), [45 / 60, 90 / 60]);
    const uncheck = () => page.locator("#list [type=checkbox]").first().uncheck();
    assertEquals(await newRange(page, uncheck), [0, 15], "seconds of the other run");
    assertEquals(complaints, []);
  },
);

stepOnReport("the x axis is step, epoch or time, of points and of evaluations", async (page) => {
  const choose = (unit: string) => newRange(page, () => page.locator(`#unit [value="${unit}"]`).check());
  const last = async (id: string) => (await optionOf(page, id)).series.at(-1)!.data.at(-1)![0];
  assertEquals([await last("loss"), await last("scores")], [200, 200]);
  // Epochs of 100 steps, and steps of 3 seconds.
  assertEquals(await choose("epoch"), [0, 2]);
  assertEquals([await last("loss"), await last("scores")], [2, 2]);
  assertEquals(await choose("time"), [0, 199 * 3 / 60]);
  assertEquals([await last("loss"), await last("scores")], [9.95, 9.95]);
  assertMatch((await page.locator("#lr ~ .legend").textContent())!, /learning rateminutes.*0\.039\.95/);
  await choose("step");
});

stepOnReport("the values under the pointer, raw and smoothed, stand below the chart", async (page) => {
  const legend = page.locator("#loss ~ .legend");
  const cells = async () => (await legend.locator("tbody td").allTextContents()).map(Number);
  assertEquals(await legend.locator("thead th").allTextContents(), ["smoothed", "raw", "step"]);
  assertEquals((await cells())[2], 200, "by default it is the newest");
  const { x, y } = await pixelOf(page, 80);
  await page.mouse.move(x, y);
  const [smoothed, raw, step] = await cells();
  assertAlmostEquals(step, 80, 1);
  assertAlmostEquals(raw, stepOf(step).loss!, 1e-3);
  assertAlmostEquals(smoothed, raw, 0.05);
  assertAlmostEquals(Number((await page.locator("#lr ~ .legend td").allTextContents()).at(-1)), step, 0);
  const chart = (await page.locator("#loss").boundingBox())!;
  assert((await legend.boundingBox())!.y >= chart.y + chart.height, "it covers the curve");
  const cursor = (await page.locator("#loss .cursor").boundingBox())!;
  assertAlmostEquals(cursor.x, x, 2);
  await page.mouse.move(5, 5);
  assertEquals((await cells())[2], 200);
  assertEquals(await page.locator("#loss .cursor").isVisible(), false);
});

stepOnReport("charts are saved as CSV and PNG", (page) => saveCharts(page, 200));

testInBrowser("a linear evaluation shows the scores of all its learning rates", async (open) => {
  using run = new RecordedRun();
  await run.writeAll({ task: "lincls", status: "finished" });
  run.addSteps(1, 200);
  const scores = [0.01, 0.1].flatMap((lr) =>
    [100, 200].map((step) => ({
      of: "student",
      by: "linear",
      step,
      top1: 100 * lr + step / 10,
      top5: 90,
      lr,
    }))
  );
  Deno.writeTextFileSync(
    join(run.path, "scores.jsonl"),
    scores.map((row) => JSON.stringify(row) + "\n").join(""),
  );
  const { page } = await open();
  await page.goto(pathToFileURL(await writeReport(run.path)).href);
  await page.locator("#scores canvas").waitFor();
  const rows = await page.locator("#scores ~ .legend tbody tr").allTextContents();
  assertEquals(rows.length, 2);
  assertMatch(rows[0], /linear, lr 0\.0121 %200$/);
  assertMatch(rows[1], /linear, lr 0\.130 %200$/);
  const { series } = await optionOf(page, "scores");
  assertEquals(new Set(series.map(({ lineStyle }) => lineStyle.color)).size, 2);
  assertStringIncludes((await page.locator("#what").textContent())!, "latest linear top-130.0 %");
});

testInBrowser("a run says that it was recorded without time, and that labels are held out", async (open) => {
  using run = new RecordedRun();
  await run.writeAll({ status: "running" });
  const { time: _, ...step } = stepOf(1);
  Deno.writeTextFileSync(join(run.path, "metrics.jsonl"), JSON.stringify(step) + "\n");
  const row = { of: "student", by: "knn", step: 100, top1: 30, top5: 90, held_out: true };
  Deno.writeTextFileSync(join(run.path, "scores.jsonl"), JSON.stringify(row) + "\n");
  const { page } = await open();
  await page.goto(pathToFileURL(await writeReport(run.path)).href);
  await page.locator("#scores canvas").waitFor();
  assertMatch(await page.locator("#scores ~ .legend tbody").innerText(), /\(held-out labels\)/);
  assertMatch((await page.locator("#what").textContent())!, /latest kNN top-1 \(held-out labels\)30\.0 %/);

  await page.locator("#loss canvas").waitFor();
  await page.locator('#unit [value="time"]').check();
  await page.getByText("No time was recorded: an older version wrote these steps.").first().waitFor();
  await page.locator('#unit [value="step"]').check();
  await page.locator("#loss canvas").waitFor();
});

/** Colours of what is drawn, by what they need. */
interface DrawnColours {
  text: string[];
  line: string[];
}

/** All colours of all charts as they are drawn. Lines that only divide the chart need no contrast. */
async function drawnColours(page: Page): Promise<DrawnColours> {
  return await page.evaluate(() => {
    const found = { text: new Set<string>(), line: new Set<string>() };
    const texts = ["textStyle", "axisLabel", "nameTextStyle", "label"];
    const lines = ["lineStyle", "itemStyle"];
    const walk = (value: unknown, path: string[]) => {
      if (value === null || typeof value !== "object") return;
      for (const [key, inner] of Object.entries(value)) {
        if (
          ["splitLine", "minorSplitLine", "splitArea", "tooltip", "data", "emphasis", "select"].includes(key)
        ) {
          if (key !== "data" || path.at(-1) !== "markLine") continue;
        }
        const owner = path.at(-1)!;
        const isColour = key === "color" && typeof inner === "string" && inner !== "inherit";
        if (isColour && texts.includes(owner)) found.text.add(inner);
        if (isColour && lines.includes(owner)) found.line.add(inner);
        walk(inner, [...path, key]);
      }
    };
    for (const element of document.querySelectorAll(".chart")) {
      // deno-lint-ignore no-explicit-any -- the page has put it there
      const { series, xAxis, yAxis, legend } = (globalThis as any).echarts.getInstanceByDom(element)
        .getOption();
      for (const axis of [...xAxis, ...yAxis]) {
        walk({
          axisLabel: axis.axisLabel.show && axis.axisLabel,
          nameTextStyle: axis.name && axis.nameTextStyle,
          axisLine: axis.axisLine,
        }, []);
      }
      for (const one of legend ?? []) {
        walk({ textStyle: one.textStyle, label: one.type === "scroll" && one.pageTextStyle }, []);
      }
      for (const { lineStyle, itemStyle, markLine } of series) walk({ lineStyle, itemStyle, markLine }, []);
    }
    return { text: [...found.text], line: [...found.line] };
  });
}

/** All that is drawn in the charts of a page can be seen. */
async function assertSeen(page: Page, theme: string): Promise<void> {
  await page.locator("#likeliest canvas").waitFor();
  await page.locator("#map-teacher canvas").waitFor();
  const panel = await page.evaluate(() =>
    getComputedStyle(document.querySelector("figure")!).backgroundColor
  );
  const colours = await drawnColours(page);
  assert(colours.text.length >= 2 && colours.line.length >= 7, JSON.stringify(colours));
  for (const use of ["text", "line"] as const) {
    for (const colour of colours[use]) {
      const found = contrast(colour, panel);
      assert(found >= LEAST_CONTRAST[use], `${theme}: ${use} of ${colour} has ${found.toFixed(2)}`);
    }
  }
  // The raw curve is the faint one.
  const [raw, smoothed] = (await optionOf(page, "loss")).series.map(({ lineStyle }) => lineStyle);
  assertEquals([raw.color, raw.width, smoothed.width], [faded(smoothed.color, panel), 1, 2]);
}

testInBrowser(
  "the theme can be chosen, is remembered, and charts follow it, in which all can be seen",
  async (open) => {
    using run = new RecordedRun();
    using other = new RecordedRun();
    for (const one of [run, other]) {
      await one.writeAll({ status: "finished" });
      one.addSteps(1, 200);
    }
    await using server = await servePage([run.path, other.path], { port: 0 });
    const { page, complaints } = await open({ colorScheme: "light" });
    await page.goto(server.url);
    await page.locator("#loss canvas").waitFor();
    const look = async () => ({
      page: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
      line: (await optionOf(page, "loss")).series.at(-1)!.lineStyle.color,
    });
    const choose = async (theme: string) => {
      await page.locator("#theme").selectOption(theme);
      await page.waitForTimeout(200);
    };
    await assertSeen(page, "light");
    const light = await look();
    await choose("dark");
    const dark = await look();
    assertEquals([light.page, dark.page], ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]);
    assert(light.line !== dark.line);
    await page.reload();
    await page.locator("#loss canvas").waitFor();
    assertEquals([await page.locator("#theme").inputValue(), await look()], ["dark", dark]);
    await assertSeen(page, "dark");
    await choose("auto");
    assertEquals(await look(), light);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForTimeout(200);
    assertEquals(await look(), dark);
    await assertSeen(page, "dark, as the system has it");
    await choose("light");
    assertEquals(await look(), light);
    assertEquals(complaints, []);
  },
);

testInBrowser("points that no line leads to are marked, and charts without a value say so", async (open) => {
  /** A report of some steps, whose rows are changed: of each chart what is drawn, or why nothing is. */
  const draw = async (steps: number, change: (row: MetricsRow) => MetricsRow) => {
    using run = new RecordedRun();
    run.write("run.json", { ...recordOf(), status: "finished" });
    const rows = Array.from({ length: steps }, (_, i) => JSON.stringify(change(stepOf(i + 1))) + "\n");
    Deno.writeTextFileSync(join(run.path, "metrics.jsonl"), rows.join(""));
    await using opened = await open();
    const { page, complaints } = opened;
    await page.goto(pathToFileURL(await writeReport(run.path)).href);
    await page.locator("#lr canvas").waitFor();
    const drawn = async (id: string) => {
      const [empty] = await page.locator(`#${id} ~ .none:visible`).allTextContents();
      return empty ?? (await optionOf(page, id)).series.map(({ type, data }) => [type, data.length]);
    };
    const found = [await drawn("loss"), await drawn("lr"), await drawn("throughput")];
    assertEquals(complaints, []);
    return found;
  };
  // With smoothing there are two lines, and marks where each has none.
  const both = (
    points: number,
    marks: number,
  ) => [["line", points], ["scatter", marks], ["line", points], ["scatter", marks]];
  const unknown = "The rate is known after a second of training.";
  assertEquals(await draw(1, (row) => ({ ...row, images_per_second: null })), [
    both(1, 1),
    [["line", 1], ["scatter", 1]],
    unknown,
  ]);
  const [some, lr, rate] = await draw(40, (row) => row.step % 2 === 0 ? { ...row, loss: null } : row);
  assertEquals([some, lr, rate], [both(40, 20), [["line", 40]], [["line", 40], ["line", 40]]]);
  const [none] = await draw(40, (row) => ({ ...row, loss: null }));
  assertEquals(none, "No finite values.");
});

/** The sections that a page has links to, all of which are there. */
async function linksOf(page: Page): Promise<string[]> {
  const links = await page.locator("nav a:visible").evaluateAll((all) =>
    all.map((a) => ({ href: a.getAttribute("href")!, text: a.textContent }))
  );
  for (const { href } of links) assert(await page.locator(href).isVisible(), `${href} is not there`);
  return links.map(({ text }) => text);
}

testInBrowser(
  "a chart without data says why, and sections that are not there are not linked",
  async (open) => {
    const texts = async (run: RecordedRun) => {
      await using opened = await open();
      const { page, complaints } = opened;
      await page.goto(pathToFileURL(await writeReport(run.path)).href);
      await page.locator("#about-said, #again").first().waitFor({ state: "attached" });
      await page.waitForTimeout(700);
      const shown = page.locator("#curves figure > .none:visible");
      const links = await linksOf(page);
      assertEquals(complaints, []);
      const results = await page.locator("#results").innerText();
      return {
        curves: await shown.allTextContents(),
        links,
        results,
        actors: await page.locator("#bottleneck").innerText(),
      };
    };
    using empty = new RecordedRun();
    const nothing = await texts(empty);
    assertEquals(nothing.links, ["Results", "Curves", "Health", "Actors", "About the run"]);
    assertEquals(nothing.curves[0], "No steps yet.");
    assertEquals(nothing.curves[1], "No evaluation: the run has no --test-data.");
    assertMatch(nothing.results, /No results yet/);
    assertEquals(nothing.actors, "No data from the actors yet.");
    using failed = new RecordedRun();
    failed.write("config.json", { test_data: "/data/test.tsv" });
    failed.write("run.json", { ...recordOf(), status: "failed", results: undefined });
    const ended = await texts(failed);
    assertEquals(ended.curves.slice(0, 2), [
      "The run ended before its first step.",
      "The run ended before its first evaluation.",
    ]);
    assertMatch(ended.results, /No results: the run did not finish/);
    assertEquals(ended.actors, "The run recorded no data about its actors.");
    failed.addSteps(1, 3);
    const { results } = await texts(failed);
    assertStringIncludes(results, "These are the latest values; the run did not finish.");
    using unlabelled = new RecordedRun();
    unlabelled.write("config.json", { test_data: HELD_OUT }); // as the command line has it
    unlabelled.addSteps(1, 3);
    const { plan, ...record } = recordOf();
    const noEvaluation = async (status: RunRecord["status"], knn: { knn?: null }) => {
      unlabelled.write("run.json", { ...record, status, plan: { ...plan!, ...knn } });
      return (await texts(unlabelled)).curves[0];
    };
    for (const status of ["running", "finished"] as const) {
      const why = "No kNN: there are no labelled images to classify.";
      assertEquals(await noEvaluation(status, { knn: null }), why);
    }
    assertEquals(
      await noEvaluation("finished", {}),
      "The run finished without an evaluation.",
      "of an earlier version",
    );
  },
);

stepOnReport("sections that are there are linked", async (page) => {
  const sections = ["Results", "Curves", "Health", "Actors", "A batch", "Neighbours", "Map", "About the run"];
  assertEquals(await linksOf(page), sections);
});

stepOnReport("an image is enlarged by a click or a key, and the arrow keys go on from it", async (page) => {
  const viewer = page.locator("#viewer");
  const small = (await page.locator("#views .tile").nth(3).boundingBox())!;
  await page.locator("#views .tile").nth(3).click();
  assertMatch((await viewer.textContent())!, /view 4 \(4 of 12\)/);
  const large = (await page.locator("#viewer-image").boundingBox())!;
  assert(large.width > 4 * small.width);
  await page.keyboard.press("ArrowRight");
  assertMatch((await viewer.textContent())!, /view 5 \(5 of 12\)/);
  await page.locator("#viewer-before").click();
  assertMatch((await viewer.textContent())!, /view 4 \(4 of 12\)/);
  await page.keyboard.press("Escape");
  assertEquals(await viewer.isVisible(), false);
  await page.locator("#alike button").first().press("Enter");
  assertMatch((await viewer.textContent())!, /class 0 \(1 of 1\)/);
  assertEquals((await page.locator("#viewer-image").boundingBox())!.width, large.width);
  await page.locator("#viewer-close").click();
  assertEquals(await viewer.isVisible(), false);
});

stepOnReport("the command is copied by a button, also where a page has no clipboard", async (page) => {
  const { command } = recordOf();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator("#copy").click();
  await page.locator("#copy-said").filter({ hasText: "copied" }).waitFor();
  assertEquals(await page.evaluate(() => navigator.clipboard.readText()), command);
  await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
  await page.locator("#copy-said").filter({ hasText: /^$/ }).waitFor({ state: "attached" });
  await page.locator("#copy").click();
  await page.locator("#copy-said").filter({ hasText: /^copied$/ }).waitFor();
  assertEquals(await page.evaluate(() => getSelection()!.toString()), command);
});

/** Actors of a run in which some do the same, and some evaluate. */
const ACTORS = [
  ...["tsv_reader 0", "tsv_reader 1", "augmenter", "teacher_encoder", "queue_keeper", "student_trainer"],
  ...["bank_reader", "query_reader", "probe_reader", "evaluation_augmenter", "evaluator", "projector"],
];
const ACTOR_RECORDS = ACTORS.map((name) => ({
  ...{ name, busy: 0.5, waiting: 0.1, busyOverall: 0.5, waitingOverall: 0.1, mailbox: 0, handled: 1 },
  links: [{ to: "evaluation_augmenter", credits: 2, queued: 0 }],
}));

stepOnReport(
  "actors that do the same stand side by side, evaluation apart, and no word is broken",
  async (page) => {
    const { width: before, height } = page.viewportSize()!;
    for (const width of [360, before]) {
      await page.setViewportSize({ width, height });
      await page.locator("#ring li").first().waitFor();
      const stages = (id: string) =>
        page.locator(`#${id} > li`).evaluateAll((all) =>
          all.map((stage) => [...stage.querySelectorAll("strong")].map((name) => name.textContent))
        );
      assertEquals(await stages("ring"), [ACTORS.slice(0, 2), ...ACTORS.slice(2, 6).map((name) => [name])]);
      assertEquals(await stages("evaluation"), [ACTORS.slice(6, 9), [ACTORS[9]], [ACTORS[10]]]);
      assertEquals(await stages("aside"), [[ACTORS[11]]]);
      const overflows = await page.locator(".actor").evaluateAll((all) =>
        all.filter((card) => card.scrollWidth > card.clientWidth).map((card) => card.textContent)
      );
      assertEquals(overflows, []);
      const wraps = await page.locator(".actor").evaluateAll((all) =>
        all.some((card) => ["anywhere", "break-word"].includes(getComputedStyle(card).overflowWrap))
      );
      assertEquals(wraps, false, "words are broken");
    }
  },
);

stepOnReport("smoothing is off at 0, and the y axis is logarithmic where that is wanted", async (page) => {
  const counts = async () => (await optionOf(page, "loss")).series.length;
  assertEquals(await counts(), 2);
  await page.locator("#smoothing").fill("0");
  await page.locator("#smoothing-said").filter({ hasText: /^off$/ }).waitFor();
  await page.waitForTimeout(100);
  assertEquals(await counts(), 1);
  assertMatch((await page.locator("#loss ~ .legend").textContent())!, /^lossstep/);
  await page.locator("#smoothing").fill("20");
  await page.locator("#smoothing-said").filter({ hasText: "20 % of the steps" }).waitFor();
  const log = page.getByRole("button", { name: "log scale, Loss" });
  await log.click();
  assertEquals(await log.getAttribute("aria-pressed"), "true");
  assertEquals((await optionOf(page, "loss")).yAxis[0].type, "log");
  assertEquals((await optionOf(page, "lr")).yAxis[0].type, "value");
});

testInBrowser("a report's curves and images can be looked into", async (open, test) => {
  using run = new RecordedRun();
  await run.writeAll({ status: "finished" });
  run.addSteps(1, 200);
  run.write("actors.json", { at: new Date().toISOString(), actors: ACTOR_RECORDS });
  const { page, complaints } = await open({ viewport: { width: 1280, height: 900 } });
  const session = await page.context().newCDPSession(page);
  await session.send("Emulation.setTouchEmulationEnabled", { enabled: true, maxTouchPoints: 2 });
  await page.goto(pathToFileURL(await writeReport(run.path)).href);
  await page.locator("#loss canvas").waitFor();
  for (const { name, body } of onReport) await test.step(name, () => body(page));
  await session.send("Emulation.setTouchEmulationEnabled", { enabled: false });
  await session.detach();
  assertEquals(complaints, []);
});
