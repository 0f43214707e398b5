/**
 * SEED's loss, and a second term that compares similarities of places within each image: the local loss of LightlyTrain's third
 * distillation (`distillationv3_loss.py`).
 */
import { UserError } from "../../errors.ts";
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { affine } from "../../kernels/ops/affine/affine.ts";
import { l2Normalize } from "../../kernels/ops/l2_normalize/l2_normalize.ts";
import { matmulBatched } from "../../kernels/ops/matmul_batched/matmul_batched.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { reshape } from "../../kernels/ops/reshape/reshape.ts";
import { resizeMap } from "../../kernels/ops/resize_map/resize_map.ts";
import { rowDot } from "../../kernels/ops/row_dot/row_dot.ts";
import { logSoftmax, softmax } from "../../kernels/ops/softmax/softmax.ts";
import type { LossInputs } from "./loss_inputs.ts";
import { seedLoss } from "./seed_loss.ts";

/**
 * Returns the loss [1]: SEED's, plus `tokenWeight` times the mean over images and places of the Kullback-Leibler divergence of
 * the student's from the teacher's softmax over the place's similarities to all places of its image, its own among them, divided by
 * `tokenTemperature`. Places are the pixels of the teacher's map, each L2-normalised. The student's map goes through a linear layer
 * to the teacher's channels, and is resized. Of small views, which have no maps, it is SEED's loss alone.
 *
 * @throws {UserError} for a map of one place, whose only similarity is to itself
 */
export function tokensLoss(graph: Graph, inputs: LossInputs): Tensor {
  const whole = seedLoss(graph, inputs);
  const { maps, tokenTemperature, tokenWeight } = inputs;
  if (maps === undefined) return whole;
  const [n, height, width, channels] = maps.teacher.shape;
  requirePlaces("teacher", maps.teacher, "--teacher-size or --image-size");
  requirePlaces("student", maps.student, "--image-size, or --stem cifar");
  let student = maps.linear("tokens", maps.student, channels);
  if (student.shape[1] !== height || student.shape[2] !== width) {
    student = graph.apply(resizeMap, [student], { height, width });
  }
  const logits = (map: Tensor) => {
    const tokens = graph.apply(reshape, [graph.apply(l2Normalize, [map], {})], {
      shape: [n, height * width, channels],
    });
    const similarities = graph.apply(matmulBatched, [tokens, tokens], { transposeB: true });
    return graph.apply(affine, [similarities], { scale: 1 / tokenTemperature }); // [n, tokens, tokens]
  };
  const target = logits(maps.teacher);
  const negated = graph.apply(affine, [graph.apply(logSoftmax, [logits(student)], {})], { scale: -1 });
  const ratios = graph.apply(add, [graph.apply(logSoftmax, [target], {}), negated], {}); // log q - log p
  const divergences = graph.apply(rowDot, [graph.apply(softmax, [target], {}), ratios], {});
  const local = graph.apply(mean, [divergences], {});
  return graph.apply(add, [whole, graph.apply(affine, [local], { scale: tokenWeight })], {});
}

function requirePlaces(whose: string, { shape: [, height, width] }: Tensor, larger: string): void {
  if (height * width > 1) return;
  throw new UserError(
    `--loss tokens: the ${whose}'s feature map has one place, which leaves nothing to compare; use a larger ${larger}`,
  );
}
