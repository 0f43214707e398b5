/** What a run says: on the screen, in `log.txt`, and in `metrics.jsonl`. */
import type { ProgressEvent } from "../../actors/events.ts";
import { BestEffort } from "../../actors/best_effort.ts";
import { writeAll } from "../../data/replace_file.ts";
import type { OutputFolder } from "../output/output_folder.ts";
import { withSnakeCase } from "../output/snake_case.ts";
import { CountProgress } from "./count_progress.ts";
import { countsOf, describePhase, Progress, type ProgressOptions, type StepReport } from "./progress.ts";

/** Shows a run and keeps its log. */
export class RunConsole {
  readonly #folder: OutputFolder;
  readonly #quiet: boolean;
  readonly #json: boolean;
  #progress: Progress | undefined;
  /** Before there are steps. */
  #counting: CountProgress | undefined;
  /** For what only observes the run: its failures are warnings here. */
  readonly effort: BestEffort = new BestEffort((text) => this.warn(text));

  /**
   * @param quiet show warnings and results alone
   * @param json show everything as lines of JSON on stdout, warnings on stderr too
   */
  constructor(folder: OutputFolder, { quiet, json = false }: { quiet: boolean; json?: boolean }) {
    this.#folder = folder;
    this.#quiet = quiet || json;
    this.#json = json;
  }

  /** Tells a program of an event; `docs/file-formats.md` has a schema of all. */
  tell(type: string, facts: object): void {
    if (!this.#json) return;
    const event = withSnakeCase({ type, ...facts });
    const line = new TextEncoder().encode(JSON.stringify(event) + "\n");
    // The program that reads them may have ended, which console.log() would keep to itself.
    this.effort.attempt("--json on stdout", () => writeAll(Deno.stdout, line));
  }

  /** Shows a line on stdout, whose disk may be full. `log.txt` has all that matters. */
  readonly #print = (line: string): void => {
    this.effort.attempt("printing", () => console.log(line));
  };

  /** How long the run will take yet, in seconds; nothing where that cannot be told. */
  get secondsLeft(): number | undefined {
    return this.#progress?.secondsLeft;
  }

  /** Something on the way, that programs are told as a sentence. */
  readonly say = (text: string): void => {
    this.tell("note", { text });
    this.show(text);
  };

  /** Something on the way for people alone: programs are told by an event of its own. */
  readonly show = (text: string): void => {
    if (this.#progress !== undefined) return this.#progress.note(text);
    this.#folder.log(text);
    if (!this.#quiet) this.#print(text);
  };

  /** Something that is not as expected; shown when quiet too. */
  readonly warn = (text: string): void => {
    this.tell("warning", { text });
    if (this.#progress !== undefined) return this.#progress.warn(text);
    this.#folder.log(`warning: ${text}`);
    console.error(`warning: ${text}`);
  };

  /** What the run was for; shown when quiet too. */
  readonly report = (text: string): void => {
    this.#folder.log(text);
    if (!this.#json) this.#print(text);
  };

  /** Something about a run that does not take place: it is shown, and `log.txt` stays as it is. */
  readonly notice = (text: string): void => {
    this.tell("note", { text });
    if (!this.#json) this.#print(text);
  };

  /** Begins to show steps. */
  start(options: Omit<ProgressOptions, "quiet" | "log" | "print">): void {
    this.#stopCounting();
    this.#progress = new Progress({
      ...options,
      quiet: this.#quiet,
      log: (line) => this.#folder.log(line),
      print: this.#print,
    });
  }

  /** A step is done. */
  step(report: StepReport): void {
    const imagesPerSecond = this.#progress!.step(report);
    const { lossScale, ...row } = report;
    const metrics = {
      ...row,
      images_per_second: imagesPerSecond ?? null,
      time: Date.now() / 1000,
      loss_scale: lossScale?.scale,
      skipped_steps: lossScale?.skipped,
    };
    this.#folder.metrics(metrics);
    this.tell("step", metrics);
  }

  /** What goes on besides the steps. */
  progress(event: ProgressEvent): void {
    this.tell("progress", event);
    if (this.#progress !== undefined) return this.#progress.phase(event);
    this.#counting ??= new CountProgress({
      doing: describePhase(event) + (event.phase === "reading" ? ", MiB" : ""),
      quiet: this.#quiet,
      print: this.#print,
      log: (line) => this.#folder.log(line),
    });
    this.#counting.update(...countsOf(event));
    if (event.done >= event.total) this.#stopCounting();
  }

  #stopCounting(): void {
    this.#counting?.[Symbol.dispose]();
    this.#counting = undefined;
  }

  /** Shows no more steps. */
  async stop(): Promise<void> {
    this.#stopCounting();
    await this.#progress?.stop();
    this.#progress = undefined;
  }
}
