/** Keeps a run's records (`ui/records.ts`) up to date: what the live page, the report and `deno task compare` read. */
import { cpus } from "node:os";
import { type GenericSchema, pick } from "valibot";
import type { TrainingSnapshot } from "../../methods/encoder_training/events.ts";
import { dirname, join, resolve } from "node:path";
import type { NeighboursReport, ProbeSet } from "../../actors/diagnostics.ts";
import type { BestEffort } from "../../actors/best_effort.ts";
import { errorsIn, joinErrors } from "../../actors/runtime/failure.ts";
import type { ActorSystem, TraceSpan } from "../../actors/runtime/mod.ts";
import { readClassNames } from "../../data/class_names.ts";
import { fingerprintDataset, fingerprintFile } from "../../data/fingerprint.ts";
import { systemMemory } from "../../data/system_memory.ts";
import { openDataset, resolveDataset } from "../../data/open_dataset.ts";
import { DIAGNOSTICS, parseRecord, RUN_RECORD } from "../../ui/record_schemas.ts";
import type {
  ActorsRecord,
  DiagnosticsRecords,
  RankRecord,
  RunInput,
  RunRecord,
  RunStatus,
  ScoreRow,
  StatsRow,
} from "../../ui/records.ts";
import { makeSprite } from "../../ui/sprite.ts";
import { REPORT, writeReport } from "../../ui/report.ts";
import config from "../../deno.json" with { type: "json" };
import { callersFolder } from "../flags/paths.ts";
import { Interrupted } from "../terminal/interrupt.ts";
import { reportError } from "../terminal/run_main.ts";
import { ActorsWatch } from "./actors_watch.ts";
import type { OutputFolder } from "./output_folder.ts";

/** Side of an image on the page, in pixels, and images in a row of a sprite. */
const SPRITE = { side: 96, columns: 20 };

/** Nearest neighbours in the probe set. */
const SURVEYS = ["teacher", "before", "student"] as const;

/** What is needed of a record to know which step it is of. */
const STEP_OF_RECORD = pick(DIAGNOSTICS.student, ["step"]);

/** What a run reads. */
export interface RecordedInput extends Omit<RunInput, "fingerprint"> {
  /** A file; images, by a path for `openDataset`; or what the images to learn from are still to be found in. */
  kind: "file" | "images" | "data";
}

/** How to start a recorder. */
export interface RecorderOptions {
  /** `distill` or `lincls`. */
  task: string;
  /** The command line's arguments. */
  args: readonly string[];
  /** Name of the adapter. */
  adapter: string;
  inputs: readonly RecordedInput[];
  /** When the command began, as `performance.now()` says it. */
  started: number;
  /** Of a run that is resumed. */
  before?: RunRecord["before"];
  /** Says how this rank stands, where there are several. */
  rank?: () => RankRecord;
  /** Says how long the run will take yet, in seconds, as soon as that is known. */
  secondsLeft?: () => number | undefined;
  /** Does the recording: where it fails, the run goes on. */
  effort: BestEffort;
}

/** Where `deno task` runs commands. */
const PROJECT = resolve(import.meta.dirname ?? "", "..", "..");

/**
 * `deno task distill --output 'my folder'`, as it does the same from the project's folder: where the paths in it are meant
 * from another one, that stands in front of it, and so does the start of several ranks.
 *
 * @param folder where the paths are meant from
 * @param ranks processes that the run has
 */
export function quoteCommand(task: string, args: readonly string[], folder: string, ranks = 1): string {
  const quote = (arg: string) => /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`;
  const from = resolve(folder) === PROJECT ? [] : [`INIT_CWD=${quote(folder)}`];
  const launcher = ranks > 1 ? [`mpirun -n ${ranks} --bind-to none`] : [];
  return [...from, ...launcher, "deno task", task, ...args.map(quote)].join(" ");
}

function describeHardware(adapter: string): Record<string, string> {
  const processors = cpus();
  const gib = (systemMemory() ?? Deno.systemMemoryInfo()).total / 2 ** 30;
  return {
    adapter,
    processor: `${processors.length} x ${processors[0]?.model ?? "unknown"}`,
    memory: `${gib.toFixed(0)} GiB`,
    system: `${Deno.build.os} ${Deno.build.arch}`,
  };
}

/** How a run ended. */
export interface RunEnd extends Pick<RunRecord, "error" | "results"> {
  status: Exclude<RunStatus, "running">;
}

/** The end that an error is. */
export function endOf(error: unknown): RunEnd {
  const errors = errorsIn(error);
  if (errors[0] instanceof Interrupted) return { status: "interrupted" };
  const lines = errors.map((each) => reportError(each).text.split("\n")[0].replace(/^error: /, ""));
  return { status: "failed", error: joinErrors(lines) };
}

/** Keeps the records of one run, from its start until {@linkcode RunRecorder.finish}. */
export class RunRecorder {
  readonly #folder: OutputFolder;
  readonly #options: RecorderOptions;
  #record: RunRecord;
  #hasBegun = false;
  #actors: ActorsWatch | undefined;
  /** The student's newest nearest neighbours. */
  #surveyedStep = 0;
  /** Images and fingerprints that are being made, one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(folder: OutputFolder, options: RecorderOptions) {
    const { task, args, adapter, inputs, before, rank } = options;
    this.#folder = folder;
    this.#options = options;
    this.#record = {
      task,
      status: "running",
      command: quoteCommand(task, args, callersFolder(), rank?.().size),
      started_at: new Date().toISOString(),
      before,
      versions: { [config.name]: config.version, deno: Deno.version.deno, v8: Deno.version.v8 },
      hardware: describeHardware(adapter),
      inputs: inputs.map(({ role, path }) => ({ role, path })),
    };
  }

  /**
   * The run is about to begin: from now on there is a record of it. What the folder has of steps to come is of a training that the
   * run does not go on with, and is removed.
   */
  plan(plan: NonNullable<RunRecord["plan"]>): void {
    if (this.#folder.isKept) return; // the record there is of the run that is evaluated
    this.#record.plan = plan;
    this.#hasBegun = true;
    this.#write();
    this.#later("the records in insight/", () => this.#removeSteps(plan.first_step));
    this.#later("the fingerprints of the data", () => this.#fingerprint());
  }

  /** The actors are spawned; told once more after some crashes. */
  actors(actors: ActorSystem["actors"]): void {
    this.#actors ??= new ActorsWatch(
      actors,
      (records) =>
        this.#options.effort.attempt(
          "actors.json",
          () =>
            this.#folder.writeRecord(
              "actors.json",
              {
                at: new Date().toISOString(),
                rank: this.#options.rank?.(),
                seconds_left: this.#options.secondsLeft?.(),
                actors: records,
              } satisfies ActorsRecord,
            ),
        ),
    );
  }

  /** An encoder was evaluated. */
  score(row: ScoreRow): void {
    this.#options.effort.attempt("scores.jsonl", () => this.#folder.score(row));
  }

  /** What a step tells of itself. */
  stats(row: StatsRow): void {
    this.#options.effort.attempt("stats.jsonl", () => this.#folder.stats(row));
  }

  /** What an actor did. */
  trace(actor: string, spans: readonly TraceSpan[]): void {
    this.#options.effort.attempt("actors.jsonl", () => this.#folder.trace(actor, spans));
  }

  /** A snapshot of a step. */
  snapshot({ step, similarities, views }: TrainingSnapshot & { step: number }): void {
    this.#later("insight/look.json", async () => {
      this.#diagnostics("look", { step, similarities, views: await makeSprite(views, SPRITE) });
    });
  }

  /** The images of the probe set. Neighbours in another one, which a run that is resumed may find, say nothing of these. */
  probeSet({ data, rows, labels, classNames, views }: ProbeSet): void {
    this.#later("insight/gallery.json", async () => {
      if (!await this.#hasProbeSet({ data, rows, labels })) {
        for (const name of SURVEYS) this.#folder.removeRecord(`insight/${name}.json`);
      }
      this.#diagnostics("gallery", {
        data,
        rows,
        labels,
        classNames: classNames ?? (data.endsWith(".tsv") ? readClassNames(data) : undefined),
        views: await makeSprite(views, SPRITE),
      });
    });
  }

  /** The nearest neighbours by teacher or student. */
  neighbours(report: NeighboursReport): void {
    const { of, step, isBeginning = false, k, neighbours, similarities, maps: { pca, umap } } = report;
    const name = of === "teacher" ? "teacher" : isBeginning ? "before" : "student";
    // An evaluation that was asked for later may have come first.
    if (name === "student" && step < this.#surveyedStep) return;
    if (name === "student") this.#surveyedStep = step;
    this.#later(`insight/${name}.json`, () => {
      this.#diagnostics(name, {
        step,
        k,
        neighbours: [...neighbours],
        similarities: rounded(similarities),
        pca: rounded(pca),
        umap: umap && rounded(umap),
      });
    });
  }

  /**
   * The run has ended: writes what is still to be written, and the report.
   *
   * @returns the report's path; nothing for a run that never began, and where it could not be written
   */
  async finish({ status, results, error }: RunEnd): Promise<string | undefined> {
    this.#actors?.stop();
    await this.#work;
    if (!this.#hasBegun) return undefined;
    const seconds = (performance.now() - this.#options.started) / 1000;
    this.#record = { ...this.#record, status, error, results, ended_at: new Date().toISOString(), seconds };
    // Another folder in its place is not ours to write to; the run itself says that it is gone.
    if (!this.#folder.isInPlace) return undefined;
    this.#write();
    return await this.#options.effort.attempt("the report", async () => {
      const report = await writeReport(this.#folder.path);
      // An evaluation in the folder of the run that it evaluates belongs to that one's report.
      const parent = dirname(this.#folder.path);
      if (await isReported(parent)) await writeReport(parent);
      return report;
    });
  }

  /** Removes the newest snapshot and the student's newest neighbours where they are of steps after the first ones. */
  async #removeSteps(firstStep: number): Promise<void> {
    for (const name of ["look", "student"]) {
      const record = await this.#read(name, STEP_OF_RECORD);
      if (record !== undefined && record.step > firstStep) {
        this.#folder.removeRecord(`insight/${name}.json`);
      }
    }
  }

  /** Whether the folder's probe set has these images. */
  async #hasProbeSet(images: Pick<ProbeSet, "data" | "rows" | "labels">): Promise<boolean> {
    const record = await this.#read("gallery", DIAGNOSTICS.gallery);
    if (record === undefined) return false;
    const { data, rows, labels } = record;
    return JSON.stringify({ data, rows, labels }) === JSON.stringify(images);
  }

  /** Reads a record in `insight/`; nothing where there is none, or it cannot be read. */
  async #read<T>(name: string, schema: GenericSchema<unknown, T>): Promise<T | undefined> {
    const path = join(this.#folder.path, "insight", `${name}.json`);
    const text = await Deno.readTextFile(path).catch(() => "");
    return parseRecord(schema, text).value;
  }

  #write(): void {
    this.#options.effort.attempt("run.json", () => this.#folder.writeRecord("run.json", this.#record));
  }

  #diagnostics<Name extends keyof DiagnosticsRecords>(name: Name, record: DiagnosticsRecords[Name]): void {
    this.#folder.writeRecord(`insight/${name}.json`, record);
  }

  #later(what: string, work: () => void | Promise<void>): void {
    this.#work = this.#work.then(() => this.#options.effort.attempt(what, async () => await work()));
  }

  async #fingerprint(): Promise<void> {
    const inputs: RunInput[] = [];
    for (const { role, path, kind } of this.#options.inputs) {
      inputs.push({ role, path, fingerprint: await fingerprint(path, kind) });
    }
    this.#record.inputs = inputs;
    this.#write();
  }
}

/** Whether a folder is a run's, with a report: a file of that name elsewhere is somebody's own. */
async function isReported(folder: string): Promise<boolean> {
  const hasReport = await Deno.stat(join(folder, REPORT)).then(() => true, () => false);
  if (!hasReport) return false;
  const text = await Deno.readTextFile(join(folder, "run.json")).catch(() => ""); // there is none, or it cannot be read
  return parseRecord(RUN_RECORD, text).problem === undefined;
}

async function fingerprint(path: string, kind: RecordedInput["kind"]): Promise<string> {
  if (kind === "file") return await fingerprintFile(path);
  using dataset = await openDataset(kind === "data" ? await resolveDataset(path, "train") : path);
  return await fingerprintDataset(dataset);
}

/** Four digits are more than can be seen. */
function rounded(values: Float32Array): number[] {
  return Array.from(values, (value) => Number(value.toFixed(4)));
}
