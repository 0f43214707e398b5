/** Which weights an optimizer with decoupled weight decay shrinks. */

/**
 * Whether an entry of a state_dict decays: weights of convolutions and linear layers do. Norms, biases, LayerScale, class token,
 * registers and positions do not, as in DeiT and timm (`no_weight_decay()` and `param_groups_weight_decay()`). DINO shrinks class
 * token and positions too; MoCo-v3 all that it trains, norms and biases too.
 *
 * @param shape PyTorch's or the device's: a vector is one in both
 */
export function isDecayed(key: string, shape: readonly number[]): boolean {
  return key.endsWith(".weight") && shape.length > 1;
}
