/** What can be seen of a distillation besides its numbers: its events for pages, reports and programs. */
import { Random } from "../data/random.ts";
import { type ActorModules, actorUrl } from "./catalog.ts";
import type { Emit } from "./events.ts";
import type { ProbeSetNeighbours, Projector, ViewSample } from "./messages.ts";
import type projector from "./projector.ts";
import type { ActorCrash, ActorSystem, Restart, Supervised, Supervisor } from "./runtime/mod.ts";

/** Images in the probe set at most, and neighbours of each that are found. */
export const PROBE_SET = { images: 200, neighbours: 8 };

/** Returns how many images of some data are in the probe set; broken ones included. */
export function countProbes(rowCount: number): number {
  return Math.min(rowCount, PROBE_SET.images);
}

/** Between two snapshots of the training. */
const SNAPSHOT_EVERY_MS = 5_000;

/** After three crashes within this time, in ms, there are no more maps. */
const MAP_CRASHES_WITHIN_MS = 10 * 60_000;

/** Images on which teacher and student are compared. */
export interface ProbeSet {
  /** File or folder of the images. */
  data: string;
  /** Row numbers of the images, n of them. */
  rows: number[];
  /** Their labels; -1 where there are none. */
  labels: number[];
  /** Names of the labels, where the data has them. */
  classNames?: readonly string[];
  /** The images as the encoders see them, n of them. */
  views: ViewSample;
}

/** Nearest neighbours in the probe set by the features of the teacher or the student. */
export interface NeighboursReport extends Pick<ProbeSetNeighbours, "neighbours" | "similarities" | "k"> {
  /** Encoder that the features are from. */
  of: "teacher" | "student";
  /** Steps that the student had been trained. */
  step: number;
  /** Whether they are the student's as the run began with it; left out for others. */
  isBeginning?: boolean;
  /** Features projected to two dimensions, float32 [n, 2]. */
  maps: { pca: Float32Array<ArrayBuffer>; umap: Float32Array<ArrayBuffer> | null };
}

/** Events about a probe set. */
export type ProbeSetEvents =
  /** The images that teacher and student are compared by are known; before any neighbours. */
  | ({ type: "probe-set" } & ProbeSet)
  /** Nearest neighbours in the probe set by one of them. */
  | ({ type: "neighbours" } & NeighboursReport);

/** Says when it is time for a snapshot of the training. */
export class SnapshotClock {
  #lookedAt = -Infinity;

  /** Whether it is time for one; it is counted as taken then. */
  isDue(): boolean {
    const now = performance.now();
    if (now - this.#lookedAt < SNAPSHOT_EVERY_MS) return false;
    this.#lookedAt = now;
    return true;
  }
}

/** Tells of nearest neighbours, with maps. */
export class NeighboursReporter {
  readonly #emit: Emit<ProbeSetEvents>;
  readonly #data: { path: string; classNames?: readonly string[] };
  readonly #seed: number;
  readonly #supervisor: Supervisor;
  readonly #projector: Supervised<Projector>;

  /** @param data where the probe set's images are */
  constructor(
    system: ActorSystem,
    { data, seed, actors, emit, onRestart, onGiveUp }: {
      data: { path: string; classNames?: readonly string[] };
      seed: number;
      actors?: ActorModules;
      emit: Emit<ProbeSetEvents>;
      onRestart(restart: Restart): void;
      /** There will be no more maps, and the run goes on. */
      onGiveUp(crash: ActorCrash): void;
    },
  ) {
    this.#emit = emit;
    this.#data = data;
    this.#seed = new Random(seed, "map").integer(0, 2 ** 31 - 1);
    this.#supervisor = system.supervise({
      strategy: "one-for-one",
      prepare: onRestart,
      withinMs: MAP_CRASHES_WITHIN_MS,
      onGiveUp,
    });
    this.#projector = this.#supervisor.spawn<typeof projector>(
      "projector",
      actorUrl("projector", actors),
      () => undefined,
    );
  }

  /** Has the maps made, and tells of the neighbours. */
  async report(
    of: Pick<NeighboursReport, "of" | "step" | "isBeginning">,
    found: ProbeSetNeighbours,
  ): Promise<void> {
    const { rows, labels, views, features, dimension, neighbours, similarities, k } = found;
    if (views !== undefined) {
      const { path, classNames } = this.#data;
      this.#emit({
        type: "probe-set",
        data: path,
        rows,
        labels,
        classNames,
        views: { ...views, count: rows.length, isLocal: false },
      });
    }
    const maps = await this.#supervisor.retry(() =>
      this.#projector.ref.ask("project", { features, dimension, seed: this.#seed }, {
        timeoutMs: Infinity,
        transfer: [], // a second try needs them once more
      })
    );
    this.#emit({ type: "neighbours", ...of, neighbours, similarities, k, maps });
  }
}
