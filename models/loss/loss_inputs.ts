/** What a loss of a distillation is given. */
import type { Tensor } from "../../kernels/graph.ts";
import type { SeedLossInputs } from "./seed_loss.ts";

/** Feature maps of a batch, for a loss that compares them. */
export interface LossMaps {
  /** The student's last feature map [n, h, w, c]; of a vision transformer its patch tokens. */
  student: Tensor;
  /** The teacher's, likewise, in its own size [n, h', w', c']. */
  teacher: Tensor;
  /**
   * Applies a linear layer of the loss's own, with bias, to every pixel: x [n, h, w, c] -> [n, h, w, outputs]. It is trained and
   * saved with the student, as `loss_NAME.weight` and `loss_NAME.bias`, and no encoder needs it afterwards.
   */
  linear(name: string, x: Tensor, outputs: number): Tensor;
}

/** What a loss is made of. */
export interface LossInputs extends SeedLossInputs {
  /** `teacher` of the whole batch [devices * n, 1, 1, d], in the order of the devices that share it; one device has all of it. */
  batchTeacher: Tensor;
  /** Feature maps, if the loss was registered with `usesMaps`; small views have none. */
  maps?: LossMaps;
  /** Temperature of the second term of `tokens` (`--token-t`). */
  tokenTemperature: number;
  /** Weight of that term (`--token-weight`). */
  tokenWeight: number;
}
