/** The two parts of the images that an evaluation needs. */
import { findDataset, resolveDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";

/**
 * Finds the images to learn from in `data`, and those to be evaluated on in `testData`, or beside the former where that is
 * left out.
 *
 * @throws {UserError} where there are none
 */
export async function findBoth(
  { data, testData }: { data: string; testData?: string | null },
): Promise<{ data: string; testData: string }> {
  const found = await findDataset(testData ?? data, "test") ?? testData;
  if (found === undefined || found === null) {
    throw new UserError(`${data} has no test images: expected them there or at testData`);
  }
  return { data: await resolveDataset(data, "train"), testData: found };
}
