/** Reads what a run leaves in its folder, from its beginning on and while it grows. */
import { TextLineStream } from "@std/streams/text-line-stream";
import { join } from "node:path";
import { setImmediate } from "node:timers";
import type { GenericSchema } from "valibot";
import { FolderLock } from "../data/folder_lock.ts";
import {
  ACTORS_RECORD,
  CONFIG,
  DIAGNOSTICS,
  METRICS_ROW,
  parseRecord,
  RANK_ACTORS_RECORD,
  RUN_RECORD,
  SCORE_ROW,
  STATS_ROW,
} from "./record_schemas.ts";
import type {
  CurvePoint,
  DiagnosticsRecords,
  EvaluationRecord,
  MetricsRow,
  PageMessage,
  RankActorsRecord,
  RunRecord,
  ScoreRow,
  StatsRow,
} from "./records.ts";

/** Points of a curve that are kept; with twice as many, two become one. */
export const CURVE_POINTS = 10_000;

/** For so many points of the curve a row of `stats.jsonl` is kept: it is longer. */
const POINTS_A_STATS_ROW = 5;

/** A curve that stays small however long the run is: each point is the mean of so many steps. */
export class Curve {
  readonly points: CurvePoint[] = [];
  readonly #most: number;
  #stride = 1;
  #open: MetricsRow[] = [];

  /** @param most points that are kept at least, once there are so many steps */
  constructor(most: number = CURVE_POINTS) {
    this.#most = most;
  }

  /** Takes a step. Returns whether all points have changed. */
  add(row: MetricsRow): boolean {
    this.#open.push(row);
    if (this.#open.length < this.#stride) return false;
    this.points.push(meanOf(this.#open));
    this.#open = [];
    if (this.points.length < 2 * this.#most) return false;
    for (let i = 0; i < this.#most; i++) {
      this.points[i] = mergePoints(this.points[2 * i], this.points[2 * i + 1]);
    }
    this.points.length = this.#most;
    this.#stride *= 2;
    return true;
  }
}

function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

function mergePoints(...points: CurvePoint[]): CurvePoint {
  const [step, , lr, , time] = points.at(-1)!;
  return [step, mean(points.map((point) => point[1])), lr, mean(points.map((point) => point[3])), time];
}

function meanOf(rows: readonly MetricsRow[]): CurvePoint {
  return mergePoints(...rows.map(({ step, loss, lr, images_per_second, time }): CurvePoint => [
    step,
    loss,
    lr,
    images_per_second,
    time ?? null,
  ]));
}

/** Rows that stay few however long the run is: every so many-th of them, the first one among them. */
export class SparseRows<Row> {
  readonly rows: Row[] = [];
  readonly #most: number;
  #stride = 1;
  #count = 0;

  /** @param most rows that are kept at least, once there are so many */
  constructor(most: number) {
    this.#most = most;
  }

  /** Takes a row. Returns whether others have gone. */
  add(row: Row): boolean {
    if (this.#count++ % this.#stride !== 0) return false;
    this.rows.push(row);
    if (this.rows.length < 2 * this.#most) return false;
    for (let i = 0; i < this.#most; i++) this.rows[i] = this.rows[2 * i];
    this.rows.length = this.#most;
    this.#stride *= 2;
    return true;
  }
}

const NEWLINE = 10;

/** Lets the bytes of a file pass, and notes which chunks end how many lines. */
class LineEnds extends TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  /** Chunks with ends of lines: how many, and where in the file the last of them is. Whoever takes the lines takes it away. */
  readonly chunks: { lines: number; end: number }[] = [];

  /** @param offset where in the file the bytes begin */
  constructor(offset: number) {
    super({
      transform: (chunk, controller) => {
        let lines = 0;
        let end = 0;
        for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, end)) {
          lines++;
          end = at + 1;
        }
        if (lines > 0) this.chunks.push({ lines, end: offset + end });
        offset += chunk.length;
        controller.enqueue(chunk);
      },
    });
  }
}

/** Lines of a file that grows. */
interface NewLines {
  lines: string[];
  /** Lines before them. */
  known: number;
  /** Whether what was read before no longer counts. */
  restarted: boolean;
}

/** The complete lines of a file that grows. A file that was made anew is read from its beginning. */
class LineTail {
  readonly #path: string;
  /** Where the line begins that was not complete. */
  #offset = 0;
  #inode: number | null = null;
  /** Lines that were read before. */
  #known = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** What is new, part by part. Between two parts whatever else the process has to do gets its turn, as it may be a run. */
  async *read(): AsyncGenerator<NewLines> {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(this.#path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      if (this.#restart(null)) yield { lines: [], known: 0, restarted: true };
      return;
    }
    using _ = file;
    const { size, ino } = await file.stat();
    if ((ino !== this.#inode || size < this.#offset) && this.#restart(ino)) {
      yield { lines: [], known: 0, restarted: true };
    }
    await file.seek(this.#offset, Deno.SeekMode.Start);
    const ends = new LineEnds(this.#offset);
    const text = file.readable.pipeThrough(ends).pipeThrough(new TextDecoderStream());
    let lines: string[] = [];
    for await (const line of text.pipeThrough(new TextLineStream())) {
      const [chunk] = ends.chunks;
      if (chunk === undefined) return; // the last line has no end yet
      lines.push(line);
      if (lines.length < chunk.lines) continue;
      ends.chunks.shift();
      const known = this.#known;
      this.#offset = chunk.end;
      this.#known += lines.length;
      yield { lines, known, restarted: false };
      lines = [];
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  #restart(inode: number | null): boolean {
    const hadRead = this.#offset > 0;
    this.#inode = inode;
    this.#offset = 0;
    this.#known = 0;
    return hadRead;
  }
}

/** Takes a sentence that names what could not be read, and says what was expected there and found. */
export type PassOver = (sentence: string) => void;

/** A file that is replaced as a whole. One that cannot be read is passed over, with one sentence until it can. */
class WholeFile<T> {
  readonly #path: string;
  readonly #schema: GenericSchema<unknown, T>;
  readonly #passOver: PassOver;
  #version = "";
  #hasSaid = false;

  constructor(path: string, schema: GenericSchema<unknown, T>, passOver: PassOver) {
    this.#path = path;
    this.#schema = schema;
    this.#passOver = passOver;
  }

  /** What is in it, where that is not what was there before; `null` where it has gone. */
  async read(): Promise<T | null | undefined> {
    try {
      const { mtime, size, ino } = await Deno.stat(this.#path);
      const version = `${mtime?.getTime()} ${size} ${ino}`;
      if (version === this.#version) return undefined;
      const { value, problem } = parseRecord(this.#schema, await Deno.readTextFile(this.#path));
      this.#version = version;
      if (problem !== undefined) return this.#say(problem);
      this.#hasSaid = false;
      return value;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) {
        if (this.#version === "") return undefined; // not there yet
        this.#version = "";
        this.#hasSaid = false;
        return null;
      }
      return this.#say((error as Error).message); // a folder, or not permitted: it may be readable later
    }
  }

  #say(problem: string): undefined {
    if (!this.#hasSaid) this.#passOver(`${this.#path} is ignored: ${problem}`);
    this.#hasSaid = true;
  }
}

/** The rows of a file that grows. Lines that are none are passed over, with one sentence for all that are new. */
class RowTail<Row> {
  readonly #path: string;
  readonly #schema: GenericSchema<unknown, Row>;
  readonly #passOver: PassOver;
  readonly #lines: LineTail;
  #hasSaid = false;

  constructor(path: string, schema: GenericSchema<unknown, Row>, passOver: PassOver) {
    this.#path = path;
    this.#schema = schema;
    this.#passOver = passOver;
    this.#lines = new LineTail(path);
  }

  /** What is new, part by part; `restarted` where what was read before no longer counts. */
  async *read(): AsyncGenerator<{ rows: Row[]; restarted: boolean }> {
    let problem: string | undefined;
    let more = 0;
    try {
      for await (const { lines, known, restarted } of this.#lines.read()) {
        if (restarted) this.#hasSaid = false;
        const rows: Row[] = [];
        for (const [i, line] of lines.entries()) {
          const reading = parseRecord(this.#schema, line);
          if (reading.problem === undefined) rows.push(reading.value);
          else if (problem !== undefined) more++;
          else problem = `${this.#path} line ${known + i + 1} is ignored: ${reading.problem}`;
        }
        if (rows.length > 0 || restarted) yield { rows, restarted };
      }
    } catch (error) {
      // A folder, or not permitted: it may be readable later.
      problem ??= `${this.#path} is ignored: ${(error as Error).message}`;
    }
    if (problem === undefined || this.#hasSaid) return;
    this.#passOver(problem + (more > 0 ? `, and ${more} more` : ""));
    this.#hasSaid = true;
  }
}

/** How a run stands, by its `run.json` and by whether anybody has its folder. */
class StatusFile {
  readonly #folder: string;
  readonly #file: WholeFile<RunRecord>;
  #record: RunRecord | undefined;

  constructor(folder: string, passOver: PassOver) {
    this.#folder = folder;
    this.#file = new WholeFile(join(folder, "run.json"), RUN_RECORD, passOver);
  }

  /** The record, where it is not what it was before. A run that was killed had no time to say so itself. */
  async read(): Promise<RunRecord | null | undefined> {
    let news = await this.#file.read();
    this.#record = news === null ? undefined : news ?? this.#record;
    if (this.#record?.status !== "running" || FolderLock.isHeld(this.#folder)) return news;
    // Its end may have been written between the two looks.
    news = await this.#file.read();
    if (news === null) {
      this.#record = undefined;
      return null;
    }
    return this.#record = news?.status === "running" || news === undefined
      ? { ...news ?? this.#record, status: "interrupted" }
      : news;
  }
}

/** How the actors of a rank beside the first one stand. */
const RANK_FILE = /^actors_rank\d+\.json$/;

const warn: PassOver = (sentence) => console.error(`warning: ${sentence}`);

/** What is in a file that is replaced as a whole. */
type WholeName = "record" | "config" | "actors" | keyof DiagnosticsRecords;

/** One run's folder. */
export class RunReader {
  readonly folder: string;
  readonly #run: number;
  readonly #passOver: PassOver;
  readonly #metrics: RowTail<MetricsRow>;
  readonly #scores: RowTail<ScoreRow>;
  readonly #stats: RowTail<StatsRow>;
  readonly #wholes: readonly { name: WholeName; read: () => Promise<PageMessage | null | undefined> }[];
  /** Records of evaluations in this folder, by the names of theirs. */
  readonly #evaluations = new Map<string, { file: StatusFile; record?: RunRecord }>();
  /** How the actors of ranks beside the first one stand, by the names of their files. */
  readonly #ranks = new Map<string, WholeFile<RankActorsRecord>>();
  /** What there is, by what it replaces. */
  readonly #newest = new Map<string, PageMessage>();
  readonly #points: number;
  #curve: Curve;
  #scoreRows: ScoreRow[] = [];
  #statsRows: SparseRows<StatsRow>;
  #last: MetricsRow | null = null;

  /**
   * @param run its number on the page
   * @param passOver is told of what cannot be read; by default that is a warning
   * @param points of its curve that are kept at least, once there are so many steps
   */
  constructor(
    folder: string,
    run: number,
    { passOver = warn, points = CURVE_POINTS }: { passOver?: PassOver; points?: number } = {},
  ) {
    this.folder = folder;
    this.#points = points;
    this.#curve = new Curve(points);
    this.#statsRows = new SparseRows(Math.ceil(points / POINTS_A_STATS_ROW));
    this.#run = run;
    this.#passOver = passOver;
    this.#metrics = new RowTail(join(folder, "metrics.jsonl"), METRICS_ROW, passOver);
    this.#scores = new RowTail(join(folder, "scores.jsonl"), SCORE_ROW, passOver);
    this.#stats = new RowTail(join(folder, "stats.jsonl"), STATS_ROW, passOver);
    const whole = <T>(
      name: WholeName,
      file: { read(): Promise<T | null | undefined> },
      message: (value: T) => PageMessage,
    ) => ({
      name,
      async read() {
        const value = await file.read();
        if (value === null) return null;
        return value === undefined ? undefined : message(value);
      },
    });
    const file = <T>(name: string, schema: GenericSchema<unknown, T>) =>
      new WholeFile(join(folder, name), schema, passOver);
    this.#wholes = [
      whole("record", new StatusFile(folder, passOver), (record) => ({ kind: "record", run, record })),
      whole("config", file("config.json", CONFIG), (config) => ({ kind: "config", run, config })),
      whole("actors", file("actors.json", ACTORS_RECORD), (record) => ({ kind: "actors", run, record })),
      ...(["gallery", "teacher", "before", "student", "look"] as const).map((name) =>
        whole(
          name,
          file<DiagnosticsRecords[keyof DiagnosticsRecords]>(
            join("insight", `${name}.json`),
            DIAGNOSTICS[name],
          ),
          (value) => ({ kind: "diagnostics", run, name, value }),
        )
      ),
    ];
  }

  /** What has changed since the last time; at first, all there is. */
  async poll(): Promise<PageMessage[]> {
    const messages: PageMessage[] = [];
    for (const { name, read } of this.#wholes) {
      const news = await read();
      if (news === undefined) continue;
      if (news === null) this.#newest.delete(name);
      else this.#newest.set(name, news);
      messages.push(news ?? { kind: "gone", run: this.#run, name });
    }
    const entries = await Array.fromAsync(Deno.readDir(this.folder)).catch(() => []);
    messages.push(...await this.#pollRanks(entries));
    const evaluations = await this.#pollEvaluations(entries);
    if (evaluations !== undefined) {
      const news: PageMessage = { kind: "evaluations", run: this.#run, evaluations };
      this.#newest.set(news.kind, news);
      messages.push(news);
    }
    messages.push(...await this.#pollMetrics(), ...await this.#pollScores(), ...await this.#pollStats());
    return messages;
  }

  async #pollMetrics(): Promise<PageMessage[]> {
    const known = this.#curve.points.length;
    let [isNew, reset] = [false, false];
    for await (const { rows, restarted } of this.#metrics.read()) {
      isNew = true;
      if (restarted) {
        this.#curve = new Curve(this.#points);
        this.#last = null;
        reset = true;
      }
      for (const row of rows) {
        reset = this.#curve.add(row) || reset;
        this.#last = row;
      }
    }
    if (!isNew) return [];
    const points = reset ? this.#curve.points : this.#curve.points.slice(known);
    return [{ kind: "metrics", run: this.#run, reset, points, last: this.#last }];
  }

  async #pollScores(): Promise<PageMessage[]> {
    const added: ScoreRow[] = [];
    let [isNew, reset] = [false, false];
    for await (const { rows, restarted } of this.#scores.read()) {
      isNew = true;
      if (restarted) [this.#scoreRows, reset] = [[], true];
      for (const row of rows) added.push(row);
    }
    if (!isNew) return [];
    this.#scoreRows = [...this.#scoreRows, ...added];
    return [{ kind: "scores", run: this.#run, reset, rows: added }];
  }

  async #pollStats(): Promise<PageMessage[]> {
    const known = this.#statsRows.rows.length;
    let [isNew, reset] = [false, false];
    for await (const { rows, restarted } of this.#stats.read()) {
      isNew = true;
      if (restarted) {
        this.#statsRows = new SparseRows(Math.ceil(this.#points / POINTS_A_STATS_ROW));
        reset = true;
      }
      for (const row of rows) reset = this.#statsRows.add(row) || reset;
    }
    if (!isNew) return [];
    const rows = reset ? this.#statsRows.rows : this.#statsRows.rows.slice(known);
    return [{ kind: "stats", run: this.#run, reset, rows }];
  }

  /** What ranks beside the first one tell anew. */
  async #pollRanks(entries: readonly Deno.DirEntry[]): Promise<PageMessage[]> {
    const news: PageMessage[] = [];
    const names = new Set([...this.#ranks.keys(), ...entries.map(({ name }) => name)]);
    for (const name of names) {
      if (!RANK_FILE.test(name)) continue;
      const file = this.#ranks.get(name) ??
        new WholeFile(join(this.folder, name), RANK_ACTORS_RECORD, this.#passOver);
      this.#ranks.set(name, file);
      const record = await file.read();
      if (record === undefined) continue;
      const known = this.#newest.get(name);
      if (record === null) {
        this.#newest.delete(name);
        this.#ranks.delete(name);
        if (known?.kind === "rank") {
          news.push({ kind: "gone", run: this.#run, name: "rank", rank: known.record.rank.rank });
        }
        continue;
      }
      const message: PageMessage = { kind: "rank", run: this.#run, record };
      this.#newest.set(name, message);
      news.push(message);
    }
    return news;
  }

  /** The evaluations, where one has changed. */
  async #pollEvaluations(entries: readonly Deno.DirEntry[]): Promise<EvaluationRecord[] | undefined> {
    let hasChanged = false;
    const folders = new Set(entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name));
    for (const [name, { record }] of this.#evaluations) {
      if (folders.has(name)) continue;
      this.#evaluations.delete(name);
      hasChanged ||= record !== undefined;
    }
    for (const name of folders) {
      const known = this.#evaluations.get(name) ??
        { file: new StatusFile(join(this.folder, name), this.#passOver) };
      this.#evaluations.set(name, known);
      const record = await known.file.read();
      if (record === undefined) continue;
      known.record = record ?? undefined;
      hasChanged = true;
    }
    if (!hasChanged) return undefined;
    return [...this.#evaluations].flatMap(([name, { record }]) =>
      record === undefined ? [] : [{ name, record }]
    )
      .sort((a, b) => a.record.started_at < b.record.started_at ? -1 : 1);
  }

  /** All there is, as of the last {@linkcode poll}: for somebody who comes later. */
  everything(): PageMessage[] {
    const run = this.#run;
    return [
      ...this.#newest.values(),
      { kind: "metrics", run, reset: true, points: this.#curve.points, last: this.#last },
      { kind: "scores", run, reset: true, rows: this.#scoreRows },
      { kind: "stats", run, reset: true, rows: this.#statsRows.rows },
    ];
  }
}
