/** `deno task models`: which encoders there are, with their size, their work and what they are good for. */
import { type EncoderRole, ENCODERS, summarize, usualHead } from "../models/registry.ts";
import { EXPORT_FORMATS } from "../models/export/export_encoder.ts";
import { UsageError } from "./flags.ts";
import { runMain } from "./run_main.ts";
import { formatTable } from "./table.ts";

const HELP = `Usage: deno task models [--json | --markdown]     (or ./seed models)

Lists every encoder that flags can name: trained parameters with its usual head (128-d embeddings),
multiply-accumulates of convolutions and linear layers for one picture of 224 x 224, whether it is meant as a
teacher, as a student or as both, whose key names its checkpoints have, and what it can be exported as.

  --json       one array of objects
  --markdown   the table as the README shows it
  -h, --help   this text`;

/** One encoder, as the list shows it. */
export interface EncoderRow {
  name: string;
  family: string;
  parameters: number;
  multiplyAccumulates: number;
  roles: readonly EncoderRole[];
  /** Whose key names its checkpoints have. */
  ssl: string;
  exports: readonly string[];
}

/** Counts every encoder of the registry. Nothing is run. */
export function listEncoders(): EncoderRow[] {
  return ENCODERS.map((encoder) => {
    const { parameters, multiplyAccumulates } = summarize(encoder, usualHead(encoder));
    const { name, family, roles, ssl } = encoder;
    return { name, family, parameters, multiplyAccumulates, roles, ssl, exports: EXPORT_FORMATS };
  });
}

const HEADING = [
  "encoder",
  "parameters",
  "multiply-accumulates at 224",
  "teacher",
  "student",
  "key names",
  "exports",
];

function cellsOf({ name, parameters, multiplyAccumulates, roles, ssl, exports }: EncoderRow): string[] {
  const has = (role: EncoderRole) => roles.includes(role) ? "yes" : "no";
  return [
    name,
    `${(parameters / 1e6).toFixed(1)} M`,
    `${(multiplyAccumulates / 1e9).toFixed(2)} G`,
    has("teacher"),
    has("student"),
    ssl,
    exports.join(", "),
  ];
}

/** The table in Markdown, as it stands in the README. */
export function markdownTable(rows: readonly EncoderRow[]): string {
  const lines = [HEADING, HEADING.map(() => "---"), ...rows.map(cellsOf)];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** What the command prints. */
export function modelsOutput(args: readonly string[]): string {
  const [form, ...more] = args;
  if (args.includes("--help") || args.includes("-h")) return HELP;
  if (more.length === 0) {
    if (form === undefined) return formatTable([HEADING, ...listEncoders().map(cellsOf)]);
    if (form === "--json") return JSON.stringify(listEncoders(), null, 2);
    if (form === "--markdown") return markdownTable(listEncoders());
  }
  throw new UsageError(`expected --json, --markdown or nothing, found ${args.join(" ")}; see --help`);
}

if (import.meta.main) await runMain(() => Promise.resolve(console.log(modelsOutput(Deno.args))));
