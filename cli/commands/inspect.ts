/** `deno task inspect`: what a checkpoint file is, for people and for programs. */
import { printableLine } from "../../data/printable.ts";
import { elementCount } from "../../kernels/graph.ts";
import { quote } from "../../models/checkpoint/checkpoint_error.ts";
import type { Container } from "../../models/checkpoint/checkpoint_file.ts";
import { DTYPES } from "../../models/checkpoint/dtype.ts";
import { describeInput } from "../../models/encoder_input.ts";
import {
  inspectCheckpoint,
  type InspectedEncoder,
  type InspectedTensor,
  type Inspection,
} from "../../models/inspect.ts";
import { parseInspectFlags } from "../flags/inspect_flags.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { CLEAR_LINE, openTerminal } from "../terminal/progress.ts";
import { runMain } from "../terminal/run_main.ts";
import { formatTable } from "../terminal/table.ts";

const CONTAINERS: Readonly<Record<Container, string>> = {
  zip: "zip (torch.save, PyTorch 1.6 and later)",
  legacy: "legacy (torch.save before PyTorch 1.6)",
  safetensors: "safetensors",
};

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Longest name that is shown, in characters. */
const LONGEST = 200;

/** Text of a file on one line, which can neither fool a terminal nor flood it. */
export function shownName(text: string): string {
  return printableLine(text, LONGEST);
}

function describeEncoder(
  { name, recognized, nearest, otherModel, part, head, otherHeads, embedding, ...found }: InspectedEncoder,
): string {
  const [encoder, ...others] = recognized;
  const who = name === "" ? "" : `${name}: `;
  const size = found.parameters === undefined ? "" : `${count(found.parameters)} parameters in `;
  const tensors = `${size}${count(found.tensors)} tensors`;
  if (otherModel !== undefined) return `${who}not recognised: it ${otherModel}; ${tensors}`;
  if (encoder === undefined) {
    const near = nearest === undefined
      ? "no similar encoder is known"
      : `nearest is ${nearest.encoder}: ${shownName(nearest.problems)}`;
    return `${who}not recognised (${near}); ${tensors}`;
  }
  const or = others.length === 0 ? "" : ` (or ${others.join(", ")})`;
  const without = otherHeads.length === 0
    ? embedding === undefined ? "without a head" : `embeddings of ${embedding} numbers, without a head`
    : `without a known head, but with ${otherHeads.join(", ")}`;
  const shape = head === undefined
    ? "without a head"
    : `head ${head.root}: ${head.kind}, ${
      head.hidden === undefined ? "" : `${head.hidden} -> `
    }${head.dimension}`;
  return `${who}${encoder}${or}, ${part === "backbone" ? without : shape}; ${tensors}`;
}

function describeOrigin(
  { framework, names: programs, prefix = "", arch, epoch, input, teacherInput, inputIsOfRun, noEncoder }:
    Inspection,
): string[] {
  if (framework === undefined) return [`encoder    none: ${noEncoder}`];
  const of = inputIsOfRun ? ", as its run took them" : "";
  const names = prefix === "" ? "bare names" : `${prefix}*`;
  return [
    `names      ${programs?.join(", ") ?? framework} (${names})`,
    ...arch === undefined ? [] : [`arch       ${quote(arch)}, as saved in the file`],
    ...epoch === undefined ? [] : [`epoch      ${epoch}`],
    `input      ${input === undefined ? "not saved in the file" : shownName(describeInput(input)) + of}`,
    ...teacherInput === undefined ? [] : [`teacher's  ${shownName(describeInput(teacherInput))}${of}`],
  ];
}

function tensorRow({ name, dtype, shape, statistics }: InspectedTensor): string[] {
  const cells = [shownName(name), dtype, `[${shape.join(", ")}]`];
  if (statistics === undefined) return cells;
  const { mean, deviation, min, max, notFinite } = statistics;
  return [...cells, ...[mean, deviation, min, max].map((value) => value.toPrecision(4)), count(notFinite)];
}

/** What is shown of a checkpoint. */
export function describeInspection(
  inspection: Inspection,
  { tensors: listsTensors = true }: { tensors?: boolean } = {},
): string[] {
  const { path, bytes, container, encoders, note, beside = [], tensors, values } = inspection;
  const numbers = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const tensorBytes = tensors.reduce(
    (sum, { shape, dtype }) => sum + elementCount(shape) * DTYPES[dtype].bytes,
    0,
  );
  const heading = ["tensor", "type", "shape"];
  if (tensors[0]?.statistics !== undefined) heading.push("mean", "std", "min", "max", "not finite");
  return [
    `file       ${path}, ${count(bytes)} bytes`,
    `container  ${CONTAINERS[container]}`,
    ...describeOrigin(inspection),
    ...encoders.map((encoder) => `encoder    ${describeEncoder(encoder)}`),
    ...note === undefined ? [] : [`note       ${shownName(note)}`],
    ...beside.length === 0 ? [] : [`also holds ${beside.map(shownName).join(", ")}`],
    `tensors    ${count(tensors.length)} listed, ${count(numbers)} elements, ${count(tensorBytes)} bytes`,
    ...values.length === 0 ? [] : [
      "",
      formatTable([["value", ""], ...values.map(({ name, text }) => [shownName(name), shownName(text)])]),
    ],
    ...listsTensors && tensors.length > 0 ? ["", formatTable([heading, ...tensors.map(tensorRow)])] : [],
  ];
}

/** Does what the command line says; returns the exit code, nothing for 0. */
export async function main(): Promise<void> {
  await loadPlugin(Deno.args);
  const command = parseInspectFlags(Deno.args);
  if (command.help !== undefined) return console.log(command.help);
  const { path, weights, heads, filter, stats, json, tensors } = command;
  const terminal = stats ? openTerminal() : null;
  let inspection: Inspection;
  try {
    inspection = await inspectCheckpoint(path, {
      weights,
      heads,
      statistics: stats,
      isWanted: filter === undefined ? undefined : (name) => name.includes(filter),
      onTensor: (done, total) => terminal?.write(`${CLEAR_LINE}reading: ${done} of ${total} tensors`),
    });
  } finally {
    terminal?.write(CLEAR_LINE);
  }
  if (json) {
    console.log(JSON.stringify(tensors ? inspection : { ...inspection, tensors: undefined }, null, 2));
  } else for (const line of describeInspection(inspection, command)) console.log(line);
}

if (import.meta.main) await runMain(main);
