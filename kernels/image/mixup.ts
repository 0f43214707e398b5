/** Mixup (Zhang et al. 2018): views of a batch are mixed with each other, on the device. */
import type { Gpu } from "../gpu.ts";
import type { ViewRandom } from "./view_parameters.ts";
import source from "./mixup.wgsl" with { type: "text" };

/** How the views of a batch are mixed. */
export interface Mixture {
  /** Share of a view itself, in [0, 1]: lambda. The other view has the rest. */
  readonly weight: number;
  /** Which view each one is mixed with. */
  readonly partners: Uint32Array<ArrayBuffer>;
}

/** The random numbers that {@linkcode drawMixture} draws; data/random.ts `Random` is one. */
export interface MixtureRandom extends Pick<ViewRandom, "uniform"> {
  /** From the standard normal distribution. */
  normal(): number;
  /** The numbers from 0 to `count - 1` in a random order. */
  permutation(count: number): Uint32Array<ArrayBuffer>;
}

/** From the gamma distribution of a shape and scale 1 (Marsaglia and Tsang 2000). */
function drawGamma(random: MixtureRandom, shape: number): number {
  if (shape < 1) return drawGamma(random, shape + 1) * (1 - random.uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const x = random.normal();
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v > 0 && Math.log(1 - random.uniform()) < x * x / 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}

/**
 * Draws the mixture of a batch: one weight from Beta(alpha, alpha) for all views, and a random order of the views as partners.
 * An alpha of 1 is the uniform distribution.
 *
 * @param count of the views
 */
export function drawMixture(random: MixtureRandom, alpha: number, count: number): Mixture {
  const [a, b] = [drawGamma(random, alpha), drawGamma(random, alpha)];
  // Both are 0 where alpha is so small that they underflow: then either view is taken whole.
  const weight = a + b > 0 ? a / (a + b) : Math.round(random.uniform());
  return { weight, partners: random.permutation(count) };
}

/** Returns the same mixture for `views` views of each image, which lie one after the other: view i with view i. */
export function repeatMixture({ weight, partners }: Mixture, views: number): Mixture {
  const repeated = Uint32Array.from(
    { length: partners.length * views },
    (_, i) => partners[Math.floor(i / views)] * views + i % views,
  );
  return { weight, partners: repeated };
}

const WORKGROUP = 256;

/** Mixes views, one batch after the other. */
export class ViewMixer {
  readonly #gpu: Gpu;
  readonly #pixels: number;
  readonly #pipeline: GPUComputePipeline;
  readonly #params: GPUBuffer;
  readonly #partners: GPUBuffer;
  readonly #mixed: GPUBuffer;

  /**
   * Compiles the kernel and makes the buffers.
   *
   * @param views at most, of `pixels` pixels each
   */
  constructor(gpu: Gpu, views: number, pixels: number) {
    const { device } = gpu;
    this.#gpu = gpu;
    this.#pixels = pixels;
    const module = device.createShaderModule({ code: `const WORKGROUP = ${WORKGROUP}u;\n${source}` });
    const compute = { module, entryPoint: "main" };
    this.#pipeline = device.createComputePipeline({ label: "mixup", layout: "auto", compute });
    const create = (name: string, size: number, usage: number) =>
      device.createBuffer({ label: `mixup: ${name}`, size, usage: usage | GPUBufferUsage.COPY_DST });
    this.#params = create("params", 16, GPUBufferUsage.UNIFORM);
    this.#partners = create("partners", views * 4, GPUBufferUsage.STORAGE);
    this.#mixed = create("mixed", views * pixels * 4, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
  }

  /** Adds to the commands what mixes RGBA8 views [partners, pixels] in place; to be submitted before the next call. */
  encode(encoder: GPUCommandEncoder, views: GPUBuffer, { weight, partners }: Mixture): void {
    const { device } = this.#gpu;
    const count = partners.length;
    device.queue.writeBuffer(
      this.#params,
      0,
      Uint32Array.of(this.#pixels, count, Math.round(weight * 65536), 0),
    );
    device.queue.writeBuffer(this.#partners, 0, partners);
    const bindGroup = device.createBindGroup({
      layout: this.#pipeline.getBindGroupLayout(0),
      entries: [this.#params, views, this.#partners, this.#mixed].map((buffer, binding) => ({
        binding,
        resource: { buffer },
      })),
    });
    const pass = encoder.beginComputePass({ label: "mixup" });
    pass.setPipeline(this.#pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(Math.ceil(this.#pixels / WORKGROUP), count);
    pass.end();
    encoder.copyBufferToBuffer(this.#mixed, 0, views, 0, count * this.#pixels * 4);
  }

  /** Frees the buffers. */
  destroy(): void {
    for (const buffer of [this.#params, this.#partners, this.#mixed]) buffer.destroy();
  }
}
