/**
 * Random views of images, made on the GPU, bit for bit as Pillow and torchvision make them on the CPU.
 *
 * A batch of images of any sizes goes up as it was decoded; the views come back as packed RGBA8. Every view of a
 * batch goes through the same few dispatches:
 *
 * | kernel | what it does | for |
 * | --- | --- | --- |
 * | resize_horizontal.wgsl | crop, first pass of the antialiased resize, flip | all views |
 * | resize_vertical.wgsl | second pass | all views |
 * | blend.wgsl, hue.wgsl | one op of the colour jitter, or grayscale; as often as a view has ops, in its order | those that have it |
 * | blur.wgsl, twice | Gaussian blur along rows, then along columns | those with blur |
 * | mixup.wgsl | a weighted mean of two views | all, where a mixture is asked for |
 */
import { type KernelTime, type TimedDispatch, timeDispatches } from "../profiler.ts";
import type { Gpu } from "../gpu.ts";
import { readStaging } from "../readback.ts";
import { upload } from "../upload.ts";
import { computeHueRounding } from "./hue_rounding.ts";
import { type Mixture, ViewMixer } from "./mixup.ts";
import { WEIGHT_BITS } from "./resize_table.ts";
import {
  grown,
  type ImageBatch,
  type ImageLayout,
  ImageTooLargeError,
  MAX_VIEW_PIXELS,
  RECORD_BYTES,
  sourceParts,
  sourceWordsOf,
  usedSourceWords,
  type ViewPlan,
  ViewPlanner,
  ViewsTooLargeError,
} from "./view_plan.ts";
import { evaluationView, type ViewParameters } from "./view_parameters.ts";
import bindingsSource from "./bindings.wgsl" with { type: "text" };
import blendSource from "./blend.wgsl" with { type: "text" };
import blurSource from "./blur.wgsl" with { type: "text" };
import changeSource from "./change_colours.wgsl" with { type: "text" };
import hueSource from "./hue.wgsl" with { type: "text" };
import quadsSource from "./quads.wgsl" with { type: "text" };
import horizontalSource from "./resize_horizontal.wgsl" with { type: "text" };
import recordSource from "./resize_record.wgsl" with { type: "text" };
import verticalSource from "./resize_vertical.wgsl" with { type: "text" };
import viewQuadsSource from "./view_quads.wgsl" with { type: "text" };
import anyWidthSource from "./view_quads_of_any_width.wgsl" with { type: "text" };

/** What an {@linkcode ViewMaker} is built for. */
export interface AugmenterOptions {
  /** Views per batch, at most. */
  readonly views: number;
  /** Of a view, in pixels. */
  readonly width: number;
  /** Of a view, in pixels. */
  readonly height: number;
  /** Batches that can be under way at the same time; 2 when not given. */
  readonly slots?: number;
  /** Bytes of decoded images that are uploaded at once, at most; as many as a buffer holds when not given. */
  readonly sourceBytes?: number;
}

/** What becomes of the views of a batch once they are made. */
export interface AfterViews {
  /** Mixes them with each other. */
  readonly mixture?: Mixture;
  /**
   * Gives them at another size too, as Pillow resizes them: bilinear, antialiased. `by` is built for that size and as many
   * views, and `into` has their bytes.
   */
  readonly resized?: { readonly by: ViewMaker; readonly into: ArrayBuffer };
}

const WORKGROUP = 256;
/** Pixels of a line that an invocation of blur.wgsl makes. */
const BLUR_SEGMENT = 32;

/** Each batch under way has one: the views, which outlive the other buffers' contents, and what the host maps. */
interface Slot {
  readonly views: GPUBuffer;
  readonly readback: GPUBuffer;
  bindGroup: GPUBindGroup | undefined;
}

/** Fills the source buffer, or adds to the commands what does. */
type Fill = (source: GPUBuffer, bytes: number, encoder: GPUCommandEncoder) => void;

/** Buffers that all batches share (the queue does one after the other), and that grow with the largest batch. */
interface Shared {
  records: GPUBuffer;
  source: GPUBuffer;
  tables: GPUBuffer;
  rows: GPUBuffer;
}

/**
 * Makes views of images; the module's comment says how.
 *
 * @example
 * ```ts
 * const augmenter = new ViewMaker(await openGpu("augmenter"), { views: 256, width: 224, height: 224 });
 * const views = rows.map((row, image) => {
 *   const [, width, height] = packed.table.subarray(image * 5);
 *   return sampleView(new Random(seed, "augment", epoch, row), mocoV2Augmentation(224), width, height, image);
 * });
 * const pixels = await augmenter.augment(packed, views, returnedBuffer);
 * ```
 */
export class ViewMaker {
  readonly #gpu: Gpu;
  readonly #views: number;
  readonly #width: number;
  readonly #height: number;
  readonly #bindingBytes: number;
  /** Words of the source buffer at most: offsets into it are aligned, so that its size is. */
  readonly #sourceWords: number;
  readonly #planner = new ViewPlanner();
  readonly #layout: GPUBindGroupLayout;
  readonly #pipelines: Record<
    "horizontal" | "vertical" | "blend" | "hue" | "blurRows" | "blurColumns",
    GPUComputePipeline
  >;
  readonly #hueRounding: GPUBuffer;
  readonly #lumaSums: GPUBuffer;
  readonly #shared: Shared;
  /** Made for the first batch that is mixed. */
  #mixer?: ViewMixer;
  /** What was made last, for the profiler. */
  #last?: { slot: Slot; plan: ViewPlan };
  readonly #slots: Slot[];
  readonly #free: Slot[];
  readonly #waiting: ((slot: Slot) => void)[] = [];

  /**
   * Compiles the kernels and makes the buffers.
   *
   * @throws {ViewsTooLargeError} where a view, or all views of a batch, are too large for one binding of the device
   * @throws {RangeError} for numbers that are not positive integers
   */
  constructor(gpu: Gpu, { views, width, height, slots = 2, sourceBytes }: AugmenterOptions) {
    const { device } = gpu;
    this.#gpu = gpu;
    this.#views = views;
    this.#width = width;
    this.#height = height;
    this.#bindingBytes = Math.floor(device.limits.maxStorageBufferBindingSize / 256) * 256;
    this.#sourceWords = sourceWordsOf(Math.min(sourceBytes ?? Infinity, device.limits.maxBufferSize));
    const bytes = views * width * height * 4;
    if (!(Number.isInteger(width) && Number.isInteger(height) && width >= 1 && height >= 1)) {
      throw new RangeError(
        `the width and height of a view must be positive integers, but they are ${width}x${height}`,
      );
    }
    if (!(Number.isInteger(views) && views >= 1)) {
      throw new RangeError(`expected at least one view a batch, and a whole number, but it is ${views}`);
    }
    const size = `${width} x ${height} pixels`;
    if (width * height > MAX_VIEW_PIXELS) {
      throw new ViewsTooLargeError(`views of ${size}: expected at most ${MAX_VIEW_PIXELS} pixels`);
    }
    if (bytes > this.#bindingBytes) {
      throw new ViewsTooLargeError(
        `${views} views of ${size} take ${bytes} bytes, but this device binds at most ${this.#bindingBytes} at once`,
      );
    }
    this.#layout = createLayout(device);
    this.#pipelines = createPipelines(device, this.#layout, width, height);
    this.#hueRounding = this.#createBuffer("hue rounding", 32, GPUBufferUsage.UNIFORM);
    device.queue.writeBuffer(this.#hueRounding, 0, computeHueRounding());
    this.#lumaSums = this.#createBuffer("luma sums", views * 4, GPUBufferUsage.STORAGE);
    this.#shared = {
      records: this.#createBuffer("records", RECORD_BYTES, GPUBufferUsage.UNIFORM),
      source: this.#createBuffer("source", 256, GPUBufferUsage.STORAGE),
      tables: this.#createBuffer("tables", 256, GPUBufferUsage.STORAGE),
      rows: this.#createBuffer("rows", 256, GPUBufferUsage.STORAGE),
    };
    this.#slots = Array.from({ length: slots }, () => ({
      views: this.#createBuffer("views", bytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC),
      readback: this.#createBuffer("readback", bytes, GPUBufferUsage.MAP_READ),
      bindGroup: undefined,
    }));
    this.#free = [...this.#slots];
  }

  /**
   * Makes views and reads them back. May be called again before the last call is done: up to `slots` batches overlap,
   * further calls wait for one of them.
   *
   * @param images may be used for something else when the promise has settled
   * @param views one for each view, at most as many as the augmenter was built for
   * @param into an ArrayBuffer of `views.length * height * width * 4` bytes to fill; a new one when not given
   * @param after what becomes of them: mixed with each other, resized
   * @returns `into`: the views as RGBA8, [views, height, width, 4], alpha 255
   * @throws {RangeError} where a view's parameters and its image do not fit, or a factor is out of range
   * @throws {BlurSigmaError} where a blur is too wide
   * @throws {ImageTooLargeError} where an image is too large for the device
   */
  async augment(
    images: ImageBatch,
    views: readonly ViewParameters[],
    into: ArrayBuffer = new ArrayBuffer(views.length * this.#height * this.#width * 4),
    { mixture, resized }: AfterViews = {},
  ): Promise<ArrayBuffer> {
    // More than a buffer holds is made in parts, where the views have nothing to do with each other.
    if (
      mixture === undefined && resized === undefined && usedSourceWords(images, views) > this.#sourceWords
    ) {
      return await this.#augmentInParts(images, views, into);
    }
    const fill = (source: GPUBuffer, bytes: number) =>
      // Not through a buffer that the host maps for writing, which was up to fifty times as slow (bench/NOTES.md).
      upload(this.#gpu.device.queue, source, 0, images.pixels.subarray(0, bytes));
    return await this.#make(images, views, into, { fill, mixture, resized });
  }

  async #augmentInParts(images: ImageBatch, views: readonly ViewParameters[], into: ArrayBuffer) {
    const bytes = this.#width * this.#height * 4;
    const all = new Uint8Array(into);
    for (const part of sourceParts(images, views, this.#sourceWords)) {
      const made = new Uint8Array(await this.augment(part.images, part.views.map((view) => views[view])));
      for (const [i, view] of part.views.entries()) {
        all.set(made.subarray(i * bytes, (i + 1) * bytes), view * bytes);
      }
    }
    return into;
  }

  /** Resizes views that lie on the device: RGBA8 [count, height, width]. */
  async #resize(views: GPUBuffer, count: number, width: number, height: number, into: ArrayBuffer) {
    const bytes = count * width * height * 4;
    const table = Uint32Array.from({ length: 3 * count }, (_, i) => {
      return [Math.floor(i / 3) * width * height, width, height][i % 3];
    });
    const parameters = Array.from({ length: count }, (_, image) => ({
      ...evaluationView(width, height, this.#width, this.#width, image),
      resized: { width: this.#width, height: this.#height },
      window: { left: 0, top: 0 },
    }));
    await this.#make({ count, table, pixels: { byteLength: bytes } }, parameters, into, {
      fill: (source, bytes, encoder) => encoder.copyBufferToBuffer(views, 0, source, 0, bytes),
    });
  }

  async #make(
    images: ImageLayout,
    views: readonly ViewParameters[],
    into: ArrayBuffer,
    { fill, mixture, resized }: AfterViews & { fill: Fill },
  ): Promise<ArrayBuffer> {
    const bytes = views.length * this.#height * this.#width * 4;
    if (bytes === 0) return into;
    if (into.byteLength !== bytes) {
      throw new RangeError(
        `${views.length} views take ${bytes} bytes, but the buffer for them has ${into.byteLength}`,
      );
    }
    const slot = await this.#acquire();
    try {
      this.#submit(slot, images, views, bytes, fill, mixture);
      await Promise.all([
        readStaging(this.#gpu, slot.readback, (views) => {
          new Uint8Array(into).set(new Uint8Array(views));
        }, bytes),
        resized && resized.by.#resize(slot.views, views.length, this.#width, this.#height, resized.into),
      ]);
      return into;
    } finally {
      this.#release(slot);
    }
  }

  /** Makes the views of the last batch some times more, and gives the time of every dispatch; to be called alone. */
  async profile(repetitions = 3): Promise<KernelTime[]> {
    if (this.#last === undefined) return [];
    const { slot, plan } = this.#last;
    return await timeDispatches(
      this.#gpu,
      this.#kernels(slot.bindGroup ??= this.#bind(slot), plan),
      repetitions,
    );
  }

  /** Frees the buffers. Batches under way fail. */
  destroy(): void {
    const { records, source, tables, rows } = this.#shared;
    for (const buffer of [records, source, tables, rows, this.#hueRounding, this.#lumaSums]) buffer.destroy();
    this.#mixer?.destroy();
    for (const { views, readback } of this.#slots) {
      views.destroy();
      readback.destroy();
    }
  }

  async #acquire(): Promise<Slot> {
    return this.#free.shift() ?? await new Promise<Slot>((resolve) => this.#waiting.push(resolve));
  }

  #release(slot: Slot): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slot);
    else next(slot);
  }

  /** From the host's arrays to work in the queue; at its end the views' `bytes` bytes are copied for reading. */
  #submit(
    slot: Slot,
    images: ImageLayout,
    views: readonly ViewParameters[],
    bytes: number,
    fill: Fill,
    mixture?: Mixture,
  ): void {
    this.#gpu.check();
    if (views.length > this.#views) {
      throw new RangeError(
        `the augmenter was built for ${this.#views} views a batch, but ${views.length} were given`,
      );
    }
    const { device } = this.#gpu;
    const sourceBytes = usedSourceWords(images, views) * 4;
    checkSourceBytes(sourceBytes, this.#sourceWords * 4);
    this.#grow("source", sourceBytes, this.#sourceWords * 4);
    const plan = this.#planner.plan(images, views, {
      width: this.#width,
      height: this.#height,
      sourceWords: this.#shared.source.size / 4,
      bindingWords: this.#bindingBytes / 4,
    });
    this.#grow("tables", plan.tables.byteLength, this.#bindingBytes);
    this.#grow("rows", plan.rowWords * 4, this.#bindingBytes);
    this.#grow("records", plan.records.byteLength + RECORD_BYTES, device.limits.maxBufferSize);
    slot.bindGroup ??= this.#bind(slot);

    const { source, tables, records } = this.#shared;
    const encoder = device.createCommandEncoder({ label: "augment" });
    fill(source, sourceBytes, encoder);
    device.queue.writeBuffer(tables, 0, plan.tables);
    device.queue.writeBuffer(records, 0, plan.records);
    encoder.clearBuffer(this.#lumaSums);
    const pass = encoder.beginComputePass({ label: "augment" });
    for (const { encode } of this.#kernels(slot.bindGroup, plan)) encode(pass);
    pass.end();
    if (mixture !== undefined) {
      this.#mixer ??= new ViewMixer(this.#gpu, this.#views, this.#width * this.#height);
      this.#mixer.encode(encoder, slot.views, mixture);
    }
    this.#last = { slot, plan };
    encoder.copyBufferToBuffer(slot.views, 0, slot.readback, 0, bytes);
    device.queue.submit([encoder.finish()]);
  }

  /** The kernels for a plan, in their order; bytes are those of views and of the rows between the two resizes. */
  #kernels(bindGroup: GPUBindGroup, plan: ViewPlan): TimedDispatch[] {
    const width = this.#width;
    const height = this.#height;
    const viewBytes = width * height * 4;
    const kernels: TimedDispatch[] = [];
    const add = (
      pipeline: GPUComputePipeline,
      offsets: number[],
      invocations: number,
      count: number,
      bytes: number,
    ) => {
      const encode = (pass: GPUComputePassEncoder) => {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup, offsets);
        pass.dispatchWorkgroups(Math.ceil(invocations / WORKGROUP), count);
      };
      kernels.push({ label: pipeline.label, flops: 0, bytes, encode });
    };
    const resized = plan.resize.reduce((sum, { count }) => sum + count, 0);
    const quads = Math.ceil(width / 4) * height;
    for (const { offset, count, source, invocations } of plan.resize) {
      const rowBytes = plan.rowWords * 4 * count / resized;
      add(this.#pipelines.horizontal, [offset, source], invocations, count, rowBytes);
      add(this.#pipelines.vertical, [offset, source], quads, count, rowBytes + count * viewBytes);
    }
    for (const { kernel, offset, count } of plan.colour) {
      add(this.#pipelines[kernel], [offset, 0], quads, count, 2 * count * viewBytes);
    }
    for (const { offset, count } of plan.blur) {
      const [rows, columns] = [[width, height], [height, width]].map(([along, across]) =>
        Math.ceil(along / BLUR_SEGMENT) * across
      );
      add(this.#pipelines.blurRows, [offset, 0], rows, count, 2 * count * viewBytes);
      add(this.#pipelines.blurColumns, [offset, 0], columns, count, 2 * count * viewBytes);
    }
    return kernels;
  }

  /** Replaces a shared buffer that is too small. Work in the queue keeps the old one for as long as it needs it. */
  #grow(name: keyof Shared, bytes: number, limit: number): void {
    const old = this.#shared[name];
    if (old.size >= bytes) return;
    const usage = name === "records" ? GPUBufferUsage.UNIFORM : GPUBufferUsage.STORAGE;
    this.#shared[name] = this.#createBuffer(name, Math.min(grown(bytes / 4) * 4, limit), usage);
    old.destroy();
    for (const slot of this.#slots) slot.bindGroup = undefined;
  }

  #createBuffer(name: string, size: number, usage: number): GPUBuffer {
    return this.#gpu.device.createBuffer({
      label: `augmenter: ${name}`,
      size: Math.ceil(size / 4) * 4,
      usage: usage | GPUBufferUsage.COPY_DST,
    });
  }

  #bind(slot: Slot): GPUBindGroup {
    const { records, source, tables, rows } = this.#shared;
    const resources: GPUBufferBinding[] = [
      { buffer: records, size: RECORD_BYTES },
      { buffer: this.#hueRounding },
      { buffer: source, size: Math.min(source.size, this.#bindingBytes) },
      { buffer: tables },
      { buffer: rows },
      { buffer: slot.views },
      { buffer: this.#lumaSums },
    ];
    return this.#gpu.device.createBindGroup({
      layout: this.#layout,
      entries: resources.map((resource, binding) => ({ binding, resource })),
    });
  }
}

function checkSourceBytes(bytes: number, limit: number): void {
  if (bytes <= limit) return;
  throw new ImageTooLargeError(
    `the images of a batch take ${bytes} bytes, but a buffer of this device holds at most ${limit}; use a smaller ` +
      "--batch-size, or smaller images (--fast-decode for JPEGs, --max-pixels)",
  );
}

/** The bindings of bindings.wgsl. */
function createLayout(device: GPUDevice): GPUBindGroupLayout {
  const buffers: GPUBufferBindingLayout[] = [
    { type: "uniform", hasDynamicOffset: true },
    { type: "uniform" },
    { type: "read-only-storage", hasDynamicOffset: true },
    { type: "read-only-storage" },
    { type: "storage" },
    { type: "storage" },
    { type: "storage" },
  ];
  return device.createBindGroupLayout({
    entries: buffers.map((buffer, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer })),
  });
}

function createPipelines(device: GPUDevice, layout: GPUBindGroupLayout, width: number, height: number) {
  const prelude = `
const WIDTH = ${width}u;
const HEIGHT = ${height}u;
const WORKGROUP = ${WORKGROUP}u;
const RECORD_BYTES = ${RECORD_BYTES}u;
const WEIGHT_BITS = ${WEIGHT_BITS}u;
const SEGMENT = ${BLUR_SEGMENT}u;
${bindingsSource}`;
  const quads = quadsSource + (width % 4 === 0 ? viewQuadsSource : anyWidthSource);
  const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] });
  const create = (label: string, code: string, constants: Record<string, number> = {}) =>
    device.createComputePipeline({
      label,
      layout: pipelineLayout,
      compute: { module: device.createShaderModule({ label, code: `${prelude}\n${code}` }), constants },
    });
  return {
    horizontal: create("resize_horizontal", recordSource + horizontalSource),
    vertical: create("resize_vertical", quads + recordSource + verticalSource),
    blend: create("blend", quads + changeSource + blendSource),
    hue: create("shift hue", quads + changeSource + hueSource),
    blurRows: create("blur along rows", blurSource),
    blurColumns: create("blur along columns", blurSource, { VERTICAL: 1 }),
  };
}
