/// <reference lib="dom" />
/** All that the page knows, and how it learns more. */
import type {
  ActorsRecord,
  CurvePoint,
  DiagnosticsRecords,
  EvaluationRecord,
  MetricsRow,
  PageMessage,
  RunRecord,
  ScoreRow,
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
  actors?: ActorsRecord;
  diagnostics: Partial<DiagnosticsRecords>;
  /** Whether it is among the curves. */
  isShown: boolean;
}

/** Parts of the page that show different things. */
export type Topic = "runs" | "curves" | "actors" | "snapshot" | "neighbours" | "about";

/** Everything. */
export class State {
  runs: Run[] = [];
  /** Number of the run that is looked into. */
  focus = 0;
  /** Whether news may come. */
  isLive = false;
  /** Whether the one who tells the news is there. */
  isConnected = true;
  /** Why the program tells no news, where it says so. */
  refusal: string | undefined;

  /** The run that is looked into. */
  get run(): Run | undefined {
    return this.runs[this.focus];
  }

  /** Takes news in, and says what has to be shown anew. */
  apply(message: PageMessage): Topic[] {
    if (message.kind === "runs") {
      const { names, isLive } = message;
      this.isLive = isLive;
      if (names.join("\n") === this.runs.map(({ name }) => name).join("\n")) return ["runs"];
      this.runs = names.map((name) => ({
        name,
        points: [],
        last: null,
        scores: [],
        evaluations: [],
        diagnostics: {},
        isShown: true,
      }));
      this.focus = 0;
      return ["runs", "curves", "actors", "snapshot", "neighbours", "about"];
    }
    const run = this.runs[message.run];
    switch (message.kind) {
      case "record":
        run.record = message.record;
        return ["runs", "about"];
      case "evaluations":
        run.evaluations = message.evaluations;
        return ["about"];
      case "config":
        run.config = message.config;
        return ["about"];
      case "metrics":
        if (message.reset) run.points = [];
        for (const point of message.points) run.points.push(point);
        run.last = message.last;
        return ["runs", "curves"];
      case "scores":
        run.scores = [...message.reset ? [] : run.scores, ...message.rows].sort((a, b) => a.step - b.step);
        return ["curves"];
      case "actors":
        run.actors = message.record;
        return ["actors"];
      case "diagnostics":
        run.diagnostics = { ...run.diagnostics, [message.name]: message.value };
        return [message.name === "look" ? "snapshot" : "neighbours"];
    }
  }
}
