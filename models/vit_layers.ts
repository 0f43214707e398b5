import type { Tensor } from "../kernels/graph.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { ImageSizes } from "./encoder.ts";
import type { VitShape } from "./vit_shape.ts";
export function traceVit(_b: EncoderBuilder, images: Tensor, _s: VitShape, _z: ImageSizes): Tensor {
  return images;
}
