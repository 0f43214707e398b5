/** What a rank beside the first one leaves in the run's folder: its log, how its actors stand, and its profile. */
import { join } from "node:path";
import { BestEffort } from "../../actors/best_effort.ts";
import type { ActorsEvent, NoticeEvent, TraceEvents } from "../../actors/events.ts";
import type { Ranks } from "../../actors/ranks/ranks.ts";
import { FolderIdentity } from "../../data/folder_identity.ts";
import { replaceTextFileSync } from "../../data/replace_file.ts";
import { UserError } from "../../errors.ts";
import type { ProfileEvent } from "../../methods/watched_actors.ts";
import type { ActorRecord, ActorsRecord } from "../../ui/records.ts";
import { formatDuration } from "../terminal/duration.ts";
import { ActorsWatch } from "./actors_watch.ts";
import { attemptWrite, formatLog, formatTrace, LineFile } from "./line_file.ts";
import { describeProfile, writeTrace } from "./profile_report.ts";
import type { RankFacts } from "./rank_facts.ts";
import { RankRate } from "./rank_rate.ts";

/** What a run tells that is of interest here. */
export type RankEvent = NoticeEvent | ActorsEvent | TraceEvents | ProfileEvent | {
  type: "step";
  epoch: number;
  step: number;
};

/** How to keep the files of a rank. */
export interface RankFilesOptions {
  /** The run's folder, which the first rank has opened and locked. */
  output: string;
  /** Whether that folder stays as it is: then there are no files. */
  isKept?: boolean;
  ranks: Ranks;
  facts: Pick<RankFacts, "host" | "adapter">;
  /** Images of a batch of all ranks. */
  batchSize: number;
  /** The message that a step is, for the profile. */
  step?: { actor: string; message: string };
  /** Shows a warning of this rank's own. */
  warn(text: string): void;
}

/** Name of a rank's file: `log_rank1.txt`. */
export function rankFile(name: string, rank: number): string {
  return name.replace(".", `_rank${rank}.`);
}

/**
 * Keeps the files of one rank. The folder is the first rank's: it is not made here, nor locked. Nothing is written before the run's
 * actors are there, so that a run that cannot begin leaves no folder. Where the folder cannot be written, that is one warning.
 */
export class RankFiles implements Disposable {
  readonly #options: RankFilesOptions;
  readonly #effort: BestEffort;
  readonly #rate: RankRate;
  /** What was to be logged before the run began; nothing once it has. */
  #early: string[] | undefined = [];
  #identity: FolderIdentity | undefined;
  #log: LineFile | undefined;
  #trace: LineFile | undefined;
  #watch: ActorsWatch | undefined;
  #actors: readonly ActorRecord[] = [];
  #profile: ProfileEvent | undefined;
  #steps = 0;
  /** The newest step, and the epoch that it is of. */
  #last: { epoch: number; step: number } | undefined;
  readonly #started = performance.now();

  constructor(options: RankFilesOptions) {
    this.#options = options;
    const { ranks, facts, batchSize, warn } = options;
    this.#effort = new BestEffort(warn);
    const [{ rank, size }, { host, adapter }] = [ranks, facts];
    this.#rate = new RankRate({ rank, size, host, adapter }, batchSize);
    this.log(`rank ${rank} of ${size} on ${host}, ${adapter}`);
  }

  /** Takes what the run tells; warnings are shown too, but for those that the first rank shows. */
  take(event: RankEvent): void {
    switch (event.type) {
      case "warning":
        if (!event.isCommon) this.#options.warn(event.text);
        return this.log(`warning: ${event.text}`);
      case "note":
        return this.log(event.text);
      case "actors":
        return this.#begin(event);
      case "step":
        return this.#step(event);
      case "trace":
        return this.#attempt(() => {
          this.#trace ??= this.#open("actors.jsonl");
          this.#trace?.append(formatTrace(event.actor, event.spans));
        });
      case "profile":
        this.#profile = event;
    }
  }

  /** Adds lines to the log. */
  log(text: string): void {
    const entry = formatLog(text);
    if (this.#early === undefined) this.#attempt(() => this.#log?.append(entry));
    else this.#early.push(entry);
  }

  /** The run has ended: writes what is left. */
  async finish(how: "finished" | "interrupted" | "failed"): Promise<void> {
    this.#effort.endRun();
    this.#watch?.stop();
    this.#logEpoch(how === "finished" ? "ended with" : "got to");
    const seconds = formatDuration((performance.now() - this.#started) / 1000);
    const exchange = this.#actors.find(({ name }) => name === "gradient_exchange");
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    const waits = exchange === undefined
      ? ""
      : `; ${percent(exchange.waitingOverall)} of the time in waits for other ranks, ${
        percent(exchange.busyOverall)
      } in exchanges`;
    const { step, output, ranks } = this.#options;
    const profile = this.#profile;
    if (profile !== undefined && step !== undefined && this.#early === undefined) {
      this.#attempt(() => {
        for (const table of describeProfile(profile, step)) this.log(table);
      });
      await this.#effort.attempt(this.#what, async () => {
        this.#identity?.check();
        await writeTrace(output, profile, rankFile("profile.json", ranks.rank));
      });
    }
    this.log(`${how}: ${this.#steps} steps in ${seconds}${waits}`);
  }

  [Symbol.dispose](): void {
    this.#watch?.stop();
    this.#log?.[Symbol.dispose]();
    this.#trace?.[Symbol.dispose]();
    this.#identity?.[Symbol.dispose]();
  }

  get #what(): string {
    return `writing the log and the records of rank ${this.#options.ranks.rank}`;
  }

  #attempt(work: () => void): void {
    this.#effort.attempt(this.#what, work);
  }

  #open(name: string): LineFile | undefined {
    return this.#identity &&
      new LineFile(join(this.#options.output, rankFile(name, this.#options.ranks.rank)));
  }

  #begin({ actors }: ActorsEvent): void {
    const early = this.#early;
    if (early === undefined) return; // told once more after a crash
    if (this.#options.isKept) return;
    this.#early = undefined;
    this.#attempt(() => {
      const { output, facts } = this.#options;
      this.#identity = FolderIdentity.of(output);
      if (this.#identity === undefined) {
        throw new UserError(
          `${output}: expected the folder that the first rank has opened, but there is none on ${facts.host}. Its file ` +
            "system is another one; the page does not show this rank",
        );
      }
      this.#log = this.#open("log.txt");
      this.#log?.append(early.join(""));
    });
    this.#watch = new ActorsWatch(actors, (records) => this.#record(records));
  }

  #record(actors: ActorRecord[]): void {
    this.#actors = actors;
    const { output, ranks } = this.#options;
    this.#attempt(() => {
      if (this.#identity === undefined) return;
      this.#identity.check();
      const path = join(output, rankFile("actors.json", ranks.rank));
      const record: ActorsRecord = { at: new Date().toISOString(), rank: this.#rate.record(), actors };
      attemptWrite(path, () => replaceTextFileSync(path, JSON.stringify(record)));
    });
  }

  #step({ epoch, step }: { epoch: number; step: number }): void {
    if (epoch !== this.#last?.epoch) this.#logEpoch("ended with");
    this.#last = { epoch, step };
    this.#steps++;
    this.#rate.step();
  }

  /** Logs the epoch of the newest step, where there is one. */
  #logEpoch(how: "ended with" | "got to"): void {
    if (this.#last === undefined) return;
    const { epoch, step } = this.#last;
    const { images_per_second: rate } = this.#rate.record();
    const speed = rate === null ? "" : `, ${rate.toFixed(1)} images/s on this rank`;
    this.log(`epoch ${epoch} ${how} step ${step}${speed}`);
  }
}
