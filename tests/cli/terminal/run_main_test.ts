import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ActorCrash, describeFailure } from "../../../actors/runtime/failure.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { endOf } from "../../../cli/output/run_recorder.ts";
import { Interrupted } from "../../../cli/terminal/interrupt.ts";
import { reportError } from "../../../cli/terminal/run_main.ts";
import { UserError } from "../../../errors.ts";
import { DeviceLostError } from "../../../kernels/gpu.ts";
import { testWithPython } from "../../python.ts";

const CLI = new URL("../../../cli/", import.meta.url);
const FOLDER = Deno.makeTempDirSync({ prefix: "seed-run-main-" });
addEventListener("unload", () => Deno.removeSync(FOLDER, { recursive: true }));

const FLAGS = ["run", "--quiet", "-A", "--config", fileURLToPath(new URL("../deno.json", CLI))];

/** Writes a program that has the command line's parts at hand. Returns its path. */
function writeProgram(program: string): string {
  const imports = `
    import { runMain } from "${new URL("terminal/run_main.ts", CLI)}";
    import { interruptSignal } from "${new URL("terminal/interrupt.ts", CLI)}";
    import { UserError } from "${new URL("../errors.ts", CLI)}";
  `;
  const file = join(FOLDER, `${crypto.randomUUID()}.ts`);
  Deno.writeTextFileSync(file, imports + program);
  return file;
}

function start(program: string, env: Record<string, string> = {}): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...FLAGS, writeProgram(program)],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", ...env },
  }).spawn();
}

async function run(program: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await start(program).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("leave() stays as long as a GPU's driver needs, and no longer where there is none", async () => {
  const end = (lingerMs: string) =>
    run(`
      import { leave } from "${new URL("terminal/run_main.ts", CLI)}";
      // What keeps the program alive is in the list that it prints; the rest may be cut off.
      const { setTimeout } = globalThis;
      const timers = new Map();
      globalThis.setTimeout = (work, ms) => {
        const timer = setTimeout(work, ms);
        timers.set(timer, ms);
        return timer;
      };
      const { unrefTimer } = Deno;
      Deno.unrefTimer = (timer) => {
        timers.delete(timer);
        unrefTimer(timer);
      };
      Deno.unrefTimer(setTimeout(() => console.log("still here"), 400));
      leave(3${lingerMs});
      console.log([...timers.values()].join());
    `);
  const [hurried, lingering] = await Promise.all([end(""), end(", 800")]);
  assertEquals([hurried.code, lingering.code], [3, 3]);
  assertEquals(hurried.stdout.split("\n")[0], "", "nothing keeps it");
  assertEquals(lingering.stdout, "800\nstill here\n");
});

Deno.test("reportError() shows of a person's mistake the message alone", () => {
  assertEquals(reportError(new UserError("no such file")), { text: "error: no such file", code: 1 });
  assertEquals(reportError(new UsageError("unknown flag")), { text: "error: unknown flag", code: 2 });
  assertEquals(reportError(new Interrupted()), { text: "interrupted", code: 130 });
  assertEquals(
    reportError(new UserError("no such file"), { colors: true }).text,
    "\x1b[1;31merror\x1b[0m: no such file",
  );
});

Deno.test("reportError() shows a mistake that an actor found with the actor's name", () => {
  const mistake = new ActorCrash({
    actor: "reader",
    failure: describeFailure(new UserError("the file is empty")),
  });
  assertEquals(reportError(mistake), { text: "error: the file is empty (in reader)", code: 1 });
  const lost = new ActorCrash({
    actor: "reader",
    failure: describeFailure(new DeviceLostError("it was lost")),
  });
  assertEquals(reportError(lost), { text: "error: it was lost (in reader)", code: 1 });
  const bug = reportError(
    new ActorCrash({ actor: "reader", failure: describeFailure(new TypeError("x is null")) }),
  );
  assertEquals(bug.code, 1);
  assertMatch(bug.text, /please report it\nin reader: .*TypeError.*: x is null\n {4}at .*run_main_test\.ts/);
});

Deno.test("reportError() shows a bug with its stack and its causes", () => {
  const { text, code } = reportError(new TypeError("x is not a function", { cause: new Error("deeper") }));
  assertEquals(code, 1);
  assertMatch(
    text,
    /^error: this is a bug in the program, please report it\nTypeError: x is not a function\n {4}at /,
  );
  assertStringIncludes(text, "[cause]: Error: deeper");
  assertStringIncludes(reportError("just text").text, '"just text"');
});

/** What `using` throws where its block has thrown, and its end does too. */
function suppressed(first: unknown, onTop: unknown): unknown {
  try {
    using _end = {
      [Symbol.dispose]() {
        throw onTop;
      },
    };
    throw first;
  } catch (error) {
    return error;
  }
}

Deno.test("reportError() shows errors that were thrown at once one below the other", () => {
  const [full, gone] = [new UserError("the disk is full"), new UserError("the folder is gone")];
  const both = suppressed(full, gone);
  assertEquals(reportError(both), { text: "error: the disk is full\nerror: the folder is gone", code: 1 });
  assertEquals(endOf(both), {
    status: "failed",
    error: "the disk is full; and on top of it: the folder is gone",
  });
  const three = suppressed(new UsageError("unknown flag"), both);
  assertEquals(reportError(three), {
    text: "error: unknown flag\nerror: the disk is full\nerror: the folder is gone",
    code: 2,
  });
  assertEquals(
    reportError(suppressed(suppressed(new UsageError("unknown flag"), full), gone)),
    reportError(three),
  );
  const crash = new ActorCrash({ actor: "reader", failure: describeFailure(both) });
  assertEquals(reportError(crash), {
    text: "error: the disk is full; and on top of it: the folder is gone (in reader)",
    code: 1,
  });
  const { text, code } = reportError(suppressed(full, new TypeError("x is null")));
  assertEquals(code, 1);
  assertMatch(text, /^error: the disk is full\nerror: this is a bug .*\nTypeError: x is null\n {4}at /);
  const stopped = suppressed(new Interrupted(), gone);
  assertEquals(reportError(stopped), { text: "interrupted\nerror: the folder is gone", code: 130 });
  assertEquals(endOf(stopped), { status: "interrupted" });
});

/** A name that clears the screen, colours it, and puts a line of its own below. */
const HOSTILE = "a\x1b[2J\x9b31m\x07\nerror: b";
const WRITTEN_OUT = String.raw`a\u001b[2J\u009b31m\u0007\nerror: b`;

Deno.test("reportError() writes control characters out, and a message in one line", () => {
  const actor = "reader";
  const crash = (error: Error) => new ActorCrash({ actor, failure: describeFailure(error) });
  assertEquals(reportError(new UserError(HOSTILE)).text, `error: ${WRITTEN_OUT}`);
  assertEquals(reportError(crash(new UserError(HOSTILE))).text, `error: ${WRITTEN_OUT} (in ${actor})`);
  for (const bug of [new Error(HOSTILE), crash(new Error(HOSTILE))]) {
    const { text } = reportError(bug);
    assertStringIncludes(text, String.raw`a\u001b[2J\u009b31m\u0007`);
    assertMatch(text, /^[\n\x20-\x7e]+$/);
    assertMatch(text, /\n {4}at /, "a bug's stack stays readable");
  }
});

Deno.test("runMain() makes every way to the console write control characters out", async () => {
  const say = ["log", "info", "error", "warn"].map((name) =>
    `console.${name}("${name} \\x1b[2J\\x9b\\u061c\\ttab\\nline", 3);`
  );
  const { stdout, stderr } = await run(`await runMain(async () => { ${say.join("\n")} });`);
  const shown = (name: string) => `${name} \\u001b[2J\\u009b\\u061c\ttab\nline 3\n`;
  assertEquals([stdout, stderr], [shown("log") + shown("info"), shown("error") + shown("warn")]);
});

Deno.test({
  name: "runMain() says that the disk under stdout is full; what stderr's disk has no room for is lost",
  ignore: Deno.build.os !== "linux", // /dev/full is a disk that is always full
  async fn() {
    const program = writeProgram(`await runMain(async () => {
      console.error("begun");
      if (Deno.args[0] === "log") console.log("said");
      return 3;
    });`);
    const end = async (redirected: string, ...args: string[]) => {
      const { code, stdout, stderr } = await new Deno.Command("sh", {
        args: ["-c", `"$@" ${redirected}`, "sh", Deno.execPath(), ...FLAGS, program, ...args],
      }).output();
      return [code, ...[stdout, stderr].map((bytes) => new TextDecoder().decode(bytes))];
    };
    assertEquals(await end(">/dev/full", "log"), [1, "", "begun\nerror: stdout: the disk is full\n"]);
    assertEquals(await end("2>/dev/full", "log"), [3, "said\n", ""]);
    assertEquals(await end(">/dev/full 2>&1", "log"), [1, "", ""]);
    assertEquals(await end(">/dev/full"), [3, "", "begun\n"]);
  },
});

Deno.test("runMain() begins nothing with a Deno that is too old", async () => {
  const runOn = (version: string) =>
    run(
      `Object.defineProperty(Deno, "version", { value: { deno: ${JSON.stringify(version)} } });
       await runMain(async () => { console.log("begun"); });`,
    );
  for (const version of ["2.9.0", "2.10.1", "3.0.0"]) assertEquals((await runOn(version)).stdout, "begun\n");
  for (const version of ["1.46.3", "2.8.3"]) {
    const { code, stdout, stderr } = await runOn(version);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(
      stderr,
      `error: this is Deno ${version}: expected 2.9 or later. \`deno upgrade\` gets it`,
    );
  }
});

Deno.test("runMain() ends with the code that the command returns", async () => {
  assertEquals(await run(`await runMain(async () => { console.log("done"); return 3; });`), {
    code: 3,
    stdout: "done\n",
    stderr: "",
  });
  assertEquals((await run(`await runMain(async () => {});`)).code, 0);
});

Deno.test("runMain() shows no stack of a person's mistake", async () => {
  const { code, stdout, stderr } = await run(
    `await runMain(async () => { throw new UserError("no such file"); });`,
  );
  assertEquals({ code, stdout, stderr }, { code: 1, stdout: "", stderr: "error: no such file\n" });
});

Deno.test("runMain() reports an error that nobody awaited", async () => {
  const rejected = await run(
    `await runMain(() => { Promise.reject(new UserError("later")); return new Promise(() => {}); });`,
  );
  assertEquals([rejected.code, rejected.stderr], [1, "error: later\n"]);
  const thrown = await run(
    `await runMain(() => { setTimeout(() => { throw new Error("a bug"); }); return new Promise(() => {}); });`,
  );
  assertEquals(thrown.code, 1);
  assertMatch(thrown.stderr, /please report it\nError: a bug\n {4}at /);
});

Deno.test("runMain() leaves in spite of Workers and timers that are alive", async () => {
  const { code } = await run(`
    setInterval(() => {}, 1000);
    const busy = "data:text/javascript,postMessage(1); for (;;) {}";
    await runMain(() => new Promise((_, reject) => {
      new Worker(busy, { type: "module" }).onmessage = () => reject(new UserError("stop"));
    }));
  `);
  assertEquals(code, 1); // or else it would never end
});

/** A program that stops in good order only if it is given the time. */
const INTERRUPTIBLE = (seconds: number) => `
  await runMain(async () => {
    using interrupt = interruptSignal();
    console.log("ready");
    await new Promise((resolve) => {
      const alive = setInterval(() => {}, 1000);
      interrupt.signal.addEventListener("abort", () => setTimeout(() => resolve(clearInterval(alive)), ${seconds} * 1000));
    });
    console.log("saved");
    interrupt.signal.throwIfAborted();
  });
`;

/** Sends signals, so many ms apart, once the program is ready. */
async function interrupt(
  program: string,
  signals: [Deno.Signal, number][],
  env?: Record<string, string>,
) {
  const child = start(program, env);
  const errors = new Response(child.stderr).text();
  let stdout = "";
  let sent: Promise<void> | undefined;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += text;
    if (stdout.includes("ready")) sent ??= send(child, signals);
  }
  await sent;
  const { code } = await child.status;
  return { code, stdout, stderr: await errors };
}

async function send(child: Deno.ChildProcess, signals: [Deno.Signal, number][]): Promise<void> {
  for (const [signal, after] of signals) {
    await new Promise((resolve) => setTimeout(resolve, after));
    child.kill(signal);
  }
}

const POSIX = Deno.build.os !== "windows";

Deno.test({
  name: "interruptSignal() lets a run stop in good order on the first signal",
  ignore: !POSIX,
  async fn() {
    const codes = { SIGINT: 130, SIGTERM: 130, SIGHUP: 129, SIGQUIT: 131 } as const;
    await Promise.all((Object.keys(codes) as (keyof typeof codes)[]).map(async (signal) => {
      const { code, stdout, stderr } = await interrupt(INTERRUPTIBLE(0.1), [[signal, 0]]);
      assertEquals([code, stdout], [codes[signal], "ready\nsaved\n"], signal);
      assertEquals(stderr, "stopping; press Ctrl-C again to quit immediately\ninterrupted\n");
    }));
  },
});

Deno.test({
  name: "interruptSignal() takes the signal that another rank has told of and its own for one",
  ignore: !POSIX,
  async fn() {
    const { code, stdout, stderr } = await run(`
      import { StoppedByRank } from "${new URL("../actors/ranks/ranks.ts", CLI)}";
      const elsewhere = new AbortController();
      await runMain(async () => {
        using interrupt = interruptSignal(undefined, elsewhere.signal);
        await new Promise((resolve) => setTimeout(resolve, 400)); // longer than two signals of one key press may lie apart
        elsewhere.abort(new StoppedByRank(1, 140));
        Deno.kill(Deno.pid, "SIGUSR2");
        await new Promise((resolve) => setTimeout(resolve, 100));
        console.log("saved");
        interrupt.signal.throwIfAborted();
      });
    `);
    assertEquals([code, stdout, stderr], [
      140,
      "saved\n",
      "stopping: rank 1 of the run was stopped\ninterrupted\n",
    ]);
  },
});

Deno.test({
  name: "interruptSignal() takes no second SIGHUP for a wish to end at once",
  ignore: !POSIX,
  async fn() {
    const [hangups, hurried] = await Promise.all([
      interrupt(INTERRUPTIBLE(1), [["SIGTERM", 0], ["SIGHUP", 400]]),
      interrupt(INTERRUPTIBLE(60), [["SIGHUP", 0], ["SIGTERM", 600]]),
    ]);
    assertEquals([hangups.code, hangups.stdout], [130, "ready\nsaved\n"]);
    assertEquals([hurried.code, hurried.stdout], [130, "ready\n"]);
  },
});

Deno.test({
  name:
    "interruptSignal() goes on after a SIGHUP where nohup started the program, and heeds the other signals",
  ignore: !POSIX,
  async fn() {
    const program = INTERRUPTIBLE(0.1);
    const { code, stdout } = await interrupt(program, [["SIGHUP", 0], ["SIGTERM", 400]], { SEED_NOHUP: "1" });
    assertEquals([code, stdout], [130, "ready\nsaved\n"]);
  },
});

/** Starts a program on a terminal of its own, closes that once the program is ready, and prints the exit code. */
const CLOSE_TERMINAL = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"ready" not in seen:
    seen += os.read(terminal, 1000)
os.close(terminal)
print('{"code": %d}' % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

testWithPython(
  "a run whose terminal is closed draws on nothing, saves, and ends with 129",
  { pty: "python3" },
  async (python) => {
    const saved = join(FOLDER, "saved");
    const file = writeProgram(`
      import { openTerminal, Progress } from "${new URL("terminal/progress.ts", CLI)}";
      await runMain(async () => {
        using interrupt = interruptSignal();
        const progress = new Progress({ epochs: 1, stepsPerEpoch: 9, batchSize: 1, printFreq: 1 });
        const terminal = openTerminal();
        console.log("ready");
        while (!interrupt.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 10));
        for (let step = 1; step < 4; step++) {
          progress.step({ epoch: 0, step, loss: 1, lr: 1 });
          progress.note("a note");
          terminal.write("a line");
          console.log("a line");
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        await progress.stop();
        Deno.writeTextFileSync(${JSON.stringify(saved)}, "all of it");
        interrupt.signal.throwIfAborted();
      });
    `);
    assertEquals(await python(CLOSE_TERMINAL, Deno.execPath(), ...FLAGS, file), { code: 129 });
    assertEquals(Deno.readTextFileSync(saved), "all of it");
  },
);

/** Starts a program on a terminal of its own, presses Ctrl-C once it is ready, and prints what was seen. */
const PRESS_CTRL_C = `
import json, os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while True:
    try:
        some = os.read(terminal, 1000)
    except OSError:
        break
    if b"a bar" in some:
        os.write(terminal, b"\\x03")
    seen += some
os.waitpid(pid, 0)
print(json.dumps(seen.decode()))
`;

testWithPython(
  "Ctrl-C on a terminal is answered on a line of its own",
  { pty: "python3" },
  async (python) => {
    const file = writeProgram(`
    import { openTerminal } from "${new URL("terminal/progress.ts", CLI)}";
    await runMain(async () => {
      using interrupt = interruptSignal();
      openTerminal().write("a bar");
      while (!interrupt.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 10));
      interrupt.signal.throwIfAborted();
    });
  `);
    assertStringIncludes(
      String(await python(PRESS_CTRL_C, Deno.execPath(), ...FLAGS, file)),
      "a bar^C\r\x1b[Kstopping; press Ctrl-C again to quit immediately\r\ninterrupted\r\n",
    );
  },
);

Deno.test({
  name: "interruptSignal() takes the same Ctrl-C twice for one, and ends at once on a second one",
  ignore: !POSIX,
  async fn() {
    const [once, twice] = await Promise.all([
      interrupt(INTERRUPTIBLE(0.5), [["SIGINT", 0], ["SIGINT", 5]]),
      interrupt(INTERRUPTIBLE(60), [["SIGINT", 0], ["SIGINT", 600]]),
    ]);
    assertEquals([once.code, once.stdout], [130, "ready\nsaved\n"]);
    assertEquals([twice.code, twice.stdout], [130, "ready\n"]);
    assert(twice.stderr.startsWith("stopping"), twice.stderr);
  },
});
