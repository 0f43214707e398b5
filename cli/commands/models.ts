/** `deno task models`: which encoders there are, with their size, their work and what they are good for. */
import { encoderTable, listEncoders, markdownTable } from "../terminal/encoder_table.ts";
import { helpExtent, UsageError } from "../flags/flags.ts";
import { runMain } from "../terminal/run_main.ts";

const HELP = `Usage: deno task models [--json | --markdown]     (or ./seed models)

Lists the encoders that flags can name. For each, it shows the trainable parameters with its usual head (128-d
embeddings), the multiply-accumulates of convolutions and linear layers for one 224 x 224 image, whether it serves
as teacher or student, and whose key names its checkpoints use. All encoders can be read from PyTorch (zip and
legacy) and safetensors files, and exported as pth, safetensors and ONNX.

  --json       print a JSON array of objects
  --markdown   print the table of docs/encoders.md
  -h, --help   show this text`;

/** What the command prints. */
export function modelsOutput(args: readonly string[]): string {
  const [form, ...more] = args;
  if (helpExtent(args) !== undefined) return HELP;
  if (more.length === 0) {
    if (form === undefined) return encoderTable();
    if (form === "--json") return JSON.stringify(listEncoders(), null, 2);
    if (form === "--markdown") return markdownTable(listEncoders());
  }
  throw new UsageError(`expected --json, --markdown or nothing, found ${args.join(" ")}; see --help`);
}

if (import.meta.main) await runMain(() => Promise.resolve(console.log(modelsOutput(Deno.args))));
