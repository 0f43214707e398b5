/** `deno task doctor`: looks at everything that a run needs, and says what to do about what is missing. */
import { dirname, join } from "node:path";
import type { World } from "../../actors/ranks/world.ts";
import { decodeImage } from "../../data/decode.ts";
import { describeGib } from "../../data/describe_bytes.ts";
import { readDiskSpace } from "../../data/disk_space.ts";
import { BrokenRowError } from "../../data/dataset.ts";
import { systemMemory } from "../../data/system_memory.ts";
import { type DatasetOptions, openDataset, resolveDataset } from "../../data/open_dataset.ts";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import { openTemporary } from "../../data/temporary.ts";
import { writeAll } from "../../data/replace_file.ts";
import { UserError } from "../../errors.ts";
import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import { Graph } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { Program } from "../../kernels/program.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { describePlace } from "../../models/encoder_input.ts";
import { studentNames, teacherNames } from "../../models/registry.ts";
import { resolveTeacher, type TeacherRequest } from "../../models/teacher.ts";
import { teacherPart } from "../../methods/seed/options.ts";
import { type DoctorRequest, ownArguments, parseDoctorFlags } from "../flags/doctor_flags.ts";
import { describeWriteError } from "../output/line_file.ts";
import { isThere } from "../output/output_folder.ts";
import { permissionFlags } from "../../methods/permissions.ts";
import { permissionsOf, restrictedCommand } from "../flags/permissions.ts";
import { wrap } from "../flags/help.ts";
import { loadPlugin } from "../flags/plugin.ts";
import { checkRanks } from "../output/ranks_finding.ts";
import { CountProgress } from "../terminal/count_progress.ts";
import { runOnRanks } from "../terminal/ranked_main.ts";
import { screenWidth } from "../terminal/screen_width.ts";

/** What was found of one thing. */
export interface Finding {
  /** What was looked at. */
  what: string;
  /** `warning`: a run works, but not as well as it might; `problem`: it does not. */
  state: "ok" | "warning" | "problem";
  /** What is there. */
  found: string;
  /** What to do, where something is not as it should be. */
  advice?: string;
}

const GIB = 2 ** 30;
/** A demo run takes about one; the paper's recipe with a queue of 65,536 and images of 224 px several. */
const [LEAST_MEMORY, USUAL_MEMORY] = [GIB, 4 * GIB];
/** A checkpoint of a MobileNetV3 under a ResNet-50 has 0.2 GiB, and there is one an epoch. */
const [LEAST_DISK, USUAL_DISK] = [GIB / 4, 5 * GIB];

function describeAmount(
  what: string,
  bytes: number,
  [least, usual]: readonly number[],
  advice: string,
  where = "",
): Finding {
  const state = bytes < least ? "problem" : bytes < usual ? "warning" : "ok";
  return { what, state, found: `${describeGib(bytes)} free${where}`, ...state !== "ok" && { advice } };
}

/** Adds two numbers on the device: the whole way through the driver's compiler and back. */
async function addOnDevice(gpu: Gpu): Promise<number> {
  const graph = new Graph();
  const x = graph.source("x", [4]);
  const y = graph.apply(add, [x, x], {});
  using program = await Program.compile(gpu, { label: "doctor", graph, inputs: [x], outputs: [y] });
  program.write(x, Float32Array.of(1, 2, 3, 21));
  program.run();
  return (await program.read(y))[3];
}

async function checkAdapter(): Promise<Finding[]> {
  const gpu = await openGpu("doctor");
  try {
    const { name, isSoftware, hasHalf } = gpu.adapter;
    const { maxBufferSize } = gpu.device.limits;
    const binding = gpu.target.maxStorageBufferBindingSize;
    const answer = await addOnDevice(gpu);
    return [
      {
        what: "adapter",
        state: isSoftware ? "warning" : "ok",
        found: `${name}${isSoftware ? ", a software adapter on the CPU" : ""}`,
        ...isSoftware && {
          advice:
            "a GPU is much faster; if this machine has one, install its Vulkan driver (`vulkaninfo` lists " +
            "the devices found)",
        },
      },
      {
        what: "limits",
        state: binding < 2 ** 30 ? "warning" : "ok",
        found: `${describeGib(binding)} per binding, ${
          describeGib(maxBufferSize)
        } per buffer; float16 for --amp: ${hasHalf ? "yes" : "no"}`,
        ...binding < 2 ** 30 && {
          advice:
            "larger buffers are split; the widest encoders cannot be students, and a batch of 256 at 224 x 224 may " +
            "not fit: use a smaller --batch-size if an error says so",
        },
      },
      {
        what: "kernels",
        state: answer === 42 ? "ok" : "problem",
        found: answer === 42
          ? "a test kernel compiles, runs and is correct"
          : `a test kernel computed 21 + 21 = ${answer}`,
        ...answer !== 42 &&
          { advice: "update the GPU driver, or choose another backend with DENO_WEBGPU_BACKEND" },
      },
    ];
  } finally {
    gpu.destroy();
  }
}

function checkMemory(): Finding {
  const advice =
    "close other programs, use a smaller --batch-size, --queue or --image-size, or add --checkpoint-activations";
  return describeAmount("memory", (systemMemory() ?? Deno.systemMemoryInfo()).available, [
    LEAST_MEMORY,
    USUAL_MEMORY,
  ], advice);
}

/** Writes where a run would, or as near above as there is a folder. */
function checkOutput(output: string): Finding {
  const advice = "free some space, write elsewhere (--output), or keep fewer checkpoints (--keep 3)";
  let folder = output;
  while (!isThere(folder) && dirname(folder) !== folder) folder = dirname(folder); // it will be made
  try {
    using temporary = openTemporary(join(folder, "doctor"));
    writeAll(temporary.file, new Uint8Array(4096)); // a full disk still opens files
  } catch (error) {
    return { what: "output", state: "problem", found: describeWriteError(error, output).message, advice };
  }
  const { available } = readDiskSpace(folder);
  return describeAmount("disk", available, [LEAST_DISK, USUAL_DISK], advice, ` in ${folder}`);
}

/** Images that are decoded on trial. */
const TRIED = 20;

async function checkData(data: string, options: ExamineOptions): Promise<Finding> {
  const path = await resolveDataset(data, "train");
  using dataset = await openDataset(path, options);
  const step = Math.max(1, Math.floor(dataset.rowCount / TRIED));
  const rows = await dataset.readRows(
    Array.from({ length: Math.min(TRIED, dataset.rowCount) }, (_, i) => i * step),
  );
  const broken: string[] = [];
  for (const row of rows) {
    try {
      if (row instanceof BrokenRowError) throw row;
      if (row.image instanceof Uint8Array) await decodeImage(row.image);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      broken.push(error.message);
    }
  }
  const state = broken.length === rows.length ? "problem" : broken.length > 0 ? "warning" : "ok";
  return {
    what: "images",
    state,
    found: `${dataset.rowCount} in ${path}; ${
      rows.length - broken.length
    } of ${rows.length} sampled can be decoded`,
    ...state !== "ok" &&
      { advice: `the first that cannot: ${broken[0]}; \`deno task tsv --check\` checks all of them` },
  };
}

async function checkTeacher(path: string, request: TeacherRequest = {}): Promise<Finding> {
  const { arch, ssl } = await resolveTeacher(path, request);
  const part = teacherPart(request);
  using source = await openEncoderSource(path, { arch, weights: request.weights, part });
  await source.requireFinite();
  const { encoder, head } = source;
  const gives = part === "encoder" ? `${head.dimension}-d embeddings` : `${encoder.features}-d features`;
  const place = describePlace(source);
  return {
    what: "teacher",
    state: "ok",
    found: `${encoder.name} (${ssl}), ${gives}, ${path}${place === undefined ? "" : `: ${place}`}`,
  };
}

/** Looks at one thing; what goes wrong is what was found. */
async function look(
  what: string,
  advice: string,
  check: () => Finding | Finding[] | Promise<Finding | Finding[]>,
): Promise<Finding[]> {
  try {
    return [await check()].flat();
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return [{ what, state: "problem", found, ...!(error instanceof UserError) && { advice } }];
  }
}

/** What {@linkcode examine} can be told. */
export type ExamineOptions = Pick<DatasetOptions, "onProgress">;

/**
 * All findings, in the order in which a run needs the things.
 *
 * @param options `onProgress` hears how many bytes of a TSV file were searched for its rows
 */
export async function examine(
  { data, distill, teacher, output }: DoctorRequest,
  world?: World,
  options: ExamineOptions = {},
): Promise<Finding[]> {
  return [
    { what: "Deno", state: "ok", found: Deno.version.deno },
    ...await look(
      "adapter",
      "`./seed --deno` installs a software adapter if there is none",
      checkAdapter,
    ),
    ...await look("memory", "", checkMemory),
    ...await look("disk", "choose a writable folder with --output", () => checkOutput(output)),
    ...await look(
      "images",
      "give a folder of images with --data",
      () => checkData(data ?? SAMPLE_DATA, options),
    ),
    ...await look(
      "teacher",
      "give a checkpoint with --distill",
      () => checkTeacher(distill ?? SAMPLE_TEACHER, teacher),
    ),
    ...await look("MPI", "", () => checkRanks(world)),
  ];
}

/**
 * What the command prints.
 *
 * @param columns of the screen
 */
export function describeFindings(
  findings: readonly Finding[],
  columns: number = screenWidth(Infinity),
): string {
  const width = Math.max(...findings.map(({ what }) => what.length));
  const room = Math.max(columns - width - 11, 30);
  return findings.flatMap(({ what, state, found, advice = "" }) => {
    const [first, ...rest] = [...wrap(found, room), ...advice === "" ? [] : wrap(advice, room)];
    return [
      `${state.padEnd(8)} ${what.padEnd(width)}  ${first}`,
      ...rest.map((line) => " ".repeat(width + 11) + line),
    ];
  }).join("\n");
}

/** Does what the command line says, as one of the ranks where there are several; returns the exit code, nothing for 0. */
export async function main(world?: World): Promise<number> {
  await loadPlugin(ownArguments(Deno.args));
  const command = parseDoctorFlags(Deno.args, { encoders: studentNames(), teachers: teacherNames() });
  if (command.help !== undefined) {
    console.log(command.help);
    return 0;
  }
  if (command.restricted !== undefined) {
    const { task, args } = command.restricted;
    const permissions = await permissionsOf(task, args);
    console.log(
      command.json
        ? JSON.stringify(permissionFlags(permissions), null, 2)
        : restrictedCommand(task, args, permissions),
    );
    return 0;
  }
  let findings: Finding[];
  {
    using progress = new CountProgress({ doing: "reading the data, MiB", quiet: command.json });
    const onProgress = (done: number, total: number) => progress.updateBytes(done, total);
    findings = await examine(command.request, world, { onProgress });
  }
  console.log(command.json ? JSON.stringify(findings, null, 2) : describeFindings(findings));
  return findings.some(({ state }) => state === "problem") ? 1 : 0;
}

if (import.meta.main) await runOnRanks(main);
