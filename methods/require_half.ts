/** Mixed precision, `--amp`, needs an adapter that keeps float16. */
import { UserError } from "../errors.ts";
import { describeAdapter } from "../kernels/gpu.ts";

/**
 * Fails where the adapter cannot keep float16.
 *
 * @throws {UserError} that names the adapter
 */
export async function requireHalf(): Promise<void> {
  const { name, hasHalf } = await describeAdapter();
  if (!hasHalf) {
    throw new UserError(
      `--amp needs an adapter with shader-f16, which ${name} does not have; leave --amp out`,
    );
  }
}
