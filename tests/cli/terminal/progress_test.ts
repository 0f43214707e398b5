import { assert, assertEquals, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import { CountProgress } from "../../../cli/terminal/count_progress.ts";
import { Progress, type ProgressOptions, type Terminal } from "../../../cli/terminal/progress.ts";

const OPTIONS: ProgressOptions = {
  epochs: 2,
  stepsPerEpoch: 10,
  batchSize: 32,
  printFreq: 4,
  terminal: null,
};

/** A run of `steps` steps, half a second each; returns what the last step's speed was. */
function runSteps(progress: Progress, clock: { now: number }, steps: number): number | undefined {
  let speed: number | undefined;
  for (let step = 1; step <= steps; step++) {
    clock.now += 0.5;
    speed = progress.step({ epoch: Math.floor((step - 1) / 10), step, loss: 5 - step / 10, lr: 0.03 });
  }
  return speed;
}

Deno.test("Progress prints a line for the first step, every so often, and at each epoch's end", () => {
  const clock = { now: 0 };
  const printed: string[] = [];
  const logged: string[] = [];
  const progress = new Progress({
    ...OPTIONS,
    now: () => clock.now,
    print: (line) => printed.push(line),
    log: (line) => logged.push(line),
  });
  const speed = runSteps(progress, clock, 20);
  progress.note("done");
  assertEquals(speed, 64);
  assertEquals(printed.map((line) => /step +(\d+)/.exec(line)?.[1]), [
    "1",
    "4",
    "8",
    "10",
    "2",
    "6",
    "10",
    undefined,
  ]);
  assertEquals(
    printed[0],
    "epoch 0 of 2  step  1/10  loss 4.9000  lr 0.03",
    "the first step says nothing of the others",
  );
  assertEquals(printed[1], "epoch 0 of 2  step  4/10  loss 4.6000  lr 0.03  64 images/s  8s left");
  assertEquals(printed[6], "epoch 1 of 2  step 10/10  loss 3.0000  lr 0.03  64 images/s  0s left");
  assertEquals(logged, printed);
});

Deno.test("Progress counts on from the step that a run resumes from", () => {
  const printed: string[] = [];
  const progress = new Progress({
    ...OPTIONS,
    firstStep: 10,
    now: () => 0,
    print: (line) => printed.push(line),
  });
  progress.step({ epoch: 1, step: 11, loss: 1, lr: 1e-5 });
  assertMatch(printed[0], /^epoch 1 of 2 {2}step {2}1\/10 {2}loss 1.0000 {2}lr 0.00001$/);
});

Deno.test("Progress is silent but for the log when quiet", () => {
  const printed: string[] = [];
  const logged: string[] = [];
  const clock = { now: 0 };
  const progress = new Progress({
    ...OPTIONS,
    quiet: true,
    now: () => clock.now,
    print: (line) => printed.push(line),
    log: (line) => logged.push(line),
  });
  runSteps(progress, clock, 20);
  progress.note("saved");
  assertEquals(printed, []);
  assertEquals(logged.length, 8);
});

/** A terminal that keeps what is written to it. */
function fakeTerminal(columns: number, colors: boolean): Terminal & { text: string } {
  const terminal = {
    text: "",
    writable: new WritableStream<Uint8Array>({
      write(bytes) {
        terminal.text += new TextDecoder().decode(bytes);
      },
    }),
    write: (text: string) => void (terminal.text += text),
    columns: () => columns,
    colors,
  };
  return terminal;
}

/** Lines that a terminal would have shown one over the other. */
function drawn(text: string): string[] {
  return text.split("\r\x1b[K").filter((line) => line !== "");
}

/** The bar after half of the steps, on a terminal of so many columns: drawn by the timer of a second. */
async function drawBar(columns: number, colors: boolean): Promise<{ last: string; text: string }> {
  const clock = { now: 0 };
  const terminal = fakeTerminal(columns, colors);
  await using progress = new Progress({ ...OPTIONS, terminal, now: () => clock.now });
  await new Promise((resolve) => setTimeout(resolve, 0)); // the first bar goes through streams
  runSteps(progress, clock, 10);
  progress.note("a note");
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const last = drawn(terminal.text).at(-1)!;
  await progress.stop();
  return { last, text: terminal.text };
}

Deno.test("Progress draws a bar that fits the terminal, and takes it away at the end", async () => {
  const columns = [120, 80, 60, 40, 20, 5];
  const bars = await Promise.all(columns.map((width) => drawBar(width, false)));
  bars.forEach(({ last, text }, i) => {
    assertLess(last.length, columns[i], `does not fit ${columns[i]} columns: ${last}`);
    assertStringIncludes(text, "\r\x1b[Ka note\n");
    assert(text.endsWith("\r\x1b[K"), "the bar stays on the terminal");
    assert(!text.includes("\x1b[3"), "colours without being asked");
  });
  assertEquals(
    bars[0].last,
    `[${"#".repeat(20)}${"-".repeat(20)}] 10/20  5s left  loss 4.000  64 images/s  epoch 0 of 2  lr 0.03`,
  );
  assertMatch(bars[1].last, /^\[####----\] 10\/20 {2}5s left {2}loss 4.000 {2}64 images\/s/);
  assertEquals(drawn(bars[0].text)[0], `[${"-".repeat(40)}] 0/20  preparing, 00:00`);
});

Deno.test("Progress writes the control characters of a note and a warning out, on a terminal", async () => {
  const terminal = fakeTerminal(80, false);
  await using progress = new Progress({ ...OPTIONS, terminal, now: () => 0 });
  progress.note("a\x1b[2J\x9b1m");
  progress.warn("b\x1b]0;title\x07");
  assertStringIncludes(terminal.text, "\r\x1b[Ka\\u001b[2J\\u009b1m\n");
  assertStringIncludes(terminal.text, "\r\x1b[Kwarning: b\\u001b]0;title\\u0007\n");
});

Deno.test("CountProgress writes control characters out on a terminal, and draws one line", () => {
  const clock = { now: 0 };
  const terminal = fakeTerminal(80, false);
  using progress = new CountProgress({ doing: "reading a\x1b[2J\nb", terminal, now: () => clock.now });
  clock.now = 1;
  progress.update(1);
  progress.note("a\x1b[2J\x9b1m");
  assertEquals(drawn(terminal.text), [
    "reading a\\u001b[2J\\nb: 1, 1/s",
    "a\\u001b[2J\\u009b1m\n",
  ]);
});

Deno.test("CountProgress logs a line every ten seconds, as it is printed, on a terminal and where it is quiet", () => {
  for (const how of [{ terminal: null }, { terminal: fakeTerminal(80, false) }, { quiet: true }]) {
    const [printed, logged]: string[][] = [[], []];
    const clock = { now: 0 };
    using progress = new CountProgress({
      ...{ doing: "reading", print: (line) => printed.push(line), log: (line) => logged.push(line) },
      ...{ now: () => clock.now, ...how },
    });
    for (let done = 1; done <= 25; done++) {
      clock.now++;
      progress.update(done, 50);
    }
    assertEquals(logged, ["reading: 10 of 50, 1/s, 40s left", "reading: 20 of 50, 1/s, 30s left"]);
    assertEquals(printed, how.terminal === null ? logged : []);
  }
});

Deno.test("Progress colours the bar where colours are wanted", async () => {
  const { last } = await drawBar(80, true);
  assertStringIncludes(last, "[\x1b[36m####----\x1b[39m] 10/20");
});

/** A bar on a terminal of 90 columns, when it is drawn the next time. */
async function drawnNext(terminal: { text: string }): Promise<string> {
  await new Promise((resolve) => setTimeout(resolve, 1100));
  return drawn(terminal.text).at(-1)!;
}

Deno.test("Progress moves while an encoder is evaluated, before, next to and after training", async () => {
  const clock = { now: 0 };
  const terminal = fakeTerminal(90, false);
  const evaluations = { count: 2, images: 200, besideTraining: true };
  await using progress = new Progress({ ...OPTIONS, evaluations, terminal, now: () => clock.now });
  const evaluate = (of: "teacher" | "student", done: number) =>
    progress.phase({ type: "progress", phase: "evaluation", of, done, total: 200 });
  evaluate("teacher", 100);
  assertMatch(await drawnNext(terminal), /^\[#{9}-{9}\] 100\/200 {2}evaluating the teacher$/);
  runSteps(progress, clock, 10);
  const beside = await drawnNext(terminal);
  assertMatch(beside, /^\[#{9}-{9}\] 10\/20 {2}\d+s left {2}loss 4\.000 {2}64 images\/s {2}epoch 0 of 2/);
  evaluate("teacher", 200);
  runSteps(progress, clock, 20);
  evaluate("student", 20);
  clock.now += 2;
  evaluate("student", 60);
  assertMatch(await drawnNext(terminal), /^\[#{5}-{13}\] 60\/200 {2}evaluating the student {2}7s left$/);
});

Deno.test("Progress logs a line every ten seconds of a phase, and prints it where there is no terminal", async () => {
  for (const how of [{}, { terminal: fakeTerminal(90, false) }, { quiet: true }]) {
    const [printed, logged]: string[][] = [[], []];
    const clock = { now: 0 };
    await using progress = new Progress({
      ...{ ...OPTIONS, now: () => clock.now },
      ...{ print: (line) => printed.push(line), log: (line) => logged.push(line), ...how },
    });
    for (let done = 1; done <= 25; done++) {
      clock.now++;
      progress.phase({ type: "progress", phase: "features", done, total: 1000 });
    }
    assertEquals(logged, ["embedding the images: 10 of 1000", "embedding the images: 20 of 1000"]);
    assertEquals(printed, Object.keys(how).length === 0 ? logged : []);
  }
});
