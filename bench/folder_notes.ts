/** What folders of runs note, so that other images and other settings are not taken for theirs. */
import { fingerprintDataset } from "../data/fingerprint.ts";
import { openDataset } from "../data/open_dataset.ts";

/** Reads a JSON file; `undefined` where there is none. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** By what the images of a path are known again. */
export async function fingerprintImages(path: string): Promise<string> {
  using dataset = await openDataset(path);
  return await fingerprintDataset(dataset);
}
