/** Keeps a run's records (`ui/records.ts`) up to date: what the live page, the report and `deno task compare` read. */
import { cpus } from "node:os";
import type { DistillEvent } from "../actors/runs.ts";
import { fingerprintDataset, fingerprintFile } from "../data/fingerprint.ts";
import { openDataset, resolveDataset } from "../data/open_dataset.ts";
import type { InsightRecords, RunInput, RunRecord, RunStatus } from "../ui/records.ts";
import { makeSprite } from "../ui/sprite.ts";
import { writeReport } from "../ui/report.ts";
import config from "../deno.json" with { type: "json" };
import { Interrupted } from "./interrupt.ts";
import { reportError } from "./run_main.ts";
import { ActorsWatch } from "./actors_watch.ts";
import type { OutputFolder } from "./output_folder.ts";

/** Side of a picture on the page, in pixels, and pictures in a row of a sprite. */
const SPRITE = { side: 96, columns: 20 };

/** What a run reads: a file, or data. */
export interface RecordedInput extends Omit<RunInput, "fingerprint"> {
  kind: "file" | "pictures";
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
  /** Takes what could not be recorded; the run goes on. */
  onProblem(text: string): void;
}

/** `deno task distill --output "my folder"`. */
export function quoteCommand(task: string, args: readonly string[]): string {
  const quoted = args.map((arg) => /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`);
  return ["deno task", task, ...quoted].join(" ");
}

function describeHardware(adapter: string): Record<string, string> {
  const processors = cpus();
  const gib = Deno.systemMemoryInfo().total / 2 ** 30;
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
  if (error instanceof Interrupted) return { status: "interrupted" };
  return { status: "failed", error: reportError(error).text.split("\n")[0].replace(/^error: /, "") };
}

/** Keeps the records of one run, from its start until {@linkcode RunRecorder.finish}. */
export class RunRecorder {
  readonly #folder: OutputFolder;
  readonly #options: RecorderOptions;
  readonly #started = performance.now();
  #record: RunRecord;
  #actors: ActorsWatch | undefined;
  /** Of the newest survey of the student. */
  #surveyedStep = 0;
  /** Pictures and fingerprints that are being made, one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(folder: OutputFolder, options: RecorderOptions) {
    const { task, args, adapter, inputs } = options;
    this.#folder = folder;
    this.#options = options;
    this.#record = {
      task,
      status: "running",
      command: quoteCommand(task, args),
      startedAt: new Date().toISOString(),
      versions: { [config.name]: config.version, deno: Deno.version.deno, v8: Deno.version.v8 },
      hardware: describeHardware(adapter),
      inputs: inputs.map(({ role, path }) => ({ role, path })),
    };
    this.#write();
    this.#later("a fingerprint", () => this.#fingerprint());
  }

  /** Takes an event of a distillation. */
  take(event: DistillEvent, epochs: number): void {
    switch (event.type) {
      case "plan": {
        const { pictures, batchesPerEpoch: stepsPerEpoch, totalSteps, firstStep } = event;
        this.#record.plan = { pictures, stepsPerEpoch, totalSteps, firstStep, epochs };
        return this.#write();
      }
      case "actors":
        this.#actors = new ActorsWatch(
          event.actors,
          (actors) => this.#folder.writeRecord("actors.json", { at: new Date().toISOString(), actors }),
          this.#options.onProblem,
        );
        return;
      case "knn": {
        const { of, step, top1, top5 } = event;
        return this.#folder.score({ of, by: "knn", step, top1, top5 });
      }
      case "look": {
        const { step, similarities, views } = event;
        return this.#later("a look", async () => {
          this.#insight("look", { step, similarities, views: await makeSprite(views, SPRITE) });
        });
      }
      case "gallery": {
        const { data, rows, labels, classNames, views } = event;
        return this.#later("the gallery", async () => {
          const sprite = await makeSprite(views, SPRITE);
          this.#insight("gallery", { data, rows, labels, classNames, views: sprite });
        });
      }
      case "survey": {
        const { of, step, k, neighbours, similarities, maps: { pca, umap } } = event;
        const isBefore = step === 0;
        if (of === "student" && !isBefore) {
          // An evaluation that was asked for later may have come first.
          if (step < this.#surveyedStep) return;
          this.#surveyedStep = step;
        }
        return this.#insight(of === "teacher" ? "teacher" : isBefore ? "before" : "student", {
          step,
          k,
          neighbours: [...neighbours],
          similarities: rounded(similarities),
          pca: rounded(pca),
          umap: umap && rounded(umap),
        });
      }
    }
  }

  /** The run has ended: writes what is still to be written, and the report. */
  async finish({ status, results, error }: RunEnd): Promise<void> {
    this.#actors?.stop();
    await this.#work;
    const seconds = (performance.now() - this.#started) / 1000;
    this.#record = { ...this.#record, status, error, results, endedAt: new Date().toISOString(), seconds };
    try {
      this.#write();
      await writeReport(this.#folder.path);
    } catch (problem) {
      // The run itself may have failed by the same disk: that is what is to be heard of.
      this.#options.onProblem(`no report: ${(problem as Error).message}`);
    }
  }

  #write(): void {
    this.#folder.writeRecord("run.json", this.#record);
  }

  #insight<Name extends keyof InsightRecords>(name: Name, record: InsightRecords[Name]): void {
    this.#folder.writeRecord(`insight/${name}.json`, record);
  }

  #later(what: string, work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error) =>
      this.#options.onProblem(`${what} could not be recorded: ${error.message}`)
    );
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

async function fingerprint(path: string, kind: RecordedInput["kind"]): Promise<string> {
  if (kind === "file") return await fingerprintFile(path);
  const isFile = (await Deno.stat(path)).isFile;
  using dataset = await openDataset(isFile ? path : await resolveDataset(path, "train"));
  return await fingerprintDataset(dataset);
}

/** Four digits are more than can be seen. */
function rounded(values: Float32Array): number[] {
  return Array.from(values, (value) => Number(value.toFixed(4)));
}
