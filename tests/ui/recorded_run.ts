/** The folder of a run as `deno task distill` leaves it, made without a run. */
import { join } from "node:path";
import { FolderLock } from "../../data/folder_lock.ts";
import type { ActorsRecord, MetricsRow, RunRecord, StatsRow } from "../../ui/records.ts";
import { makeSprite } from "../../ui/sprite.ts";

/** A folder with records, which is gone when it is disposed of. */
export class RecordedRun implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "seed_recorded_" });
  #lock: FolderLock | undefined = FolderLock.take(this.path);

  /** Writes a record. */
  write(name: string, value: unknown): void {
    const path = join(this.path, name);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    Deno.writeTextFileSync(`${path}.tmp`, JSON.stringify(value));
    Deno.renameSync(`${path}.tmp`, path);
  }

  /** Adds steps to `metrics.jsonl`, with a loss of 8 - 4 step / (step + 100). */
  addSteps(first: number, last: number): void {
    const lines = Array.from(
      { length: last - first + 1 },
      (_, i) => JSON.stringify(stepOf(first + i)) + "\n",
    );
    Deno.writeTextFileSync(join(this.path, "metrics.jsonl"), lines.join(""), { append: true });
  }

  /** Adds rows to `stats.jsonl`, for every tenth step. */
  addStats(first: number, last: number, change: (row: StatsRow) => StatsRow = (row) => row): void {
    const lines: string[] = [];
    for (let step = first; step <= last; step += 10) lines.push(JSON.stringify(change(statsOf(step))) + "\n");
    Deno.writeTextFileSync(join(this.path, "stats.jsonl"), lines.join(""), { append: true });
  }

  /** All that a run of two epochs leaves. */
  async writeAll(changes: Partial<RunRecord> = {}): Promise<void> {
    this.write("config.json", { student_arch: "resnet18", lr: 0.03, batch_size: 32, output: this.path });
    this.write("run.json", { ...recordOf(), ...changes });
    this.write("actors.json", {
      at: new Date().toISOString(),
      actors: ["student_trainer", "tsv_reader 0", "augmenter", "teacher_encoder", "queue_keeper", "evaluator"]
        .map((name, i) => ({
          name,
          busy: name === "student_trainer" ? 0.9 : 0.1 * i,
          waiting: 0.1,
          busyOverall: 0.5,
          waitingOverall: 0.1,
          seconds: 60,
          mailbox: i,
          handled: 10 * (i + 1),
          links: [{ to: "augmenter", credits: 2, queued: 1 }],
        })),
    });
    const scores = [["teacher", 0, 40], ["student", 0, 20], ["student", 200, 30]].map(([of, step, top1]) =>
      JSON.stringify({ of, by: "knn", step, top1, top5: 90 }) + "\n"
    );
    Deno.writeTextFileSync(join(this.path, "scores.jsonl"), scores.join(""));
    this.addStats(10, 200);
    const count = 12;
    const pixels = Uint8Array.from({ length: count * 8 * 8 * 4 }, (_, i) => (i * 37) % 256);
    const views = await makeSprite({ pixels, count, size: 8, isLocal: false }, { side: 96, columns: 5 });
    const curve = Array.from({ length: 40 }, (_, i) => Math.exp(-i) / 1.6);
    const side = { probabilities: curve, histogram: Array.from({ length: 50 }, (_, i) => i), entropy: 1 };
    this.write("insight/look.json", {
      step: 190,
      views,
      similarities: {
        keys: 1024,
        chosen: curve.map((_, i) => i),
        own: 0,
        teacher: side,
        student: side,
        crossEntropy: 2.5,
      },
    });
    const labels = Array.from({ length: count }, (_, i) => i % 3);
    this.write("insight/gallery.json", { data: "images", rows: labels.keys().toArray(), labels, views });
    for (const [name, step] of [["teacher", 0], ["before", 0], ["student", 200]] as const) {
      const neighbours = labels.flatMap((_, place) => [3, 6].map((shift) => (place + shift) % count));
      const points = labels.flatMap((label, place) => [label + place / 50, place / count]);
      this.write(`insight/${name}.json`, {
        step,
        k: 2,
        neighbours,
        similarities: neighbours.map(() => 0.5),
        pca: points,
        umap: points.toReversed(),
      });
    }
  }

  /** Makes it a run of several ranks; all but some of them leave a record, of which rank `r` waits `10 (r + 1)` % of the time. */
  writeRanks(size: number, missing: readonly number[] = []): void {
    const first: ActorsRecord = JSON.parse(Deno.readTextFileSync(join(this.path, "actors.json")));
    const [trainer, reader] = first.actors;
    for (let rank = 0; rank < size; rank++) {
      if (missing.includes(rank)) continue;
      const exchange = {
        ...trainer,
        name: "gradient_exchange",
        busy: 0.05,
        waiting: (rank + 1) / 10,
        links: [],
      };
      const record: ActorsRecord = {
        at: first.at,
        rank: { rank, size, host: `node${rank}`, adapter: "an adapter", images_per_second: 100 + rank },
        actors: rank === 0 ? [...first.actors, exchange] : [reader, trainer, exchange],
      };
      this.write(rank === 0 ? "actors.json" : `actors_rank${rank}.json`, record);
    }
  }

  /** As when its process was killed. */
  kill(): void {
    this.#lock?.[Symbol.dispose]();
    this.#lock = undefined;
  }

  [Symbol.dispose](): void {
    this.kill();
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** A step's row. */
export function stepOf(step: number): MetricsRow {
  return {
    epoch: Math.floor((step - 1) / 100),
    step,
    loss: 8 - 4 * step / (step + 100),
    lr: 0.03,
    images_per_second: 100,
    time: 1_767_000_000 + 3 * step,
  };
}

/** A row of `stats.jsonl`: gradient norms of 3, 4 and 12 over the step, weight norms of 3, 4 and 12. */
export function statsOf(step: number): StatsRow {
  return {
    epoch: Math.floor((step - 1) / 100),
    step,
    time: 1_767_000_000 + 3 * step,
    gradient_norms: { conv1: 3 / step, layer1: 4 / step, fc: 12 / step },
    weight_norms: { conv1: 3, layer1: 4, fc: 12 },
    device_seconds: 0.75,
    device_bytes: 2 ** 30,
    process_bytes: 3 * 2 ** 30,
  };
}

/** A run's record. */
export function recordOf(): RunRecord {
  return {
    task: "distill",
    status: "running",
    command: "deno task distill --output '/tmp/my run'",
    started_at: "2026-01-02T03:04:05.000Z",
    versions: { deno: "2.9.6" },
    hardware: { adapter: "an adapter" },
    inputs: [{ role: "images", path: "/data", fingerprint: "0123456789abcdef0123456789abcdef" }],
    plan: { images: 3200, steps_per_epoch: 100, total_steps: 200, first_step: 0, epochs: 2 },
    results: [{ name: "student after, weighted kNN top-1", value: 30.25, unit: "%" }],
  };
}

/** A record as earlier versions wrote it, of a run that had been resumed. */
export function earlierRecordOf(): Record<string, unknown> {
  const { started_at: startedAt, plan: _, ...rest } = recordOf();
  return {
    ...rest,
    ...{
      startedAt,
      endedAt: "2026-01-02T04:04:05.000Z",
      before: { startedAt: "2026-01-01T00:00:00.000Z", seconds: 9 },
    },
    plan: { pictures: 3200, stepsPerEpoch: 100, totalSteps: 200, firstStep: 0, epochs: 2 },
  };
}
