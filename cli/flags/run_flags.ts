/** The flags of tasks that train, about how a run is gone on with and shown: no options of a method. */
import type { FlagTable, FlagValues } from "../../methods/flag_table.ts";
import { DATA, GENERAL } from "../../methods/shared_flags.ts";
import { DEFAULT_PORT, LOOPBACK } from "../../ui/page_address.ts";
import type { PageOptions } from "../../ui/server.ts";
import type { ResumeFlags } from "../terminal/interrupt.ts";
import { helpFlag, UsageError } from "./flags.ts";
import { resolvePath } from "./paths.ts";

/** Steps between two lines of progress where nothing is said. */
const PRINT_FREQ = 10;

/** The rows of a table; `tensorboard` says what is in that file. */
export function runFlags(tensorboard: string) {
  return {
    printFreq: {
      kind: "integer",
      min: 1,
      short: "p",
      group: GENERAL,
      help: "steps between progress lines in log.txt, and in the output if it is not a terminal",
    },
    tensorboard: { kind: "boolean", group: DATA, help: tensorboard },
    tune: {
      kind: "boolean",
      group: GENERAL,
      help:
        "find the fastest kernels on this adapter (once, some seconds) and cache the result for later runs; a resumed " +
        "run keeps its kernels",
    },
  } as const satisfies FlagTable;
}

/** The rows about where the time of a run goes. */
export const TRACE_FLAGS = {
  traceActors: {
    kind: "boolean",
    group: GENERAL,
    help: "write a line to actors.jsonl for every message that an actor handles, and for every wait",
  },
  profile: {
    kind: "boolean",
    group: GENERAL,
    help: "print the time per actor and per kernel at the end, and write a trace for Chrome or Perfetto",
  },
} as const satisfies FlagTable;

/** What `--help` says where they are not given. */
export const TRACE_DEFAULT_NOTES = { profile: "default: off", traceActors: "default: off" };

/** Whether a run says where its time goes. */
export interface TraceChoices {
  /** Find out where the time goes. */
  profile: boolean;
  /** Write down every message. */
  traceActors: boolean;
}

/** The last rows: the page, and what is on the screen. */
export const SHOW_FLAGS = {
  ui: {
    kind: "integer",
    min: 0,
    max: 65535,
    implied: DEFAULT_PORT,
    metavar: "PORT",
    group: GENERAL,
    help:
      `serve a live page of the run on this port (without a value: ${DEFAULT_PORT}, or the next free one)`,
    brief: "serve a live page of the run",
  },
  uiHost: {
    kind: "text",
    metavar: "ADDRESS",
    group: GENERAL,
    help:
      `address to serve the page on: ${LOOPBACK} for this machine only, 0.0.0.0 for everyone on its networks`,
  },
  quiet: { kind: "boolean", short: "q", group: GENERAL, help: "do not show progress" },
  json: {
    kind: "boolean",
    group: GENERAL,
    help: "print events as JSON lines, the result last",
    brief: "print events as JSON lines",
  },
  help: helpFlag(GENERAL),
} as const satisfies FlagTable;

/** What `--help` says where these flags are not given. */
export const RUN_DEFAULT_NOTES = {
  tensorboard: "default: on",
  printFreq: `default: ${PRINT_FREQ}`,
  tune: "default: on",
};

/** How a run is shown. */
export interface RunChoices {
  /** Write an event file for TensorBoard. */
  tensorboard: boolean;
  /** Use kernels that are fast on this very adapter, which is measured where that was not done before. */
  tune: boolean;
  /** Show no progress. */
  quiet: boolean;
  /** Steps between two lines of progress. */
  printFreq: number;
  /** Show everything as JSON. */
  json: boolean;
  /** Serve the live page. */
  page: PageOptions | undefined;
}

/** Takes the values of these flags from those of a command line; the rest is the method's. */
export function takeRunFlags<Values extends FlagValues<ReturnType<typeof runFlags> & typeof SHOW_FLAGS>>(
  values: Values,
  warnings: string[],
) {
  const {
    tensorboard = true,
    tune = true,
    quiet = false,
    printFreq = PRINT_FREQ,
    json = false,
    ui: port,
    uiHost: hostname,
    help: _,
    ...rest
  } = values;
  if (port === undefined && hostname !== undefined) warnings.push("--ui-host has no effect without --ui");
  const page = port === undefined ? undefined : { port, hostname };
  const choices: RunChoices = { tensorboard, tune, quiet, printFreq, json, page };
  return { choices, rest };
}

/** What `--resume` asks for. */
export interface ResumeChoice {
  /** The checkpoint, where one is named. */
  resume: string | null;
  /** `auto`: go on from the newest checkpoint of the output folder, where there is one. */
  resumesIfThere: boolean;
  /** As they were given. */
  resumeFlags: ResumeFlags;
}

/**
 * Reads `--resume FILE` or `--resume auto`.
 *
 * @throws {UsageError} for `auto` where no output folder is named
 */
export function readResumeFlag(
  { resume, output }: { resume?: string; output?: string },
  folder: string,
): ResumeChoice {
  const resumeFlags = { namesOutput: output !== undefined, resume };
  if (resume !== "auto") {
    const checkpoint = resume === undefined ? null : resolvePath(resume, folder);
    return { resume: checkpoint, resumesIfThere: false, resumeFlags };
  }
  if (output === undefined) {
    throw new UsageError("--resume auto needs --output FOLDER, where it looks for the newest checkpoint");
  }
  return { resume: null, resumesIfThere: true, resumeFlags };
}

/**
 * Checks that test images come with images of one's own to learn from, and not with the bundled ones.
 *
 * @param needed how the latter are given
 * @throws {UsageError} where they are not
 */
export function requireDataOf(
  { testData, data }: { testData?: string; data?: string },
  needed: string,
): void {
  if (testData === undefined || data !== undefined) return;
  throw new UsageError(
    `--test-data needs ${needed}, the images to learn from: without it the bundled ones are taken`,
  );
}

/**
 * Checks the epochs of a run.
 *
 * @throws {UsageError} where it would begin at its end
 */
export function requireEpochs({ startEpoch, epochs }: { startEpoch: number; epochs: number }): void {
  if (startEpoch < epochs) return;
  throw new UsageError(
    `--start-epoch ${startEpoch} leaves nothing to do: it must be below --epochs ${epochs} (epochs count from 0)`,
  );
}

/** Flags of a training as they were given, of those that may have no effect beside others. */
export interface GivenTraining {
  schedule?: readonly number[];
  gamma?: number;
  momentum?: number;
  warmupEpochs?: number;
  resume?: string;
  resumeAnyway?: boolean;
  startEpoch?: number;
}

/** Says that AdamW has no momentum. */
export const NO_MOMENTUM = "--momentum has no effect with AdamW: it needs --optimizer sgd";

/** Says of a warm-up that goes nowhere that it does; nothing of any other. */
export function warningsOfWarmup(
  warmupEpochs: number | undefined,
  { scaleLr, lrPerStep }: Pick<ChosenTraining, "scaleLr" | "lrPerStep">,
): string[] {
  if (!warmupEpochs || scaleLr || lrPerStep) return [];
  return [
    `--warmup-epochs ${warmupEpochs} keeps the learning rate at --lr: a warm-up needs --scale-lr` +
    (lrPerStep === undefined ? "" : " or --lr-per-step"),
  ];
}

/** What the flags and the defaults of a training come to. */
export interface ChosenTraining {
  cos: boolean;
  optimizer: string;
  scaleLr: boolean;
  /** Left out of a task that has one rate an epoch. */
  lrPerStep?: boolean;
}

/**
 * Returns a sentence for each flag that has no effect, or another one than its name says.
 *
 * @param chosen what the flags and the defaults come to
 */
export function warningsOfTraining(
  given: GivenTraining,
  { cos, optimizer, ...rates }: ChosenTraining,
): string[] {
  const isResumed = given.resume !== undefined && given.resume !== "auto";
  const useless: [boolean, string][] = [
    [
      given.schedule !== undefined && cos,
      "--schedule has no effect with the cosine schedule: it needs --no-cos",
    ],
    [
      given.gamma !== undefined && cos,
      "--gamma has no effect with the cosine schedule: it needs --no-cos",
    ],
    [
      given.momentum !== undefined && optimizer === "adamw",
      NO_MOMENTUM,
    ],
    [
      given.resumeAnyway === true && given.resume === undefined,
      "--resume-anyway has no effect without --resume",
    ],
    [
      isResumed && given.startEpoch !== undefined,
      "--start-epoch has no effect with --resume: the checkpoint sets the epoch",
    ],
  ];
  return [
    ...useless.filter(([isUseless]) => isUseless).map(([, sentence]) => sentence),
    ...warningsOfWarmup(given.warmupEpochs, rates),
  ];
}
