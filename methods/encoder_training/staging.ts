/** Buffers that results come back from the device by. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { BufferRange } from "../../kernels/program.ts";
import { readStaging } from "../../kernels/readback.ts";

/** Results that can be on their way back from the device at once. */
const SLOTS = 4;

/** What is on its way: the buffer, and the bytes of each part. */
interface Copied {
  buffer: GPUBuffer;
  bytes: readonly number[];
}

/** Four buffers, used in turn. */
export class Staging implements Disposable {
  readonly #gpu: Gpu;
  readonly #buffers: readonly GPUBuffer[];
  #used = 0;

  /** @param size bytes of all that is copied at once */
  constructor(gpu: Gpu, size: number) {
    this.#gpu = gpu;
    this.#buffers = Array.from({ length: SLOTS }, () =>
      gpu.device.createBuffer({
        label: "results",
        size,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  /** Encodes copies of some ranges, one behind the other. */
  encode(encoder: GPUCommandEncoder, ranges: readonly BufferRange[]): Copied {
    const staging = this.#buffers[this.#used++ % SLOTS];
    let end = 0;
    for (const { buffer, offset, bytes } of ranges) {
      encoder.copyBufferToBuffer(buffer, offset, staging, end, bytes);
      end += bytes;
    }
    return { buffer: staging, bytes: ranges.map(({ bytes }) => bytes) };
  }

  /** Reads what was copied, as float32, when the copies have been submitted. */
  async read({ buffer, bytes }: Copied): Promise<Float32Array<ArrayBuffer>[]> {
    return await readStaging(this.#gpu, buffer, (mapped) => {
      let end = 0;
      return bytes.map((length) => new Float32Array(mapped.slice(end, end += length)));
    });
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}
