/**
 * Runs commands one after the other in one process: a line of JSON on stdin for each, and on stdout and stderr what it says,
 * with a line of {@linkcode END} and its exit code behind it.
 */
import { TextLineStream } from "@std/streams/text-line-stream";
import { pathToFileURL } from "node:url";
import { setOneThread } from "../../actors/one_thread.ts";
import { guardConsole, reportError } from "../../cli/terminal/run_main.ts";
import { END } from "./run_program.ts";

setOneThread(true);
const printError = guardConsole();
for await (
  const line of Deno.stdin.readable.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
) {
  const { program, args, env } = JSON.parse(line);
  const before = Object.keys(env).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries<string>(env)) Deno.env.set(name, value);
  Object.defineProperty(Deno, "args", { value: args, configurable: true });
  const { main } = await import(pathToFileURL(program).href);
  let code: number;
  try {
    code = await main() ?? 0;
  } catch (error) {
    const report = reportError(error);
    printError(report.text);
    code = report.code;
  }
  for (const [name, value] of before) {
    if (value === undefined) Deno.env.delete(name);
    else Deno.env.set(name, value);
  }
  const end = new TextEncoder().encode(`${END}${code}\n`);
  for (const stream of [Deno.stderr, Deno.stdout]) stream.writeSync(end);
}
