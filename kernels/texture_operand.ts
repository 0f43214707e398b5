/**
 * Matrix operands read through textures.
 *
 * On software adapters a `textureLoad` of a vec4 is several times cheaper than a load from a storage buffer, so
 * there the operands of matrix products are copied into an rgba32float texture first; one texel is one vec4. The
 * copy is a plain memory copy and costs little next to the product.
 */
import type { Target } from "./gpu.ts";
import { byteLength, type Dispatch, type Tensor } from "./graph.ts";

/** Texels in a row. A row of 2,048 texels of 16 bytes also satisfies the copy's 256-byte rule. */
export const TEXTURE_WIDTH = 2048;

/** Bytes of one texel, a vec4 of float32. */
export const TEXEL_BYTES = 16;

/** Whether a tensor fits one texture of this device. */
export function fitsTexture(target: Target, tensor: Tensor): boolean {
  const texels = byteLength(tensor) / TEXEL_BYTES;
  return tensor.dtype === "f32" && texels <= TEXTURE_WIDTH * target.maxTextureDimension2D;
}

/** WGSL expression of texel `index` (a `u32` expression) of the texture `name`. */
export function texelAt(name: string, index: string): string {
  const shift = Math.log2(TEXTURE_WIDTH);
  return `textureLoad(${name}, vec2<u32>((${index}) & ${TEXTURE_WIDTH - 1}u, (${index}) >> ${shift}u), 0)`;
}

/** Smaller tensors are read from their buffers: copying them would cost more than it saves. */
const SMALLEST_COPIED_BYTES = 32 * 1024;

const DECLARATION = /@group\(0\) @binding\((\d+)\) var<storage, read> (\w+): array<vec4<f32>>;/g;

/**
 * The same dispatch, on software adapters with every large tensor that it only reads bound as a texture: what declares
 * and indexes it in the WGSL is rewritten.
 */
export function readThroughTextures(target: Target, dispatch: Dispatch): Dispatch {
  const bindings = [...dispatch.bindings];
  let { source } = dispatch;
  for (const [declaration, binding, name] of dispatch.source.matchAll(DECLARATION)) {
    const tensor = bindings[Number(binding) - 1];
    if (tensor === undefined || "texture" in tensor || byteLength(tensor) < SMALLEST_COPIED_BYTES) continue;
    if (!fitsTexture(target, tensor)) continue;
    bindings[Number(binding) - 1] = { texture: tensor };
    source = indexAsTexture(source, name).replace(
      declaration,
      `@group(0) @binding(${binding}) var ${name}: texture_2d<f32>;`,
    );
  }
  return { ...dispatch, source, bindings };
}

/** Rewrites every `name[index]`; an index may have brackets of its own. */
function indexAsTexture(source: string, name: string): string {
  const use = new RegExp(`(?<![\\w.])${name}\\[`, "g");
  let rewritten = "";
  let done = 0;
  for (let match = use.exec(source); match !== null; match = use.exec(source)) {
    const begin = use.lastIndex;
    let end = begin;
    for (let depth = 1; depth > 0; end++) depth += source[end] === "[" ? 1 : source[end] === "]" ? -1 : 0;
    const index = indexAsTexture(source.slice(begin, end - 1), name);
    rewritten += source.slice(done, match.index) + texelAt(name, index);
    use.lastIndex = done = end;
  }
  return rewritten + source.slice(done);
}

/** A texture that holds at least `texels` texels. */
export function createOperandTexture(device: GPUDevice, texels: number): GPUTexture {
  return device.createTexture({
    label: "matrix operand",
    size: [TEXTURE_WIDTH, Math.max(1, Math.ceil(texels / TEXTURE_WIDTH))],
    format: "rgba32float",
    usage: GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.COPY_DST,
  });
}

/** Encodes the copy of `bytes` bytes of a buffer into a texture: the full rows, then the rest of the last one. */
export function copyToTexture(
  encoder: GPUCommandEncoder,
  source: { buffer: GPUBuffer; offset: number; bytes: number },
  texture: GPUTexture,
): void {
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
