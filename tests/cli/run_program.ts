/** Starts a command as people start it. */

import { fileURLToPath } from "node:url";
import { ONE_THREAD } from "../one_thread.ts";

/** How it ended, and what it said. */
export interface ProgramResult {
  code: number;
  stdout: string;
  stderr: string;
}

const CONFIG = JSON.parse(Deno.readTextFileSync(new URL("../../deno.json", import.meta.url)));

/** What stands between `deno` and a task's program in `deno.json`: its permissions, of which it must need no more. */
export function taskFlags(program: string): string[] {
  const name = /(\w+)\.ts$/.exec(program)![1];
  const command: string = CONFIG.tasks[name].command;
  return command.split(" ").slice(1, -1);
}

/** Variables of the environment, beside those that are there. */
type Environment = Readonly<Record<string, string>>;

/** Runs a program to its end. */
export type RunProgram = (program: string, ...args: string[]) => Promise<ProgramResult>;

const runIn = (env: Environment): RunProgram => async (program, ...args) => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(program), program, ...args],
    stdin: "null",
    env: { NO_COLOR: "1", ...ONE_THREAD, ...env },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
};

/** Runs a program of `cli/` to its end with its task's permissions, without a terminal and without colours. */
export const runProgram: RunProgram = runIn({});

/** What stands behind all that a command said, before its exit code; see `host_main.ts`. */
export const END = "\x1e";

/** A process that runs one command after the other. */
class Host {
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #stdout: ReadableStreamDefaultReader<string>;
  readonly #stderr: ReadableStreamDefaultReader<string>;

  constructor() {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        "-A",
        fileURLToPath(new URL("./host_main.ts", import.meta.url)),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1", ...ONE_THREAD },
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#stdout = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#stderr = this.#child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  }

  async run(program: string, args: string[], env: Environment): Promise<ProgramResult> {
    await this.#stdin.write(new TextEncoder().encode(JSON.stringify({ program, args, env }) + "\n"));
    const [stdout, stderr] = await Promise.all([
      this.#readToEnd(this.#stdout),
      this.#readToEnd(this.#stderr),
    ]);
    return { code: stdout.code, stdout: stdout.text, stderr: stderr.text };
  }

  async #readToEnd(reader: ReadableStreamDefaultReader<string>): Promise<{ text: string; code: number }> {
    let said = "";
    while (!said.endsWith("\n") || !said.includes(END)) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`the process of the commands ended by itself; it said: ${said}`);
      said += value;
    }
    const [text, code] = said.split(END);
    return { text, code: Number(code) };
  }

  async end(): Promise<void> {
    await this.#stdin.close();
    await this.#child.status;
    for (const reader of [this.#stdout, this.#stderr]) await reader.cancel();
  }
}

let host: Host | undefined;

/**
 * Makes what runs commands as {@linkcode runProgram} does, but all of a file in one process and on one thread, so that modules are
 * loaded and kernels compiled once: a run then takes a sixth of the time. Their permissions are not looked at. To be called
 * outside of tests, and after that within them too. With `SEED_ONE_THREAD=0` each command has a process of its own.
 *
 * @param env variables of these commands alone
 */
export function hostPrograms(env: Environment = {}): RunProgram {
  if (ONE_THREAD.SEED_ONE_THREAD === "0") return runIn(env);
  if (host === undefined) Deno.test.afterAll(() => host?.end());
  const running = host ??= new Host();
  return (program, ...args) => running.run(program, args, env);
}
