/** Starts a command as people start it. */

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

/** Runs a program of `cli/` to its end with its task's permissions, without a terminal and without colours. */
export async function runProgram(program: string, ...args: string[]): Promise<ProgramResult> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(program), program, ...args],
    stdin: "null",
    env: { NO_COLOR: "1", ...ONE_THREAD },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
