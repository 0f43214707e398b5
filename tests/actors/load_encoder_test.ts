import { assert, assertNotEquals } from "@std/assert";
import { loadFrozenEncoder } from "../../actors/load_encoder.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { withGpu } from "../kernels/check_op.ts";

async function featureOf(gpu: Gpu, arch: string, imageSize: number, seed: number): Promise<Float32Array> {
  const shape = { batch: 1, imageSize, output: "feature" } as const;
  using encoder = await loadFrozenEncoder(gpu, { arch, seed }, shape);
  const pixels = Uint8Array.from({ length: 4 * imageSize ** 2 }, (_, i) => 37 * i % 256);
  return await encoder.embed(pixels);
}

for (
  const [arch, imageSize] of [
    ["dinov2_vit_p14_w64_b1_h4_f64_r0_g2", 42],
    ["mocov3_vit_p16_w96_b1_h12_f96_r0_g3", 48],
  ] as const
) {
  Deno.test(`loadFrozenEncoder() draws the weights of ${arch}, which does not take images of 64 pixels`, () =>
    withGpu(async (gpu) => {
      const [first, other] = [
        await featureOf(gpu, arch, imageSize, 1),
        await featureOf(gpu, arch, imageSize, 2),
      ];
      assert(first.every(Number.isFinite));
      assertNotEquals(first, other);
    }));
}
