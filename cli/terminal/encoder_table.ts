/** The table of encoders that `deno task models`, `deno task distill --help` and the README show. */
import { CONTAINERS } from "../../models/checkpoint/checkpoint_file.ts";
import { EXPORT_FORMATS } from "../../models/export/export_encoder.ts";
import type { EncoderRole, Stem } from "../../models/encoder.ts";
import { PAPER_IMAGE_SIZE } from "../../models/encoder_input.ts";
import { listedEncoders, stemsOf, summarize, usualHead } from "../../models/registry.ts";
import { formatTable } from "./table.ts";

/** One encoder, as the list shows it. */
export interface EncoderRow {
  name: string;
  family: string;
  /** Trained numbers, with the usual head. */
  parameters: number;
  /** For one image of 224 x 224. */
  multiplyAccumulates: number;
  roles: readonly EncoderRole[];
  /** What `--stem` may be. */
  stems: readonly Stem[];
  /** Whose key names its checkpoints have. */
  ssl: string;
  /** Containers that its checkpoints are read from. */
  reads: readonly string[];
  /** Formats that it is exported to. */
  exports: readonly string[];
}

/** Counts every encoder of the registry. Nothing is run. */
export function listEncoders(): EncoderRow[] {
  return listedEncoders().map((encoder) => {
    const { parameters, multiplyAccumulates } = summarize(encoder, usualHead(encoder), PAPER_IMAGE_SIZE);
    const { name, family, roles, ssl } = encoder;
    return {
      name,
      family,
      parameters,
      multiplyAccumulates,
      roles,
      stems: [...stemsOf(encoder).keys()],
      ssl,
      reads: CONTAINERS,
      exports: EXPORT_FORMATS,
    };
  });
}

const HEADING = [
  "encoder",
  "parameters",
  "multiply-accumulates at 224",
  "teacher",
  "student",
  "stems",
  "key names",
];
const FORMATS = ["reads", "exports"];

function cellsOf({ name, parameters, multiplyAccumulates, roles, stems, ssl }: EncoderRow): string[] {
  const has = (role: EncoderRole) => roles.includes(role) ? "yes" : "no";
  return [
    name,
    `${(parameters / 1e6).toFixed(1)} M`,
    `${(multiplyAccumulates / 1e9).toFixed(2)} G`,
    has("teacher"),
    has("student"),
    stems.join(", "),
    ssl,
  ];
}

/** The table for a terminal; what all encoders have in common is left out. */
export function encoderTable(rows: readonly EncoderRow[] = listEncoders()): string {
  return formatTable([HEADING, ...rows.map(cellsOf)]);
}

/** The table in Markdown, as it stands in the README. */
export function markdownTable(rows: readonly EncoderRow[]): string {
  const lines = [
    [...HEADING, ...FORMATS],
    [...HEADING, ...FORMATS].map(() => "---"),
    ...rows.map((row) => [...cellsOf(row), row.reads.join(", "), row.exports.join(", ")]),
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
