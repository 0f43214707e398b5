/** Reads what a run leaves in its folder, from its beginning on and while it grows. */
import { join } from "node:path";
import { FolderLock } from "../data/folder_lock.ts";
import type {
  CurvePoint,
  EvaluationRecord,
  InsightRecords,
  MetricsRow,
  PageMessage,
  RunRecord,
  ScoreRow,
} from "./records.ts";

/** Points of a curve that are kept; with twice as many, two become one. */
const CURVE_POINTS = 10_000;

const INSIGHTS: readonly (keyof InsightRecords)[] = ["gallery", "teacher", "before", "student", "look"];

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
  const [step, lr] = [points.at(-1)![0], points.at(-1)![2]];
  return [step, mean(points.map((point) => point[1])), lr, mean(points.map((point) => point[3]))!];
}

function meanOf(rows: readonly MetricsRow[]): CurvePoint {
  return mergePoints(...rows.map(({ step, loss, lr, images_per_second }): CurvePoint => [
    step,
    loss,
    lr,
    images_per_second,
  ]));
}

/** Bytes that are read at a time. */
const CHUNK = 1 << 20;

/** The complete lines of a file that grows. A file that was made anew is read from its beginning. */
class LineTail {
  readonly #path: string;
  readonly #decoder = new TextDecoder();
  #offset = 0;
  #inode: number | null = null;
  #rest = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** What is new; `restarted` where what was read before no longer counts. */
  async read(): Promise<{ lines: string[]; restarted: boolean }> {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(this.#path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return { lines: [], restarted: this.#restart(null) };
      throw error;
    }
    using _ = file;
    const { size, ino } = await file.stat();
    const restarted = (ino !== this.#inode || size < this.#offset) && this.#restart(ino);
    await file.seek(this.#offset, Deno.SeekMode.Start);
    const buffer = new Uint8Array(CHUNK);
    const lines: string[] = [];
    for (let count; (count = await file.read(buffer)) !== null;) {
      this.#offset += count;
      const parts = (this.#rest + this.#decoder.decode(buffer.subarray(0, count), { stream: true })).split(
        "\n",
      );
      this.#rest = parts.pop()!;
      lines.push(...parts);
    }
    return { lines, restarted };
  }

  #restart(inode: number | null): boolean {
    const hadRead = this.#offset > 0;
    this.#inode = inode;
    this.#offset = 0;
    this.#rest = "";
    this.#decoder.decode(); // forgets half a letter
    return hadRead;
  }
}

/** A file that is replaced as a whole. */
class WholeFile {
  readonly #path: string;
  #version = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** What is in it, where that is not what was there before. */
  async read(): Promise<unknown | undefined> {
    try {
      const { mtime, size, ino } = await Deno.stat(this.#path);
      const version = `${mtime?.getTime()} ${size} ${ino}`;
      if (version === this.#version) return undefined;
      const value = JSON.parse(await Deno.readTextFile(this.#path));
      this.#version = version;
      return value;
    } catch (error) {
      // Not there yet, or somebody's own file: there is nothing to show of it.
      if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
}

function parseRows<Row>(lines: readonly string[]): Row[] {
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as Row];
    } catch {
      return []; // a line that a crash left half written
    }
  });
}

/** A run that was killed had no time to say so: nobody has its folder any more. */
function asItEnded(folder: string, record: RunRecord): RunRecord {
  return record.status === "running" && !FolderLock.isHeld(folder)
    ? { ...record, status: "interrupted" }
    : record;
}

/** One run's folder. */
export class RunReader {
  readonly folder: string;
  readonly #run: number;
  readonly #metrics: LineTail;
  readonly #scores: LineTail;
  readonly #wholes: readonly (readonly [file: WholeFile, message: (value: unknown) => PageMessage])[];
  /** Records of evaluations in this folder, by the names of theirs. */
  readonly #evaluations = new Map<string, { file: WholeFile; record?: RunRecord }>();
  /** What there is, by what it replaces. */
  readonly #newest = new Map<string, PageMessage>();
  #curve = new Curve();
  #scoreRows: ScoreRow[] = [];
  #last: MetricsRow | null = null;

  /** @param run its number on the page */
  constructor(folder: string, run: number) {
    this.folder = folder;
    this.#run = run;
    this.#metrics = new LineTail(join(folder, "metrics.jsonl"));
    this.#scores = new LineTail(join(folder, "scores.jsonl"));
    const whole = (name: string, message: (value: unknown) => unknown) =>
      [new WholeFile(join(folder, name)), message as (value: unknown) => PageMessage] as const;
    this.#wholes = [
      whole(
        "run.json",
        (record) => ({ kind: "record", run, record: asItEnded(folder, record as RunRecord) }),
      ),
      whole("config.json", (config) => ({ kind: "config", run, config })),
      whole("actors.json", (record) => ({ kind: "actors", run, record })),
      ...INSIGHTS.map((name) =>
        whole(join("insight", `${name}.json`), (value) => ({ kind: "insight", run, name, value }))
      ),
    ];
  }

  /** What has changed since the last time; at first, all there is. */
  async poll(): Promise<PageMessage[]> {
    const messages: PageMessage[] = [];
    for (const [file, message] of this.#wholes) {
      const value = await file.read();
      if (value === undefined) continue;
      const news = message(value);
      this.#newest.set(news.kind === "insight" ? news.name : news.kind, news);
      messages.push(news);
    }
    const evaluations = await this.#pollEvaluations();
    if (evaluations !== undefined) {
      const news: PageMessage = { kind: "evaluations", run: this.#run, evaluations };
      this.#newest.set(news.kind, news);
      messages.push(news);
    }
    const { lines, restarted } = await this.#metrics.read();
    if (restarted) {
      this.#curve = new Curve();
      this.#last = null;
    }
    const known = this.#curve.points.length;
    let reset = restarted;
    for (const row of parseRows<MetricsRow>(lines)) {
      reset = this.#curve.add(row) || reset;
      this.#last = row;
    }
    if (lines.length > 0 || restarted) {
      const points = reset ? this.#curve.points : this.#curve.points.slice(known);
      messages.push({ kind: "metrics", run: this.#run, reset, points, last: this.#last });
    }
    const scores = await this.#scores.read();
    if (scores.lines.length > 0 || scores.restarted) {
      const rows = parseRows<ScoreRow>(scores.lines);
      this.#scoreRows = scores.restarted ? rows : [...this.#scoreRows, ...rows];
      messages.push({ kind: "scores", run: this.#run, reset: scores.restarted, rows });
    }
    return messages;
  }

  /** The evaluations, where one has changed. */
  async #pollEvaluations(): Promise<EvaluationRecord[] | undefined> {
    let hasChanged = false;
    for (const { name, isDirectory } of await Array.fromAsync(Deno.readDir(this.folder)).catch(() => [])) {
      if (!isDirectory) continue;
      const known = this.#evaluations.get(name) ??
        { file: new WholeFile(join(this.folder, name, "run.json")) };
      this.#evaluations.set(name, known);
      const record = await known.file.read() as RunRecord | undefined;
      if (record === undefined) continue;
      known.record = asItEnded(join(this.folder, name), record);
      hasChanged = true;
    }
    if (!hasChanged) return undefined;
    return [...this.#evaluations].flatMap(([name, { record }]) =>
      record === undefined ? [] : [{ name, record }]
    )
      .sort((a, b) => a.record.startedAt < b.record.startedAt ? -1 : 1);
  }

  /** All there is, as of the last {@linkcode poll}: for somebody who comes later. */
  everything(): PageMessage[] {
    const run = this.#run;
    return [
      ...this.#newest.values(),
      { kind: "metrics", run, reset: true, points: this.#curve.points, last: this.#last },
      { kind: "scores", run, reset: true, rows: this.#scoreRows },
    ];
  }
}
