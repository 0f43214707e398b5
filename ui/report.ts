/** A run as one file that can be sent to somebody: settings, curves, images, results, and how to do it again. */
import { join } from "node:path";
import { replaceTextFile } from "../data/replace_file.ts";
import { reportPage } from "./assets.ts";
import { RunReader } from "./run_reader.ts";

/** Name of the report in a run's folder. */
export const REPORT = "report.html";

/**
 * Makes the report of a run, from what is in its folder.
 *
 * @returns its path
 * @throws {FileWriteError} where it cannot be written
 */
export async function writeReport(folder: string): Promise<string> {
  const reader = new RunReader(folder, 0);
  await reader.poll();
  const path = join(folder, REPORT);
  await replaceTextFile(
    path,
    reportPage([{ kind: "runs", names: [folder], isLive: false }, ...reader.everything()]),
  );
  return path;
}
