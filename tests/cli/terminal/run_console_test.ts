import { assertMatch } from "@std/assert";
import { join } from "node:path";
import { OutputFolder } from "../../../cli/output/output_folder.ts";
import { RunConsole } from "../../../cli/terminal/run_console.ts";

Deno.test("RunConsole logs what is read and evaluated before and after there are steps, quiet too", async () => {
  const path = Deno.makeTempDirSync();
  const { now } = performance;
  try {
    using folder = OutputFolder.open(path);
    const shown = new RunConsole(folder, { quiet: true });
    const progress = (phase: "reading" | "evaluation", done: number, total: number) => {
      shown.progress({ type: "progress", phase, of: "student", done, total });
      performance.now = () => now.call(performance) + 11_000; // it does not take that long here
      shown.progress({ type: "progress", phase, of: "student", done: 2 * done, total });
      performance.now = now;
    };
    progress("reading", 2 ** 20, 2 ** 22);
    shown.start({ epochs: 1, stepsPerEpoch: 2, batchSize: 4, printFreq: 1 });
    progress("evaluation", 50, 400);
    await shown.stop();
    assertMatch(
      Deno.readTextFileSync(join(path, "log.txt")),
      /^\S+Z reading the data, MiB: 2 of 4[^\n]*\n\S+Z evaluating the student: 100 of 400[^\n]*\n$/,
    );
  } finally {
    performance.now = now;
    Deno.removeSync(path, { recursive: true });
  }
});
