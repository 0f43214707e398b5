/** SimCLR's ResNet-50 (Chen et al. 2020): `simclr_resnet.py` of the original. */
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { projectionHead } from "./heads.ts";
import type { Encoder } from "./encoder.ts";
import { resnetFeatures, type ResNetShape, traceResNet } from "./resnet.ts";

/** The original wraps the network once more, and so its keys. */
const PREFIX = "module.";

/** The encoder. Its head has a batch norm, and its embedding is L2-normalised, but for the logits of a classifier. */
export function simclrResNet50(): Encoder {
  const shape: ResNetShape = { depth: 50, prefix: PREFIX };
  const features = resnetFeatures(shape);
  return {
    name: "simclr_resnet50",
    family: "ResNet of SimCLR",
    original: "simclr_resnet.py of the original SEED",
    torchvision: "resnet50",
    roles: ["teacher", "student"],
    features,
    ssl: "simclr",
    head: "mlp_bn",
    trace(b, images, head) {
      const traced = traceResNet(b, images, shape);
      const projected = projectionHead(b, `${PREFIX}fc`, features, head)(traced.feature);
      return {
        ...traced,
        embedding: head.isClassifier ? projected : b.graph.apply(l2Normalize, [projected], {}),
      };
    },
  };
}
