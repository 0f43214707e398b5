/** `deno task models`: which encoders there are, with their size, their work and what they are good for. */
import { encoderTable, listEncoders, markdownTable } from "../terminal/encoder_table.ts";
import { helpExtent, UsageError } from "../flags/flags.ts";
import { runMain } from "../terminal/run_main.ts";

const HELP = `Usage: deno task models [--json | --markdown]     (or ./seed models)

Lists every encoder that flags can name: trained parameters with its usual head (128-d embeddings),
multiply-accumulates of convolutions and linear layers for one image of 224 x 224, whether it is meant as a
teacher, as a student or as both, and whose key names its checkpoints have. Every one is read from PyTorch's zip
and legacy containers and from safetensors, and exported as pth, safetensors and ONNX.

  --json       one array of objects
  --markdown   the table as docs/encoders.md has it
  -h, --help   this text`;

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
