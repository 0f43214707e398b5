/** `deno task export`: flags in, a file and its description out. The export itself is `models/export/`. */
import { exportEncoder, type ExportOptions, type ExportResult } from "../models/export/export_encoder.ts";
import { ENCODERS, findEncoder } from "../models/registry.ts";
import { parseExportFlags } from "./export_flags.ts";
import { interruptSignal } from "./interrupt.ts";
import { loadPlugin } from "./plugin.ts";
import { CLEAR_LINE, openTerminal } from "./progress.ts";
import { runMain } from "./run_main.ts";

/** One line of Python that opens the file. */
function describeLoading({ format, part, normalize }: ExportOptions, { files, names }: ExportResult): string {
  const file = JSON.stringify(files[0]); // a Python string too
  if (format === "onnx") {
    const output = part === "backbone" ? "feature" : normalize ? "normalized" : "embedding";
    return `onnxruntime.InferenceSession(${file}).run(["${output}"], {"images": images})`;
  }
  if (format === "safetensors") return `safetensors.torch.load_file(${file})`;
  return names === "plain"
    ? `model.load_state_dict(torch.load(${file}))`
    : `torch.load(${file})["state_dict"]`;
}

/** Which model in PyTorch takes the tensors. */
function describeModel(encoder: string, part: ExportOptions["part"]): string[] {
  const { original } = findEncoder(encoder);
  if (original === undefined) return [];
  return [`model      ${original}${part === "backbone" ? ", with torch.nn.Identity() as its fc" : ""}`];
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** What is shown of a file that was written. */
function describeResult(options: ExportOptions, result: ExportResult): string[] {
  const { files, encoder, framework, dimension, tensors, parameters, bytes, names } = result;
  const head = dimension === undefined ? "without its head" : `embeddings of ${dimension}`;
  const format = options.format +
    (names === undefined ? `, pictures of ${options.imageSize} x ${options.imageSize}` : `, ${names} names`);
  return [
    ...files.map((file) => `file       ${file}`),
    `format     ${format}`,
    `encoder    ${encoder}, ${head} (from a ${framework} checkpoint)`,
    `weights    ${count(parameters)} parameters in ${count(tensors)} tensors, ${count(bytes)} bytes`,
    `in Python  ${describeLoading(options, result)}`,
    ...names === "plain" ? describeModel(encoder, options.part) : [],
  ];
}

async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseExportFlags(Deno.args, { encoders: ENCODERS.map(({ name }) => name) });
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
      (done, total) => {
        interrupt.signal.throwIfAborted(); // the half-written file is removed
        terminal?.write(`${CLEAR_LINE}writing: ${done} of ${total} tensors`);
      },
    );
  } finally {
    terminal?.write(CLEAR_LINE);
  }
  for (const line of describeResult(command.options, result)) console.log(line);
}

if (import.meta.main) await runMain(main);
