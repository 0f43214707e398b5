/** SWAV's ResNet-50 and its wide ones (Caron et al. 2020): `swav_resnet.py` of the original. */
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { type HeadKind, projectionHead } from "./heads.ts";
import type { Encoder } from "./encoder.ts";
import { resnetFeatures, type ResNetShape, traceResNet } from "./resnet.ts";

/** The head of the published teacher of each width. */
const HEADS = {
  1: { kind: "mlp_bn", hidden: 2048 },
  2: { kind: "mlp_bn", hidden: 8192 },
  4: { kind: "mlp_bn", hidden: 8192 },
  5: { kind: "mlp", hidden: 10240 },
} as const satisfies Record<number, { kind: HeadKind; hidden: number }>;

/**
 * The encoder of a width: the channels of every layer, the first convolution's too, are `width` times as many. Its
 * embedding is L2-normalised, but for the logits of a classifier, which is called `fc`.
 *
 * The original pads images by 1 with zeros and its first convolution by 2: together the usual padding of 3.
 */
export function swavResNet50(width: keyof typeof HEADS): Encoder {
  const { kind, hidden } = HEADS[width];
  const shape: ResNetShape = { depth: 50, width, stemWidth: 64 * width };
  const features = resnetFeatures(shape);
  return {
    name: `swav_resnet50${width === 1 ? "" : `w${width}`}`,
    family: "ResNet of SWAV",
    original: "swav_resnet.py of the original SEED",
    ...width === 1 && { torchvision: "resnet50" },
    roles: width === 1 ? ["teacher", "student"] : ["teacher"],
    features,
    ssl: "swav",
    head: kind,
    trace(b, images, head) {
      const traced = traceResNet(b, images, shape);
      if (head.isClassifier) {
        return { ...traced, embedding: projectionHead(b, "fc", features, head)(traced.feature) };
      }
      const projected = projectionHead(b, "projection_head", features, head, hidden)(traced.feature);
      return { ...traced, embedding: b.graph.apply(l2Normalize, [projected], {}) };
    },
  };
}
