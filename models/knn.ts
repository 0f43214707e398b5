/**
 * The weighted k-nearest-neighbour classifier that self-supervised features are evaluated by: Wu et al. 2018,
 * "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"; SEED reports it for its students. The k rows of a labelled bank that are most similar to a query (cosine) vote for their class
 * with the weight exp(similarity / temperature).
 */
import { describeGib } from "../data/describe_bytes.ts";
import { UserError } from "../errors.ts";
import { DeviceMemoryError, type Gpu } from "../kernels/gpu.ts";
import { byteLength, Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { unpadRows } from "../kernels/layout.ts";
import { classVotes } from "../kernels/ops/class_votes/class_votes.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { matmulTransposed } from "../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { topK, topKCount } from "../kernels/ops/top_k/top_k.ts";
import { type BufferRange, Program } from "../kernels/program.ts";
import { largestIndices } from "./largest.ts";

/** What a {@linkcode WeightedKnn} is built for. */
export interface WeightedKnnOptions {
  /** Length of a feature. */
  dimension: number;
  /** Classes; labels are 0 to classes - 1. */
  classes: number;
  /** Neighbours that vote, 200 unless said; all of the bank where it has fewer. */
  k?: number;
  /** Temperature of the votes, 0.07 unless said. */
  temperature?: number;
  /** Queries that are classified at once, 256 unless said; fewer where the device's bindings are too small. */
  batch?: number;
}

/** What {@linkcode WeightedKnn.classify} gives for m queries. */
export interface KnnClassification {
  /**
   * Scores [m, classes]: the sum of the weights exp((similarity - largest) / temperature) of the neighbours of each
   * class, relative to the weight of the query's nearest neighbour.
   */
  scores: Float32Array<ArrayBuffer>;
  /**
   * Classes [m, columns], the highest score first, at most five. Equal scores stand in the order of their classes, so
   * where fewer classes have votes the first ones without follow.
   */
  predictions: Uint32Array<ArrayBuffer>;
  /** Columns of the predictions: 5, or all classes where there are fewer. */
  columns: number;
}

/** What {@linkcode WeightedKnn.nearest} gives for m queries. */
export interface NearestRows {
  /** Neighbours of each query: k, or all of the bank where it has fewer. */
  columns: number;
  /** Labels [m, columns], the most similar first; of equal ones, the one that was added first. */
  labels: Uint32Array<ArrayBuffer>;
  /** Cosines [m, columns]. */
  similarities: Float32Array<ArrayBuffer>;
}

/**
 * Places in {@linkcode NearestRows} of one query's neighbours, the query itself left out, where labels tell the rows of the
 * bank apart and it is one of them: one fewer than the columns.
 *
 * @param query from 0; @param own its label in the bank
 */
export function placesOfOthers({ columns, labels }: NearestRows, query: number, own: number): number[] {
  return Array.from({ length: columns }, (_, column) => query * columns + column)
    .filter((place) => labels[place] !== own)
    .slice(0, columns - 1); // a twin may have taken its own place
}

/** Shares of right answers, in percent. */
export interface KnnAccuracy {
  top1: number;
  top5: number;
}

/** How many queries are classified rightly. */
export interface KnnCounts {
  queries: number;
  /** Those whose class has the highest score. */
  top1: number;
  /** Those whose class is among the five with the highest scores. */
  top5: number;
}

/** Returns counts as shares. */
export function accuracyOf({ queries, top1, top5 }: KnnCounts): KnnAccuracy {
  return { top1: 100 * top1 / queries, top5: 100 * top5 / queries };
}

/** A wrong option, label or feature was given to a {@linkcode WeightedKnn}. */
export class KnnError extends UserError {
  override name = "KnnError";
}

const PREDICTIONS = 5;

/** Bytes of features in one part of the bank; bounds what a small bank wastes. */
const PART_BYTES = 32 * 2 ** 20;

/** Rows in one part of the bank; bounds the similarities, which have this many columns. */
const PART_ROWS = 16384;

/** Workgroups in one dimension, one for each query. */
const MOST_QUERIES = 65535;

const FLOAT_BYTES = 4;
const LARGEST_FLOAT32 = 3.4028234663852886e38;

/** Bytes of the features of so many rows of the bank. */
function featureBytes(rows: number, dimension: number): number {
  return rows * padTo4(dimension) * FLOAT_BYTES;
}

/** For the buffers of a bank. */
function bankUsage(): GPUBufferUsageFlags {
  return GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
}

/**
 * Makes sure that a device has room for a bank now, and gives it back at once.
 *
 * @throws {DeviceMemoryError} where it has not
 */
export async function requireBankRoom(gpu: Gpu, dimension: number, rows: number): Promise<void> {
  const { device, memoryAdvice, target } = gpu;
  const bytes = featureBytes(rows, dimension);
  const most = Math.min(PART_BYTES, target.maxStorageBufferBindingSize);
  device.pushErrorScope("out-of-memory");
  const buffers = Array.from({ length: Math.ceil(bytes / most) }, (_, i) => {
    const size = padTo4(Math.min(most, bytes - i * most));
    return device.createBuffer({ label: "room for a knn bank", size, usage: bankUsage() });
  });
  const error = await device.popErrorScope();
  for (const buffer of buffers) buffer.destroy();
  if (error === null) return;
  const found = `no ${describeGib(bytes)} for the features of ${rows} images, ${dimension} each`;
  throw new DeviceMemoryError("kNN", found, memoryAdvice);
}

/** A part of the bank: normalised features [capacity, dimension] and labels u32 [capacity]. */
interface BankPart {
  features: GPUBuffer;
  labels: GPUBuffer;
  rows: number;
}

interface CompiledProgram {
  program: Program;
  input: Tensor;
  output: Tensor;
}

/**
 * A classifier with its bank on one device. Features are given as the encoder gives them, and normalised there.
 *
 * The bank may be of any size: it is kept in parts that fit the device's bindings, and neither the division into
 * parts nor that of the queries into batches changes a bit of the neighbours.
 *
 * ```ts
 * using knn = new WeightedKnn(gpu, { dimension: 512, classes: 1000 });
 * for await (const { features, labels } of trainFeatures) await knn.addToBank(features, labels);
 * const { top1, top5 } = await knn.accuracy(testFeatures, testLabels);
 * ```
 */
export class WeightedKnn {
  readonly dimension: number;
  readonly classes: number;
  readonly k: number;
  readonly temperature: number;
  /** Queries that are classified at once. */
  readonly batch: number;
  /** Most rows in one part of the bank. */
  readonly partRows: number;
  readonly #gpu: Gpu;
  readonly #bank: BankPart[] = [];
  /** One batch of features with padded rows. */
  readonly #staging: Float32Array<ArrayBuffer>;
  /** Normalises a batch of rows on their way into the bank. */
  #normalizer: Promise<CompiledProgram> | undefined;
  /** Classifies a batch of queries by k rows of the bank as it is; `undefined` after the bank has changed. */
  #classifier: { k: number; compiled: Promise<CompiledProgram> } | undefined;
  #destroyed = false;

  /** @throws {KnnError} when an option is out of range, or a batch of one query is too large for the device */
  constructor(gpu: Gpu, options: WeightedKnnOptions) {
    const { dimension, classes, k = 200, temperature = 0.07, batch = 256 } = options;
    for (const [name, value] of Object.entries({ dimension, classes, k, batch })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new KnnError(`kNN: ${name} must be a positive integer, found ${value}`);
      }
    }
    // The reciprocal, too, has to be a float32.
    if (!(temperature > 0) || !(1 / temperature <= LARGEST_FLOAT32) || temperature === Infinity) {
      throw new KnnError(`kNN: the temperature must be a positive number, found ${temperature}`);
    }
    this.#gpu = gpu;
    this.dimension = dimension;
    this.classes = classes;
    this.k = k;
    this.temperature = temperature;

    // Every tensor must fit one binding: features, scores, neighbours and similarities of a batch, features of a part.
    const floats = Math.floor(gpu.target.maxStorageBufferBindingSize / FLOAT_BYTES);
    const widest = Math.max(padTo4(dimension), padTo4(classes), padTo4(k), 4);
    this.batch = Math.min(batch, MOST_QUERIES, Math.floor(floats / widest));
    const rowBytes = padTo4(dimension) * FLOAT_BYTES;
    const rows = Math.min(
      PART_ROWS,
      Math.max(4, Math.floor(PART_BYTES / rowBytes)),
      Math.floor(floats / padTo4(dimension)),
      Math.floor(floats / Math.max(1, this.batch)),
    );
    this.partRows = rows - rows % 4;
    if (this.batch < 1 || this.partRows < 4) {
      throw new KnnError(
        `kNN: features of length ${dimension} with ${classes} classes and k = ${k} need bindings of ` +
          `${FLOAT_BYTES * Math.max(widest, 4 * padTo4(dimension))} bytes, but the device's largest is ` +
          `${gpu.target.maxStorageBufferBindingSize}; choose a smaller k or another adapter`,
      );
    }
    this.#staging = new Float32Array(this.batch * padTo4(dimension));
  }

  /** Rows in the bank. */
  get bankRows(): number {
    return this.#bank.reduce((rows, part) => rows + part.rows, 0);
  }

  /** Parts that the bank is kept in. */
  get bankParts(): number {
    return this.#bank.length;
  }

  /**
   * Adds rows to the bank: any number of them, as often as wanted. Of equally similar rows the ones added first are
   * the nearer neighbours.
   *
   * @param features [n, dimension], not normalised
   * @param labels [n]
   * @throws {KnnError} when a label is out of range, or a feature has no finite norm; nothing is added then
   */
  async addToBank(features: Float32Array, labels: ArrayLike<number>): Promise<void> {
    const rows = this.#countRows("bank", features, this.bankRows);
    this.#checkLabels("bank", labels, rows, this.bankRows);
    const { program, input, output } = await (this.#normalizer ??= this.#compileNormalizer());
    this.#expectAlive();
    if (rows === 0) return;
    this.#forgetClassifier();

    const { device } = this.#gpu;
    const rowBytes = padTo4(this.dimension) * FLOAT_BYTES;
    const labelWords = Uint32Array.from(labels);
    for (let first = 0; first < rows; first += this.batch) {
      const count = Math.min(this.batch, rows - first);
      program.write(input, this.#stage(features, first, count));
      const encoder = device.createCommandEncoder({ label: "knn bank" });
      program.encode(encoder);
      const { buffer, offset } = program.rangeOf(output);
      for (let copied = 0; copied < count;) {
        const part = this.#openPart();
        const fitting = Math.min(count - copied, this.partRows - part.rows);
        encoder.copyBufferToBuffer(
          buffer,
          offset + copied * rowBytes,
          part.features,
          part.rows * rowBytes,
          fitting * rowBytes,
        );
        device.queue.writeBuffer(part.labels, part.rows * 4, labelWords, first + copied, fitting);
        part.rows += fitting;
        copied += fitting;
      }
      device.queue.submit([encoder.finish()]);
    }
    this.#gpu.check();
  }

  /**
   * Classifies any number of queries.
   *
   * @param queries [m, dimension], not normalised
   * @throws {KnnError} when the bank is empty, or a feature has no finite norm
   */
  async classify(queries: Float32Array): Promise<KnnClassification> {
    const rows = this.#countRows("queries", queries, 0);
    const columns = Math.min(PREDICTIONS, this.classes);
    const scores = new Float32Array(rows * this.classes);
    const predictions = new Uint32Array(rows * columns);
    for await (const batch of this.#classifyBatches(queries, rows)) {
      scores.set(batch.scores, batch.first * this.classes);
      predictions.set(batch.predictions, batch.first * columns);
    }
    return { scores, predictions, columns };
  }

  /**
   * Finds the most similar rows of the bank for any number of queries. A bank whose labels are its row numbers tells
   * which rows they are.
   *
   * @param queries [m, dimension], not normalised
   * @throws {KnnError} when the bank is empty, or a feature has no finite norm
   */
  async nearest(queries: Float32Array): Promise<NearestRows> {
    const rows = this.#countRows("queries", queries, 0);
    this.#expectBank();
    const { program, input, similarities: z, labels: tags } = await this.#compileSearch();
    using _ = { [Symbol.dispose]: () => program.destroy() };
    const columns = Math.min(this.k, this.bankRows);
    const labels = new Uint32Array(rows * columns);
    const similarities = new Float32Array(rows * columns);
    for (let first = 0; first < rows; first += this.batch) {
      const count = Math.min(this.batch, rows - first);
      program.write(input, this.#stage(queries, first, count));
      program.run();
      const values = unpadRows(await program.read(z), z.shape);
      const found = new Uint32Array((await program.read(tags)).buffer);
      for (let row = 0; row < count; row++) {
        const own = values.subarray(row * columns, (row + 1) * columns);
        for (const [place, column] of largestIndices(own, columns).entries()) {
          similarities[(first + row) * columns + place] = own[column];
          labels[(first + row) * columns + place] = found[row * columns + column];
        }
      }
    }
    return { columns, labels, similarities };
  }

  /**
   * How many queries have their label as the first prediction, and how many among the first five, in percent.
   *
   * @param queries [m, dimension], not normalised
   * @param labels [m]
   * @throws {KnnError} when there is no query, the bank is empty, a label is out of range, or a feature has no finite
   * norm
   */
  async accuracy(queries: Float32Array, labels: ArrayLike<number>): Promise<KnnAccuracy> {
    const counts = await this.count(queries, labels);
    if (counts.queries > 0) return accuracyOf(counts);
    throw new KnnError("kNN: there is nothing to classify; expected at least one query");
  }

  /**
   * Counts what {@linkcode accuracy} gives shares of; of no query too.
   *
   * @param k neighbours that vote; as many as it was made for, unless said
   */
  async count(queries: Float32Array, labels: ArrayLike<number>, k: number = this.k): Promise<KnnCounts> {
    const rows = this.#countRows("queries", queries, 0);
    this.#checkLabels("queries", labels, rows, 0);
    const columns = Math.min(PREDICTIONS, this.classes);
    let top1 = 0;
    let top5 = 0;
    for await (const { first, count, scores, predictions } of this.#classifyBatches(queries, rows, k)) {
      for (let row = 0; row < count; row++) {
        const label = labels[first + row];
        const place = predictions.subarray(row * columns, (row + 1) * columns).indexOf(label);
        if (place === 0) top1++;
        // Classes that nobody voted for may stand among the five, by their number alone.
        if (place >= 0 && scores[row * this.classes + label] > 0) top5++;
      }
    }
    return { queries: rows, top1, top5 };
  }

  /** Frees the bank and the programs. */
  destroy(): void {
    this.#destroyed = true;
    for (const { features, labels } of this.#bank.splice(0)) {
      features.destroy();
      labels.destroy();
    }
    this.#forgetClassifier();
    destroyWhenCompiled(this.#normalizer);
    this.#normalizer = undefined;
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  async *#classifyBatches(queries: Float32Array, rows: number, k = this.k) {
    this.#expectBank();
    const columns = Math.min(PREDICTIONS, this.classes);
    for (let first = 0; first < rows; first += this.batch) {
      this.#expectAlive();
      const { program, input, output } = await this.#classifierBy(k);
      const count = Math.min(this.batch, rows - first);
      program.write(input, this.#stage(queries, first, count));
      program.run();
      const all = unpadRows(await program.read(output), output.shape);
      const scores = all.subarray(0, count * this.classes);
      const predictions = new Uint32Array(count * columns);
      for (let row = 0; row < count; row++) {
        const own = scores.subarray(row * this.classes, (row + 1) * this.classes);
        predictions.set(largestIndices(own, columns), row * columns);
      }
      yield { first, count, scores, predictions };
    }
  }

  /** The part of the bank that has room, with one added where none has. */
  #openPart(): BankPart {
    const last = this.#bank.at(-1);
    if (last !== undefined && last.rows < this.partRows) return last;
    const { device } = this.#gpu;
    const usage = bankUsage();
    const name = `knn bank ${this.#bank.length}`;
    const size = featureBytes(this.partRows, this.dimension);
    const part: BankPart = {
      features: device.createBuffer({ label: `${name} features`, size, usage }),
      labels: device.createBuffer({ label: `${name} labels`, size: this.partRows * 4, usage }),
      rows: 0,
    };
    this.#bank.push(part);
    return part;
  }

  async #compileNormalizer(): Promise<CompiledProgram> {
    this.#expectAlive();
    const graph = new Graph();
    const input = graph.source("features", [this.batch, 1, 1, this.dimension]);
    const output = graph.apply(l2Normalize, [input], {});
    const program = await Program.compile(this.#gpu, {
      label: "knn bank",
      graph,
      inputs: [input],
      outputs: [output],
    });
    return { program, input, output };
  }

  /** All parts of the bank in one graph: similarities with each, and the nearest so far. */
  #traceSearch(most = this.k) {
    const graph = new Graph();
    const bound = new Map<Tensor, BufferRange>();
    const bind = (tensor: Tensor, buffer: GPUBuffer) => {
      bound.set(tensor, { buffer, offset: 0, bytes: byteLength(tensor) });
      return tensor;
    };
    const input = graph.source("queries", [this.batch, 1, 1, this.dimension]);
    const queries = graph.apply(l2Normalize, [input], {});
    const k = Math.min(most, this.bankRows);
    let best: readonly Tensor[] = [];
    let voters = 0;
    for (const part of this.#bank) {
      const columns = part.rows;
      const padded = padTo4(columns);
      const features = bind(graph.source("bank features", [1, 1, padded, this.dimension]), part.features);
      const labels = bind(graph.source("bank labels", [padded], "u32"), part.labels);
      const similarities = graph.apply(matmulTransposed, [queries, features], {});
      const attributes = { k, columns, previous: voters };
      best = graph.applyAll(topK, [similarities, labels, ...best], attributes);
      voters = topKCount(attributes);
    }
    return { graph, bound, input, best, voters };
  }

  /** The program for k neighbours; that for another number is forgotten. */
  #classifierBy(k: number): Promise<CompiledProgram> {
    if (this.#classifier?.k !== k) {
      this.#forgetClassifier();
      this.#classifier = { k, compiled: this.#compileClassifier(k) };
    }
    return this.#classifier!.compiled;
  }

  async #compileClassifier(k: number): Promise<CompiledProgram> {
    const { graph, bound, input, best, voters } = this.#traceSearch(k);
    const output = graph.apply(classVotes, best, {
      classes: this.classes,
      voters,
      temperature: this.temperature,
    });
    const program = await Program.compile(this.#gpu, {
      label: "knn",
      graph,
      inputs: [input],
      outputs: [output],
      bound,
    });
    return { program, input, output };
  }

  async #compileSearch() {
    const { graph, bound, input, best: [similarities, labels] } = this.#traceSearch();
    const program = await Program.compile(this.#gpu, {
      label: "nearest neighbours",
      graph,
      inputs: [input],
      outputs: [similarities, labels],
      bound,
    });
    return { program, input, similarities, labels };
  }

  #expectBank(): void {
    if (this.#bank.length > 0) return;
    throw new KnnError("kNN: the bank is empty; expected at least one labelled feature to compare with");
  }

  #forgetClassifier(): void {
    destroyWhenCompiled(this.#classifier?.compiled);
    this.#classifier = undefined;
  }

  /** Rows `first` to `first + count` with padding, as a whole batch; the rows behind are zero. */
  #stage(features: Float32Array, first: number, count: number): Float32Array<ArrayBuffer> {
    const { dimension } = this;
    const stride = padTo4(dimension);
    for (let row = 0; row < count; row++) {
      const at = (first + row) * dimension;
      this.#staging.set(features.subarray(at, at + dimension), row * stride);
    }
    return this.#staging.fill(0, count * stride);
  }

  /** Rows of a matrix of features; `offset` is the number of its first in messages. */
  #countRows(what: string, features: Float32Array, offset: number): number {
    this.#expectAlive();
    const { dimension } = this;
    if (features.length % dimension !== 0) {
      throw new Error(
        `kNN ${what}: ${features.length} values are not a multiple of the feature length ${dimension}`,
      );
    }
    const rows = features.length / dimension;
    for (let row = 0; row < rows; row++) {
      let squares = 0;
      for (let i = row * dimension; i < (row + 1) * dimension; i++) squares += features[i] * features[i];
      if (squares <= LARGEST_FLOAT32) continue;
      const own = features.subarray(row * dimension, (row + 1) * dimension);
      const column = own.findIndex((value) => !Number.isFinite(value));
      const found = column < 0 ? `its norm is ${Math.sqrt(squares)}` : `value ${column} is ${own[column]}`;
      throw new KnnError(
        `kNN ${what}, row ${
          offset + row
        }: expected a feature with a norm that float32 can hold, but ${found}; ` +
          `the encoder that made it has diverged`,
      );
    }
    return rows;
  }

  #checkLabels(what: string, labels: ArrayLike<number>, rows: number, offset: number): void {
    if (labels.length !== rows) {
      throw new Error(`kNN ${what}: ${labels.length} labels were given for ${rows} features`);
    }
    for (let row = 0; row < rows; row++) {
      const label = labels[row];
      if (Number.isInteger(label) && label >= 0 && label < this.classes) continue;
      throw new KnnError(
        `kNN ${what}, row ${offset + row}: label ${label} is out of range; expected an integer from 0 to ` +
          `${this.classes - 1}, as there are ${this.classes} classes`,
      );
    }
  }

  #expectAlive(): void {
    if (this.#destroyed) throw new Error("kNN: used after it was destroyed");
  }
}

function destroyWhenCompiled(compiled: Promise<CompiledProgram> | undefined): void {
  // A failure to compile has been thrown to whoever waited for it.
  compiled?.then(({ program }) => program.destroy(), () => {});
}
