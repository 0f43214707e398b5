/**
 * Matrix operands read through textures.
 *
 * On software adapters a `textureLoad` of a vec4 is several times cheaper than a load from a storage buffer, so
 * there the operands of matrix products are copied into an rgba32float texture first; one texel is one vec4. The
 * copy is a plain memory copy and costs little next to the product.
 */
import type { Target } from "./gpu.ts";
import { byteLength, type Tensor } from "./graph.ts";

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
