/**
 * What benches found: kept as JSON, one file for each section and adapter, and written out as `RESULTS.md` with a chart for
 * each section. A run of one section leaves the others as they are.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { drawChart, othersOf } from "./chart.ts";
import { geometricMean, ratioOf, times } from "./measure.ts";
import { PAPER_SIZES } from "./paper_sizes.ts";
import type { Machine } from "./machine.ts";
import type { Section } from "./section.ts";
import { markdownTable } from "./table.ts";

/** A section with where and how it was found. */
interface Recorded extends Section {
  machine: Machine;
  command: string;
  date: string;
}

const FOLDER = fileURLToPath(new URL("./", import.meta.url));
const RESULTS = join(FOLDER, "results");
/** What is written of them. */
export const DOCUMENT = join(FOLDER, "RESULTS.md");

/** Headings and order of the sections in the document. */
export const SECTION_ORDER = [
  "product",
  "training",
  "forward",
  "step",
  "distillation",
  "amp",
  "inference",
  "loss",
  "attention",
  "vit",
  "vit-memory",
  "augmentation",
  "cache",
  "pipeline",
  "host",
  "memory",
  "growth",
  "scale",
  "tiles",
];

/** Sections of commands of their own, behind those. */
const DOCUMENT_ORDER = [
  ...SECTION_ORDER,
  ...new Set(Object.values(PAPER_SIZES).map(({ section }) => section.name)),
];

/** Keeps what a section found, and writes the document and its charts anew. */
export async function record(section: Section, machine: Machine, command: string): Promise<void> {
  const folder = join(RESULTS, machine.slug);
  await Deno.mkdir(folder, { recursive: true });
  const date = new Date().toISOString().slice(0, 10);
  const recorded: Recorded = { ...section, machine, command, date };
  await Deno.writeTextFile(join(folder, `${section.name}.json`), JSON.stringify(recorded, null, 2) + "\n");
  await writeDocument();
}

/** Everything that is kept. */
async function readRecorded(): Promise<Recorded[]> {
  const recorded: Recorded[] = [];
  for (const slug of [...Deno.readDirSync(RESULTS)].filter(({ isDirectory }) => isDirectory)) {
    for (const { name } of Deno.readDirSync(join(RESULTS, slug.name))) {
      if (!name.endsWith(".json")) continue;
      recorded.push(JSON.parse(await Deno.readTextFile(join(RESULTS, slug.name, name))));
    }
  }
  return recorded;
}

/** Writes the document and its charts, of everything that is kept. */
export async function writeDocument(): Promise<void> {
  for (const section of await readRecorded()) {
    const chart = drawChart(section);
    if (chart === undefined) continue;
    await Deno.writeTextFile(join(RESULTS, section.machine.slug, `${section.name}.svg`), chart.svg);
  }
  await Deno.writeTextFile(DOCUMENT, await composeDocument());
}

/** The document's text: what is kept, and the notes behind it. */
export async function composeDocument(): Promise<string> {
  const recorded = await readRecorded();
  const parts = [
    "# Benchmark results",
    "Written by `deno task bench` and `deno task bench:paper`; what each section says was found in one run on one machine. " +
    "Machines are shared and differ, so that only ratios mean much; above 1x this project is faster. Times are medians of " +
    "several rounds; what takes more than 2 s is timed once, and the pipeline is run once. tfjs, jax-js and onnxruntime-web " +
    "are timed in turn with this project, and their results are checked to agree first. PyTorch and its DataLoader run by " +
    "themselves, before ours or behind; of their results only the embeddings of vision transformers are checked. The loss is " +
    "timed in turn with a part of its own work, whose results are others. GFLOP/s count taps that fall into the padding as work, as the literature does.",
  ];
  for (const [slug, own] of [...Map.groupBy(recorded, ({ machine }) => machine.slug)].sort()) {
    const [{ machine }] = own;
    parts.push(`## ${machine.adapter}`, `${machine.processor}, ${machine.cores} cores.`);
    const ordered = own.toSorted((a, b) => DOCUMENT_ORDER.indexOf(a.name) - DOCUMENT_ORDER.indexOf(b.name));
    for (const section of ordered) parts.push(...describe(section, slug));
  }
  parts.push((await Deno.readTextFile(join(FOLDER, "NOTES.md"))).trim());
  return await format(parts.join("\n\n") + "\n");
}

/** Formats Markdown as the tree's. */
async function format(text: string): Promise<string> {
  const formatter = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "--ext", "md", "-"],
    cwd: FOLDER,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const [{ success, stdout }] = await Promise.all([
    formatter.output(),
    new Response(text).body!.pipeTo(formatter.stdin),
  ]);
  if (!success) throw new Error("deno fmt failed");
  return new TextDecoder().decode(stdout);
}

function describe(section: Recorded, slug: string): string[] {
  const { title, about, command, date, machine, name } = section;
  const versions = Object.entries(machine.versions).map(([library, version]) => `${library} ${version}`).join(
    ", ",
  );
  const chart = drawChart(section);
  return [
    `### ${title}`,
    about,
    `    ${command}`,
    `${date}; ${versions}.`,
    markdownTable(tableOf(section)),
    ...chart === undefined ? [] : [`![${chart.title}](results/${slug}/${name}.svg)`],
  ];
}

/** The section as rows of cells, the first one the head. */
export function tableOf({ rows, targets = {} }: Section): string[][] {
  const others = othersOf(rows);
  const facts = [...new Set(rows.flatMap(({ facts = {} }) => Object.keys(facts)))];
  const hasTimes = rows.some(({ timings }) => timings !== undefined);
  const head = [
    "work",
    ...hasTimes ? ["ours ms"] : [],
    ...others.map((name) => `${name} ms`),
    ...facts,
    ...others.map((name) => `ours / ${name}`),
  ];
  const cells = rows.map(({ name, timings, facts: own = {} }) => [
    name,
    ...hasTimes ? [timings?.ours === undefined ? "" : milliseconds(timings.ours.median)] : [],
    ...others.map((other) => timings?.[other] === undefined ? "" : milliseconds(timings[other].median)),
    ...facts.map((fact) => own[fact] ?? ""),
    ...others.map((other) => {
      if (timings?.ours === undefined || timings[other] === undefined) return "";
      const { median, least, most } = ratioOf(timings.ours, timings[other]);
      return `${times(median)} (${short(least)} to ${short(most)})`;
    }),
  ]);
  const means = others.map((other) => {
    const ratios = rows.flatMap(({ timings, differs }) =>
      differs || timings?.ours === undefined || timings[other] === undefined
        ? []
        : [ratioOf(timings.ours, timings[other]).median]
    );
    const target = targets[other] === undefined ? "" : `, target ${targets[other]}x`;
    return ratios.length === 0 ? "" : times(geometricMean(ratios)) + target;
  });
  if (rows.length < 2 && Object.keys(targets).length === 0 || means.every((mean) => mean === "")) {
    return [head, ...cells];
  }
  const blank = head.slice(1, head.length - others.length).map(() => "");
  return [head, ...cells, ["geometric mean", ...blank, ...means]];
}

/** Two digits, or all before the point. */
function short(value: number): string {
  return value >= 99.5 ? value.toFixed(0) : value.toPrecision(2);
}

function milliseconds(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value.toPrecision(3);
}
