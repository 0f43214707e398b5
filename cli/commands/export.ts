/** `deno task export`: flags in, a file and its description out. The export itself is `models/export/`. */
import { exportEncoder, type ExportOptions, type ExportResult } from "../../models/export/export_encoder.ts";
import { describeInput } from "../../models/encoder_input.ts";
import { pythonLines } from "../../models/export/python_lines.ts";
import { encoderNames, findEncoder } from "../../models/registry.ts";
import { parseExportFlags } from "../flags/export_flags.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { CLEAR_LINE, openTerminal } from "../terminal/progress.ts";
import { shownName } from "./inspect.ts";
import { runMain } from "../terminal/run_main.ts";

/** Whose names the tensors have, where the lines of Python make no model. */
function describeNames(encoder: string): string[] {
  const { original, torchvision } = findEncoder(encoder);
  return original === undefined || torchvision !== undefined ? [] : [`names of   ${original}`];
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** What is shown of a file that was written. */
function describeResult(options: ExportOptions, result: ExportResult): string[] {
  const { files, encoder, framework, dimension, tensors, parameters, bytes, names, leftOut, input } = result;
  const head = dimension === undefined ? "without its head" : `${dimension}-d embeddings`;
  const format = options.format + (names === undefined ? "" : `, ${names} names`);
  return [
    ...files.map((file) => `file       ${file}`),
    `format     ${format}`,
    `encoder    ${encoder}, ${head} (from a ${framework} checkpoint)`,
    `input      ${describeInput(input)}`,
    `weights    ${count(parameters)} parameters in ${count(tensors)} tensors, ${count(bytes)} bytes`,
    ...leftOut.length === 0 ? [] : [`left out   ${leftOut.map(shownName).join(", ")}`],
    ...pythonLines({ ...options, ...result }).map((line, i) =>
      `${i === 0 ? "in Python" : "         "}  ${line}`
    ),
    ...names === "plain" ? describeNames(encoder) : [],
  ];
}

/** Does what the command line says; returns the exit code, nothing for 0. */
export async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseExportFlags(Deno.args, { encoders: encoderNames() });
  if (command.help !== undefined) {
    console.log(command.help);
    return;
  }
  using interrupt = interruptSignal();
  const terminal = command.quiet ? null : openTerminal();
  let result: ExportResult;
  try {
    result = await exportEncoder(
      command.options,
      async (done, total) => {
        await new Promise((resolve) => setTimeout(resolve)); // or no signal would be heard until all is written
        interrupt.signal.throwIfAborted(); // the half-written file is removed
        terminal?.write(`${CLEAR_LINE}writing: ${done} of ${total} tensors`);
      },
    );
  } finally {
    terminal?.write(CLEAR_LINE);
  }
  if (result.inputNote !== undefined) console.error(`note: ${result.inputNote}`);
  for (const line of describeResult(command.options, result)) console.log(line);
}

if (import.meta.main) await runMain(main);
