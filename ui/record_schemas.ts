/** What the records of a run must look like to be read. The types are in `records.ts`; neither compiles without the other. */
import * as v from "valibot";
import type { QueueView, SimilarityMap } from "../models/similarity_map.ts";
import type {
  ActorRecord,
  ActorsRecord,
  DiagnosticsRecords,
  MetricsRow,
  NeighboursRecord,
  ProbeSetRecord,
  RankActorsRecord,
  RankRecord,
  RunFigure,
  RunInput,
  RunRecord,
  ScoreRow,
  SnapshotRecord,
  Sprite,
  StatsRow,
} from "./records.ts";

/** A schema for each field of a type. */
type Fields<T> = { [Name in keyof T]-?: v.GenericSchema<unknown, T[Name]> };

const NUMBER = v.pipe(v.number(), v.finite());
const COUNT = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const NUMBERS = v.array(NUMBER);
const COUNTS = v.array(COUNT);
const TEXTS = v.record(v.string(), v.string());

const INPUT = v.object(
  { role: v.string(), path: v.string(), fingerprint: v.optional(v.string()) } satisfies Fields<RunInput>,
);
const FIGURE = v.object(
  { name: v.string(), value: v.nullable(NUMBER), unit: v.string() } satisfies Fields<RunFigure>,
);

/** What some fields of `run.json` were called before, and are read by still. */
const EARLIER_NAMES: Readonly<Record<string, string>> = {
  startedAt: "started_at",
  endedAt: "ended_at",
  pictures: "images",
  stepsPerEpoch: "steps_per_epoch",
  totalSteps: "total_steps",
  firstStep: "first_step",
};

/** A record with today's names. */
function withTodaysNames(value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const isNested = (name: string) => name === "plan" || name === "before";
  return Object.fromEntries(
    Object.entries(value).map(([name, part]) => [
      EARLIER_NAMES[name] ?? name,
      isNested(name) ? withTodaysNames(part) : part,
    ]),
  );
}

/** Of `run.json`. */
export const RUN_RECORD = v.pipe(
  v.unknown(),
  v.transform(withTodaysNames),
  v.object(
    {
      task: v.string(),
      status: v.picklist(["running", "finished", "interrupted", "failed"]),
      error: v.optional(v.string()),
      command: v.string(),
      started_at: v.string(),
      ended_at: v.optional(v.string()),
      seconds: v.optional(NUMBER),
      before: v.optional(v.object({ started_at: v.string(), seconds: NUMBER })),
      versions: TEXTS,
      hardware: TEXTS,
      inputs: v.array(INPUT),
      plan: v.optional(
        v.object({
          images: COUNT,
          steps_per_epoch: COUNT,
          total_steps: COUNT,
          first_step: COUNT,
          extra_steps: v.optional(v.pipe(NUMBER, v.safeInteger())),
          epochs: COUNT,
          knn: v.optional(v.nullable(v.object({ bank: COUNT, queries: COUNT, held_out: v.boolean() }))),
        }),
      ),
      results: v.optional(v.array(FIGURE)),
    } satisfies Fields<RunRecord>,
  ),
);

/** Of a row of `metrics.jsonl`. */
export const METRICS_ROW = v.object(
  {
    epoch: COUNT,
    step: COUNT,
    loss: v.nullable(NUMBER),
    lr: NUMBER,
    images_per_second: v.nullable(NUMBER),
    time: v.optional(NUMBER),
    loss_scale: v.optional(NUMBER),
    skipped_steps: v.optional(COUNT),
  } satisfies Fields<MetricsRow>,
);

/** Of a row of `scores.jsonl`. */
export const SCORE_ROW = v.object(
  {
    of: v.picklist(["teacher", "student"]),
    by: v.picklist(["knn", "linear", "finetune"]),
    step: COUNT,
    top1: NUMBER,
    top5: NUMBER,
    lr: v.optional(NUMBER),
    held_out: v.optional(v.boolean()),
  } satisfies Fields<ScoreRow>,
);

const NORMS = v.record(v.string(), v.nullable(NUMBER));

/** Of a row of `stats.jsonl`. */
export const STATS_ROW = v.object(
  {
    epoch: COUNT,
    step: COUNT,
    time: NUMBER,
    gradient_norms: NORMS,
    weight_norms: NORMS,
    device_seconds: v.optional(NUMBER),
    device_bytes: COUNT,
    process_bytes: COUNT,
  } satisfies Fields<StatsRow>,
);

const ACTOR = v.object(
  {
    name: v.string(),
    busy: NUMBER,
    waiting: NUMBER,
    busyOverall: NUMBER,
    waitingOverall: NUMBER,
    seconds: v.optional(NUMBER),
    mailbox: COUNT,
    handled: COUNT,
    links: v.array(v.object({ to: v.string(), credits: NUMBER, queued: COUNT })),
  } satisfies Fields<ActorRecord>,
);

const RANK = v.object(
  {
    rank: COUNT,
    size: COUNT,
    host: v.string(),
    adapter: v.string(),
    images_per_second: v.nullable(NUMBER),
  } satisfies Fields<RankRecord>,
);

/** Of `actors.json`. */
export const ACTORS_RECORD = v.object(
  {
    at: v.string(),
    rank: v.optional(RANK),
    seconds_left: v.optional(NUMBER),
    actors: v.array(ACTOR),
  } satisfies Fields<ActorsRecord>,
);

/** Of `actors_rank1.json` and its like. */
export const RANK_ACTORS_RECORD = v.object(
  {
    at: v.string(),
    rank: RANK,
    seconds_left: v.optional(NUMBER),
    actors: v.array(ACTOR),
  } satisfies Fields<RankActorsRecord>,
);

/** Of `config.json`: its settings are those of the version that wrote it. */
export const CONFIG = v.record(v.string(), v.unknown());

const SPRITE = v.object({ url: v.string(), count: COUNT, columns: COUNT } satisfies Fields<Sprite>);
const QUEUE_VIEW = v.object(
  { probabilities: NUMBERS, histogram: NUMBERS, entropy: NUMBER } satisfies Fields<QueueView>,
);
const SIMILARITIES = v.object(
  {
    keys: COUNT,
    chosen: COUNTS,
    own: NUMBER,
    teacher: QUEUE_VIEW,
    student: QUEUE_VIEW,
    crossEntropy: NUMBER,
  } satisfies Fields<SimilarityMap>,
);
const LOOK = v.object(
  { step: COUNT, views: SPRITE, similarities: SIMILARITIES } satisfies Fields<SnapshotRecord>,
);
const PROBE_SET = v.object(
  {
    data: v.string(),
    rows: COUNTS,
    labels: NUMBERS,
    classNames: v.optional(v.array(v.string())),
    views: SPRITE,
  } satisfies Fields<ProbeSetRecord>,
);
const SURVEY = v.object(
  {
    step: COUNT,
    k: COUNT,
    neighbours: COUNTS,
    similarities: NUMBERS,
    pca: NUMBERS,
    umap: v.nullable(NUMBERS),
  } satisfies Fields<NeighboursRecord>,
);

/** Of the files in `insight/`. */
export const DIAGNOSTICS = {
  gallery: PROBE_SET,
  teacher: SURVEY,
  before: SURVEY,
  student: SURVEY,
  look: LOOK,
} satisfies Fields<DiagnosticsRecords>;

/** A type whose every value the schema takes. */
type Taken<Schema extends v.GenericSchema, T extends v.InferOutput<Schema>> = [Schema, T];

/** Does not compile where a schema takes less than its type has. */
export type SchemasTakeAll = [
  Taken<typeof RUN_RECORD, RunRecord>,
  Taken<typeof METRICS_ROW, MetricsRow>,
  Taken<typeof SCORE_ROW, ScoreRow>,
  Taken<typeof STATS_ROW, StatsRow>,
  Taken<typeof ACTORS_RECORD, ActorsRecord>,
  Taken<typeof RANK_ACTORS_RECORD, RankActorsRecord>,
];

/** What was read, or why it was not: `expected ..., found ...`. */
export type Reading<T> = { value: T; problem?: undefined } | { value?: undefined; problem: string };

/** Characters of what was found that a message shows. */
const SHOWN = 40;

function shorten(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text;
}

/** What valibot names by its class, as a reader of JSON knows it. */
const NAMES: Record<string, string> = { Object: "an object", Array: "a list", undefined: "nothing" };

/** What valibot asks for without saying it in words. */
const NUMBER_KINDS: Record<string, string> = { finite: "a finite number", safe_integer: "a safe integer" };

/** Says what the first issue is: what was expected, what was found, and in which field. */
function describeIssue({ type, expected, received, path }: v.BaseIssue<unknown>): string {
  const field = path?.map(({ key }) => key).join(".");
  if (field !== undefined && received === "undefined") return `expected a field ${field}, found none`;
  const wanted = NUMBER_KINDS[type] ?? NAMES[expected ?? type] ?? expected;
  const found = NAMES[received] ?? shorten(received);
  return `expected ${wanted}, found ${found}${field === undefined ? "" : ` in the field ${field}`}`;
}

/** Reads JSON text as a record, which is an object. */
export function parseRecord<T>(schema: v.GenericSchema<unknown, T>, text: string): Reading<T> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: `expected JSON, found ${shorten(text.trim()) || "nothing"}` };
  }
  // To valibot a list is an object too.
  if (Array.isArray(value)) return { problem: "expected an object, found a list" };
  const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true });
  return success ? { value: output } : { problem: describeIssue(issues[0]) };
}
