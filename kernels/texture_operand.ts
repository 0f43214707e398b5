/**
 * What kernels read, through textures.
 *
 * On some software adapters a `textureLoad` of a vec4 is several times cheaper than a load from a storage buffer. There
 * what a kernel reads is copied into an rgba32float texture first, and the kernel's WGSL is rewritten to read that; one
 * texel is one vec4. The copy is a plain memory copy and costs little next to the loads. The textures are bound as storage
 * textures: those have one mip level, while of a sampled one llvmpipe looks the level up in every load, which doubles it.
 */
import { type DeclaredDispatch, VEC4 } from "./declarations.ts";
import type { Target } from "./gpu.ts";
import { byteLength, type Dispatch, type Tensor } from "./graph.ts";
import { rewriteUses } from "./rewrite.ts";

/** Texels in a row. A row of 2,048 texels of 16 bytes also satisfies the copy's 256-byte rule. */
export const TEXTURE_WIDTH = 2048;

/**
 * Texels of a row that hold nothing: one line of a processor's cache. The rows of a matrix whose length is a power of two would
 * all lie at the same place of every page, where a processor's first cache has room for 8 or 12 of them; with it they do not
 * from one row of the texture to the next. A 3 x 3 convolution of 512 channels takes 0.8 times as long.
 */
const PADDING = 4;

/** Bytes of one texel, a vec4 of float32. */
export const TEXEL_BYTES = 16;

/** Whether a tensor fits one texture of this device. */
export function fitsTexture(target: Target, tensor: Tensor): boolean {
  const texels = byteLength(tensor) / TEXEL_BYTES;
  return tensor.dtype === "f32" && texels <= TEXTURE_WIDTH * target.maxTextureDimension2D;
}

/** Whether a kernel that is no product should read a tensor from a copy in a texture, by how many loads it does. */
export function isTextureWorthwhile({ isSoftware, tuning }: Target, loads: number): boolean {
  return isSoftware && loads >= (tuning.textureFromLoads ?? Infinity);
}

/** WGSL expression of texel `index` (a `u32` expression) of the texture `name`. */
function texelAt(name: string, index: string): string {
  const shift = Math.log2(TEXTURE_WIDTH);
  return `textureLoad(${name}, vec2<u32>((${index}) & ${TEXTURE_WIDTH - 1}u, (${index}) >> ${shift}u))`;
}

/**
 * The same dispatch, with every tensor bound as a texture that it only reads, where the copy pays: what declares and
 * indexes it in the WGSL is rewritten. Products read their operands again and again, so that it always does, or never.
 */
export function readThroughTextures(target: Target, dispatch: DeclaredDispatch): DeclaredDispatch {
  const isProduct = dispatch.flops !== undefined;
  if (!target.isSoftware || (isProduct && !target.tuning.productTextures)) return dispatch;
  const bindings = [...dispatch.bindings];
  let { source } = dispatch;
  let count = 0;
  const invocations = dispatch.workgroups.reduce((product, count) => product * count, dispatch.lanes);
  for (const { binding, name, access, element, text } of dispatch.declarations) {
    const tensor = bindings[binding - 1];
    if (access !== "read" || element !== VEC4) continue;
    if ("texture" in tensor || !fitsTexture(target, tensor)) continue;
    if (count === target.maxStorageTexturesPerShaderStage) break;
    // Every invocation reads some of it, and all of it is read.
    const loads = Math.max(invocations, byteLength(tensor) / TEXEL_BYTES);
    if (!isProduct && !isTextureWorthwhile(target, loads)) continue;
    count++;
    bindings[binding - 1] = { texture: tensor };
    source = rewriteUses(source, name, (index) => texelAt(name, index)).replace(
      text,
      `@group(0) @binding(${binding}) var ${name}: texture_storage_2d<rgba32float, read>;`,
    );
  }
  return { ...dispatch, source, bindings };
}

/** Textures of a pool that are there in any case: what several dispatches in a row read is then copied once. */
const LARGE_TEXTURES = 3;
const SMALL_TEXTURES = 8;

/** Operands up to this size have textures of their own, so that they do not drive out the large ones. */
const SMALL_BYTES = 256 * 1024;

interface Slot {
  texture: GPUTexture;
  view: GPUTextureView;
  /** What it holds, if anything. */
  tensor: Tensor | undefined;
  /** The dispatch that used it last. */
  used: number;
}

/** Id of the tensor that a view is a part of; else its own. */
export function wholeOf({ id, part }: Tensor): number {
  return part?.of.id ?? id;
}

/** A program's operand textures, and which tensor each holds when. */
export class OperandTextures {
  readonly #large: Slot[];
  readonly #small: Slot[];

  /**
   * Makes as many as any of the dispatches needs at once, each as large as the largest operand.
   *
   * @param hasOwn whether a tensor has a texture elsewhere
   */
  constructor(
    device: GPUDevice,
    dispatches: readonly Dispatch[],
    hasOwn: (tensor: Tensor) => boolean = () => false,
  ) {
    const operands = dispatches.map(({ bindings }) =>
      bindings.flatMap((binding) =>
        "texture" in binding && !hasOwn(binding.texture) ? [byteLength(binding.texture)] : []
      )
    );
    const pool = (least: number, belongs: (bytes: number) => boolean) => {
      const own = operands.map((list) => list.filter(belongs));
      const bytes = Math.max(0, ...own.flat());
      const count = bytes === 0 ? 0 : Math.max(least, ...own.map(({ length }) => length));
      return Array.from({ length: count }, (): Slot => {
        const texture = createOperandTexture(device, bytes / TEXEL_BYTES);
        return { texture, view: texture.createView(), tensor: undefined, used: -1 };
      });
    };
    this.#large = pool(LARGE_TEXTURES, (bytes) => bytes > SMALL_BYTES);
    this.#small = pool(SMALL_TEXTURES, (bytes) => bytes <= SMALL_BYTES);
  }

  /** All of them, to be destroyed by who made this. */
  get textures(): GPUTexture[] {
    return [...this.#large, ...this.#small].map(({ texture }) => texture);
  }

  /**
   * The texture of a tensor for a dispatch; to be called in the order of the dispatches. Where it is fresh, the tensor
   * must be copied into it.
   */
  place(tensor: Tensor, dispatch: number): Pick<Slot, "texture" | "view"> & { isFresh: boolean } {
    const pool = byteLength(tensor) > SMALL_BYTES ? this.#large : this.#small;
    const holding = pool.find((slot) => slot.tensor?.id === tensor.id);
    const slot = holding ?? pool.reduce((oldest, other) => other.used < oldest.used ? other : oldest);
    slot.tensor = tensor;
    slot.used = dispatch;
    return { texture: slot.texture, view: slot.view, isFresh: holding === undefined };
  }

  /** A tensor was written anew: what a texture holds of it is out of date. */
  forget(tensor: Tensor): void {
    for (const slot of [...this.#large, ...this.#small]) {
      if (slot.tensor !== undefined && wholeOf(slot.tensor) === wholeOf(tensor)) slot.tensor = undefined;
    }
  }
}

/**
 * Rows of a texture of at least `texels` texels. llvmpipe compiles a kernel once more for every combination of operands
 * whose sides are powers of two, though it reads all of them alike; so no height is one, where the limit leaves room.
 */
function operandRows(texels: number, limit: number): number {
  let rows = Math.max(1, Math.ceil(texels / TEXTURE_WIDTH));
  while (Number.isInteger(Math.log2(rows))) rows++;
  return Math.min(rows, limit);
}

/** A texture that holds at least `texels` texels. */
function createOperandTexture(device: GPUDevice, texels: number): GPUTexture {
  return device.createTexture({
    label: "matrix operand",
    size: [TEXTURE_WIDTH + PADDING, operandRows(texels, device.limits.maxTextureDimension2D)],
    format: "rgba32float",
    usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
  });
}

/** What is copied into a texture. */
interface CopySource {
  buffer: GPUBuffer;
  offset: number;
  bytes: number;
}

/** Bytes of operands that have textures for good, at most: these take as much memory once more. */
const MOST_CONSTANT_BYTES = 256 * 2 ** 20;

/** The least part of all operands that is worth that memory: of ViT-g's 4.5 GB it would be a seventeenth. */
const LEAST_CONSTANT_PART = 1 / 4;

/**
 * Textures of operands that never change once they are loaded, as a frozen encoder's weights: they are copied when they are loaded,
 * and not in every run. Programs that read the same operands share them.
 */
export class ConstantTextures implements Disposable {
  readonly #device: GPUDevice;
  /** Bytes that they may have. */
  readonly #most: number;
  readonly #slots: { source: CopySource; texture: GPUTexture; view: GPUTextureView }[] = [];
  #bytes = 0;
  /** The first of them that was not copied yet. */
  #stale = 0;

  /** @param operandBytes of all operands that will be asked for */
  constructor(device: GPUDevice, operandBytes: number) {
    this.#device = device;
    this.#most = MOST_CONSTANT_BYTES < LEAST_CONSTANT_PART * operandBytes ? 0 : MOST_CONSTANT_BYTES;
  }

  /** The texture of an operand that lies there; `undefined` where they would take too much memory. */
  viewOf(source: CopySource): GPUTextureView | undefined {
    const { buffer, offset, bytes } = source;
    const there = this.#slots.find((slot) =>
      slot.source.buffer === buffer && slot.source.offset === offset && slot.source.bytes === bytes
    );
    if (there !== undefined) return there.view;
    if (this.#bytes + bytes > this.#most) return undefined;
    this.#bytes += bytes;
    const texture = createOperandTexture(this.#device, bytes / TEXEL_BYTES);
    const view = texture.createView();
    this.#slots.push({ source, texture, view });
    return view;
  }

  /** The operands were loaded: all are copied once more. */
  reload(): void {
    this.#stale = 0;
    this.fill();
  }

  /** Copies operands that were asked for since the last time. */
  fill(): void {
    const stale = this.#slots.slice(this.#stale);
    this.#stale = this.#slots.length;
    if (stale.length === 0) return;
    const encoder = this.#device.createCommandEncoder({ label: "constant operands" });
    for (const { source, texture } of stale) copyToTexture(encoder, source, texture);
    this.#device.queue.submit([encoder.finish()]);
  }

  /** Frees them. */
  [Symbol.dispose](): void {
    for (const { texture } of this.#slots.splice(0)) texture.destroy();
  }
}

/** Encodes the copy of `bytes` bytes of a buffer into a texture: the full rows, then the rest of the last one. */
export function copyToTexture(encoder: GPUCommandEncoder, source: CopySource, texture: GPUTexture): void {
  const texels = source.bytes / TEXEL_BYTES;
  const rows = Math.floor(texels / TEXTURE_WIDTH);
  const rest = texels - rows * TEXTURE_WIDTH;
  const bytesPerRow = TEXTURE_WIDTH * TEXEL_BYTES;
  const { buffer, offset } = source;
  if (rows > 0) {
    encoder.copyBufferToTexture({ buffer, offset, bytesPerRow }, { texture }, [TEXTURE_WIDTH, rows]);
  }
  if (rest > 0) {
    const end = offset + rows * bytesPerRow;
    encoder.copyBufferToTexture({ buffer, offset: end, bytesPerRow }, { texture, origin: [0, rows] }, [
      rest,
      1,
    ]);
  }
}
