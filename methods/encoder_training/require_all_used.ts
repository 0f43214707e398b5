/** A trained encoder has no layer that nothing depends on. */
import { UserError } from "../../errors.ts";
import type { Tensor } from "../../kernels/graph.ts";
import type { Encoder } from "../../models/encoder.ts";
import type { EncoderBuilder } from "../../models/encoder_builder.ts";

/** How many entries the message names. */
const NAMED = 3;

/**
 * Fails where an encoder declares layers that none of its outputs depends on. They have no gradients, and those that are not even
 * applied have no values that a checkpoint could hold.
 *
 * @throws {UserError} that names the encoder and entries of such layers
 */
export function requireAllUsed({ name }: Encoder, builder: EncoderBuilder, outputs: Tensor[]): void {
  const used = new Set(builder.parametersOf(...outputs).flatMap(({ keys }) => keys));
  const unused = builder.state.filter(({ key, kind }) => kind !== "counter" && !used.has(key)).map((
    { key },
  ) => key);
  if (unused.length === 0) return;
  const more = unused.length > NAMED ? ` and ${unused.length - NAMED} more` : "";
  throw new UserError(
    `the outputs of the encoder "${name}" do not depend on ${
      unused.slice(0, NAMED).join(", ")
    }${more}: apply these layers, ` +
      "or do not declare them",
  );
}
