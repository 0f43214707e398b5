/** Which tensors of an encoder PyTorch calls parameters: an optimizer's state numbers those, and no buffers. */
import { partsOf } from "./encoder_parts.ts";
import { encodersNamed, usualHead } from "./registry.ts";

/** The buffers of batch norms, which a head may have that is not the usual one. */
const BATCH_NORM_BUFFER = /(^|\.)(running_mean|running_var|num_batches_tracked)$/;

/** Returns `true` for a parameter's plain key, and `false` for a buffer's. */
export type ParameterRule = (key: string) => boolean;

/** Knows batch norm's buffers alone: what checkpoints of a training were numbered by before {@linkcode parameterRule}. */
export const BY_BATCH_NORM: ParameterRule = (key) => !BATCH_NORM_BUFFER.test(key);

/**
 * Returns the rule of an encoder with any head and with layers of any loss. Its buffers are those that it declares, such as the
 * periods of DINOv3's rotary positions.
 *
 * @param arch name; of an encoder that is not registered, batch norm's buffers alone are known
 */
export function parameterRule(arch: string): ParameterRule {
  const encoder = encodersNamed(arch).find(({ name }) => name === arch);
  const state = encoder === undefined ? [] : partsOf(encoder, usualHead(encoder)).encoder;
  const buffers = new Set(state.filter(({ kind }) => kind !== "parameter").map(({ key }) => key));
  return (key) => BY_BATCH_NORM(key) && !buffers.has(key);
}
