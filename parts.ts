/**
 * Building blocks for custom encoders, losses, augmentations and ops. A run loads a module that registers some
 * through its `plugins` option; `examples/custom_encoder.ts` is one.
 *
 * @module
 */

export { type MakeAugmentation, registerAugmentation } from "./kernels/image/augmentations.ts";
export type { ResizeFilter } from "./kernels/image/resize_table.ts";
export type { Augmentation, JitterRule, Range } from "./kernels/image/view_parameters.ts";
export {
  type Binding,
  type Dispatch,
  type DType,
  elementCount,
  expectShape,
  Graph,
  type Lowering,
  type Node,
  type Op,
  paddedCount,
  padTo4,
  type Tensor,
  type TensorType,
} from "./kernels/graph.ts";
export type { Target } from "./kernels/gpu.ts";
export {
  CHANNEL_MASK,
  f32,
  LINEAR_MAIN,
  LINEAR_SIZE,
  linearWorkgroups,
  storage,
  uniforms,
} from "./kernels/wgsl.ts";
export type { ConvolutionAttributes } from "./kernels/ops/conv2d/geometry.ts";
export { add } from "./kernels/ops/add/add.ts";
export { attention, type AttentionAttributes } from "./kernels/ops/attention/attention.ts";
export { affine, type AffineAttributes } from "./kernels/ops/affine/affine.ts";
export { crossEntropy, type CrossEntropyAttributes } from "./kernels/ops/cross_entropy/cross_entropy.ts";
export { swiglu } from "./kernels/ops/gated_activation/gated_activation.ts";
export { globalAveragePool } from "./kernels/ops/global_average_pool/global_average_pool.ts";
export { l2Normalize } from "./kernels/ops/l2_normalize/l2_normalize.ts";
export { layerNorm, type LayerNormAttributes } from "./kernels/ops/layer_norm/layer_norm.ts";
export { matmulBatched, type MatmulBatchedAttributes } from "./kernels/ops/matmul_batched/matmul_batched.ts";
export { matmulTransposed } from "./kernels/ops/matmul_transposed/matmul_transposed.ts";
export { maxPool, type MaxPoolAttributes } from "./kernels/ops/max_pool/max_pool.ts";
export { mean } from "./kernels/ops/mean/mean.ts";
export { multiply } from "./kernels/ops/multiply/multiply.ts";
export {
  prependTokens,
  sliceTokens,
  type SliceTokensAttributes,
} from "./kernels/ops/prepend_tokens/prepend_tokens.ts";
export {
  queueCrossEntropy,
  type QueueCrossEntropyAttributes,
} from "./kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";
export { resizeMap, type ResizeMapAttributes } from "./kernels/ops/resize_map/resize_map.ts";
export { reshape, type ReshapeAttributes } from "./kernels/ops/reshape/reshape.ts";
export { rowDot, scaleRows } from "./kernels/ops/row_dot/row_dot.ts";
export { rowSum, spreadRows } from "./kernels/ops/row_sum/row_sum.ts";
export { scaledResidual } from "./kernels/ops/scaled_residual/scaled_residual.ts";
export { logSoftmax, softmax } from "./kernels/ops/softmax/softmax.ts";
export { activate, type Activation, type ActivationAttributes } from "./kernels/ops/activation/activation.ts";
export {
  concatenateChannels,
  sliceChannels,
  type SliceChannelsAttributes,
} from "./kernels/ops/concatenate_channels/concatenate_channels.ts";
export { scaleChannels, type ScaleChannelsAttributes } from "./kernels/ops/scale_channels/scale_channels.ts";
export type { ProductFamily, ProductKind, Tile, TileChoice, Tuning } from "./kernels/tuning/tuning.ts";
export { EncoderBuilder } from "./models/encoder_builder.ts";
export type {
  BatchNorm,
  Convolution,
  ConvolutionOptions,
  DeviceParameter,
  EncoderMode,
  Initial,
  LayerNorm,
  LayerScale,
  MadeTensor,
  Padding,
  StateEntry,
  StateKind,
} from "./models/encoder_layers.ts";
export { squeezeAndExcite, type SqueezeExcite } from "./models/squeeze_excite.ts";
export type { RowRange } from "./models/parameter_layout.ts";
export { type HeadKind, type HeadOptions, projectionHead } from "./models/heads.ts";
export { type Loss, type LossNeeds, type LossTemperature, registerLoss } from "./models/loss/losses.ts";
export type { LossInputs, LossMaps } from "./models/loss/loss_inputs.ts";
export { seedLoss, type SeedLossInputs } from "./models/loss/seed_loss.ts";
export {
  type Encoder,
  type EncoderOutputs,
  type EncoderRole,
  type FeatureKind,
  type ImageSizes,
  nameWithStem,
  type Stem,
  type TeacherSsl,
  type UnusedEntry,
} from "./models/encoder.ts";
export { registerEncoder } from "./models/registry.ts";
