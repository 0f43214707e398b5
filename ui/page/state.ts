/// <reference lib="dom" />
/** All that the page knows, and how it learns more. */
import type {
  ActorsRecord,
  CurvePoint,
  DiagnosticsRecords,
  EvaluationRecord,
  MetricsRow,
  PageMessage,
  RankActorsRecord,
  RunRecord,
  ScoreRow,
  StatsRow,
} from "../records.ts";

/** A run as the page knows it. */
export interface Run {
  name: string;
  record?: RunRecord;
  config?: Record<string, unknown>;
  evaluations: EvaluationRecord[];
  points: CurvePoint[];
  last: MetricsRow | null;
  scores: ScoreRow[];
  stats: StatsRow[];
  actors?: ActorsRecord;
  /** Actors of the ranks beside the first one, by their numbers. */
  ranks: Map<number, RankActorsRecord>;
  diagnostics: Partial<DiagnosticsRecords>;
  /** Whether it is among the curves. */
  isShown: boolean;
}

/** What is known of a run before anything is told of it. */
function nothingOf(): Omit<Run, "name" | "isShown"> {
  return {
    record: undefined,
    config: undefined,
    evaluations: [],
    points: [],
    last: null,
    scores: [],
    stats: [],
    actors: undefined,
    ranks: new Map(),
    diagnostics: {},
  };
}

/** Returns the epochs after so many steps; those before the run was resumed may have been of another batch size. */
export function epochsAfter(
  step: number,
  { steps_per_epoch: length, extra_steps: extra = 0, first_step: first }: NonNullable<RunRecord["plan"]>,
): number {
  const epochs = (steps: number) => (steps - extra) / length;
  return extra === 0 || step >= first ? epochs(step) : step / first * epochs(first);
}

/** Returns how long a run took, its earlier starts among it, in seconds; `undefined` where that is not known. */
export function secondsTaken({ record }: Pick<Run, "record">): number | undefined {
  return record?.seconds === undefined ? undefined : record.seconds + (record.before?.seconds ?? 0);
}

/** Parts of the page that show different things. */
export type Topic = "runs" | "curves" | "actors" | "snapshot" | "neighbours" | "about";

/** All parts of the page. */
export const EVERYTHING: readonly Topic[] = ["runs", "curves", "actors", "snapshot", "neighbours", "about"];

/** Runs that are drawn before anybody has chosen. */
const FIRST_SHOWN = 10;

/** What top-1 is measured by, in a word or two. */
export const BY: Readonly<Record<ScoreRow["by"], string>> = {
  knn: "kNN",
  linear: "linear",
  finetune: "fine-tuned",
};

/** The same where there is room. */
export const BY_IN_FULL: Readonly<Record<ScoreRow["by"], string>> = {
  knn: "weighted kNN",
  linear: "linear classifier",
  finetune: "fine-tuned",
};

/** Words behind what top-1 is measured by, where that is not on test images. */
export function describeImages({ held_out }: Pick<ScoreRow, "held_out"> = {}): string {
  return held_out ? " (held-out labels)" : "";
}

/** The accuracy of a run as it is now, in percent, and its teacher's. */
export function accuracyNow(
  { scores }: Pick<Run, "scores">,
): Pick<ScoreRow, "by" | "top1" | "held_out"> & { teacher: number | undefined } | undefined {
  const student = scores.filter(({ of }) => of === "student");
  const newest = student.at(-1);
  if (newest === undefined) return undefined;
  // Of several linear classifiers the best one counts.
  const top1 = Math.max(
    ...student.filter(({ step, by }) => step === newest.step && by === newest.by).map(({ top1 }) => top1),
  );
  const { by, held_out } = newest;
  return { by, top1, held_out, teacher: scores.find(({ of }) => of === "teacher")?.top1 };
}

/** A run that says it is running, but has not written for so long, is no longer there. */
const SILENT_MS = 60_000;

/** What tells whether a run is silent. */
type Clock = Pick<State, "isLive" | "isPaused" | "now">;

/** When a run gave a sign of life that was longer ago than any that runs: in ms since 1970; `undefined` where it does. */
export function silentSince({ record, actors }: Run, { isLive, isPaused, now }: Clock): number | undefined {
  if (record?.status !== "running" || !isLive || isPaused) return undefined;
  const seen = Math.max(Date.parse(record.started_at), Date.parse(actors?.at ?? record.started_at));
  return now - seen > SILENT_MS ? seen : undefined;
}

/** How a run stands, in a word. */
export function stateOf(run: Run, clock: Clock): string {
  return silentSince(run, clock) === undefined ? run.record?.status ?? "unknown" : "silent";
}

/** Everything. */
export class State {
  runs: Run[] = [];
  /** Number of the run that is looked into. */
  focus = 0;
  /** Whether news may come. */
  isLive = false;
  /** Whether the page has taken no news while it was hidden, and was not yet told everything again. */
  isPaused = false;
  /** How far this machine's clock is ahead of the one that tells the news, in ms. */
  #clockAhead = 0;
  /** Whether the one who tells the news is there. */
  isConnected = true;
  /** Why the program tells no news, where it says so. */
  refusal: string | undefined;

  /** The run that is looked into. */
  get run(): Run | undefined {
    return this.runs[this.focus];
  }

  /** The time by the clock of who tells the news, in ms since 1970. */
  get now(): number {
    return Date.now() - this.#clockAhead;
  }

  /** Takes news in, and says what has to be shown anew. */
  apply(message: PageMessage): readonly Topic[] {
    if (message.kind === "runs") {
      const { names, isLive, now, begins = false } = message;
      this.isLive = isLive;
      if (now !== undefined) this.#clockAhead = Date.now() - now;
      // Runs that begin are added at the end; another list is of another program.
      const isSame = this.runs.every(({ name }, i) => name === names[i]);
      if (!isSame) this.focus = 0;
      const known = isSame ? this.runs : [];
      if (begins) {
        this.isPaused = false;
        // Of a run that is told of anew only what the reader chose stays: it may be another one in the same folder.
        for (const run of known) Object.assign(run, nothingOf());
      }
      const added = names.slice(known.length).map((name, i): Run => ({
        name,
        ...nothingOf(),
        isShown: known.length + i < FIRST_SHOWN,
      }));
      this.runs = [...known, ...added];
      return isSame && !begins && added.length === 0 ? ["runs"] : EVERYTHING;
    }
    const run = this.runs[message.run];
    switch (message.kind) {
      case "record":
        run.record = message.record;
        return ["runs", "curves", "actors", "about"]; // of a run that has ended the actors are told otherwise
      case "evaluations":
        run.evaluations = message.evaluations;
        return ["about"];
      case "config":
        run.config = message.config;
        return ["curves", "about"];
      case "metrics":
        if (message.reset) run.points = [];
        for (const point of message.points) run.points.push(point);
        run.last = message.last;
        return ["runs", "curves"];
      case "scores":
        run.scores = [...message.reset ? [] : run.scores, ...message.rows].sort((a, b) => a.step - b.step);
        return ["runs", "curves", "about"];
      case "stats":
        run.stats = [...message.reset ? [] : run.stats, ...message.rows];
        return ["curves"];
      case "actors":
        run.actors = message.record;
        return ["runs", "actors"]; // how long the run takes yet is among it
      case "rank":
        run.ranks.set(message.record.rank.rank, message.record);
        return ["actors"];
      case "diagnostics":
        run.diagnostics = { ...run.diagnostics, [message.name]: message.value };
        return [message.name === "look" ? "snapshot" : "neighbours"];
      case "gone":
        if (message.name === "rank") run.ranks.delete(message.rank);
        else if (message.name === "record" || message.name === "config" || message.name === "actors") {
          run[message.name] = undefined;
        } else run.diagnostics = { ...run.diagnostics, [message.name]: undefined };
        return EVERYTHING;
    }
  }
}
