// Each task that may take long stops in good order at a signal: it installs the handling, and heeds it.
import { ONE_THREAD, WORKERS } from "../../one_thread.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { IS_LONG } from "../../long.ts";

const COMMANDS = fileURLToPath(new URL("../../../cli/commands/", import.meta.url));
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

/**
 * Sends a program a signal as soon as it listens to all of them, or once it has written something after that, and gives the
 * system time to deliver it.
 */
function preloadOf(signal: Deno.Signal, when: "listening" | "writing"): string {
  return `
const send = () => {
  Deno.kill(Deno.pid, ${JSON.stringify(signal)});
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
};
const { addSignalListener } = Deno;
const wanted = new Set(${JSON.stringify(SIGNALS)});
Deno.addSignalListener = (name, listener) => {
  addSignalListener(name, listener);
  if (wanted.delete(name) && wanted.size === 0 && ${when === "listening"}) send();
};
const { writeSync } = Deno.FsFile.prototype;
let hasSent = ${when === "listening"};
Deno.FsFile.prototype.writeSync = function (bytes) {
  if (!hasSent && wanted.size === 0) {
    hasSent = true;
    send();
  }
  return writeSync.call(this, bytes);
};
`;
}

/** A task's arguments, for some rows of data and a folder to write to. */
const TASKS: Record<string, (data: string, output: string) => string[]> = {
  distill: (data, output) => [
    ...[
      "--data",
      data,
      "--distill",
      TINY_TEACHER,
      "--teacher-arch",
      "tiny_convnet",
      "--output",
      output,
      "--epochs",
      "3",
      "-b",
      "4",
      "-j",
      "1",
      "--image-size",
      "32",
    ],
    ...[
      "--student-arch",
      "tiny_convnet",
      "--plugin",
      fileURLToPath(TINY_ENCODER),
      "--no-insight",
      "--no-tune",
    ],
  ],
  lincls: (data, output) => [
    ...["-a", "tiny_convnet", "--plugin", fileURLToPath(TINY_ENCODER), "--epochs", "3", "-b", "4"],
    ...["-j", "1", "--image-size", "32", "--output", output, data],
  ],
  knn: (data) => [
    "-a",
    "tiny_convnet",
    "--plugin",
    fileURLToPath(TINY_ENCODER),
    "--image-size",
    "32",
    "-k",
    "1",
    data,
  ],
  embed: (
    data,
    output,
  ) => ["--pretrained", SAMPLE_TEACHER, "--image-size", "32", "-o", `${output}.npy`, data],
  tsv: (data, output) => [data, "-o", output],
  export: (_, output) => [SAMPLE_TEACHER, "-o", `${output}.pth`],
};

/** One of each way to stop: a training saves, a task that computes ends, one that writes leaves no file. */
const QUICK = ["distill", "knn", "export"];

/** Starts a task, and looks at how it ends after the SIGHUP that the preload sends. */
async function assertStops(preload: string, program: string, args: string[], env: Record<string, string>) {
  const { code, signal, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--preload", preload, program, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    env: { NO_COLOR: "1", ...env },
  }).output();
  const text = new TextDecoder().decode(stderr);
  assertEquals([code, signal], [129, null], text);
  assertMatch(
    text,
    /^(note: .*\n)*stopping; press Ctrl-C again to quit immediately\n(.*\n)*interrupted\n$/,
  );
}

Deno.test({
  name: "each long task stops in good order at SIGHUP, which would end it otherwise",
  ignore: Deno.build.os === "windows",
  async fn(test) {
    using folder = new RunFolder(40, 8);
    for (const [task, argsOf] of Object.entries(TASKS)) {
      if (!IS_LONG && !QUICK.includes(task)) continue;
      await test.step(task, async () => {
        const output = join(folder.path, task);
        const preload = join(folder.path, `${task}_preload.ts`);
        // An export would be done at once, and writes without a pause.
        Deno.writeTextFileSync(preload, preloadOf("SIGHUP", task === "export" ? "writing" : "listening"));
        const env = task === "distill" ? WORKERS : ONE_THREAD;
        await assertStops(preload, join(COMMANDS, `${task}.ts`), argsOf(folder.data, output), env);
      });
    }
  },
});

Deno.test({
  name: "tsv stops while it finds the rows of a TSV file, and leaves no index",
  ignore: Deno.build.os === "windows",
  async fn() {
    using folder = new RunFolder(4);
    const preload = join(folder.path, "preload.ts");
    Deno.writeTextFileSync(preload, preloadOf("SIGHUP", "listening"));
    const train = join(folder.data, "train.tsv");
    const index = join(folder.data, "train.lineidx");
    assertEquals(existsSync(index), false);
    await assertStops(preload, join(COMMANDS, "tsv.ts"), ["--check", train], ONE_THREAD);
    assertEquals(existsSync(index), false);
  },
});
