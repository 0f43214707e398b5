/** Settings of runs, and those that differ between them. */
import { lastParts, shortNames } from "page/names.ts";

/** Settings that are of no interest in a comparison: where a run's files are, and how it is shown. */
const NOT_COMPARED = new Set(["output", "print_freq", "resume", "workers", "keep", "save_every"]);

/** Settings by their names in `config.json`. */
export type Settings = Readonly<Record<string, unknown>>;

/** Returns the names of the settings that are not the same in all runs. */
export function differingSettings(runs: readonly Settings[]): string[] {
  const names = new Set(runs.flatMap((settings) => Object.keys(settings)));
  return [...names].filter((name) =>
    !NOT_COMPARED.has(name) && new Set(runs.map((settings) => JSON.stringify(settings[name]))).size > 1
  );
}

/** Formats a setting of some runs; of paths their last parts, or as much as tells them apart. */
export function formatSetting(values: readonly unknown[]): string[] {
  const texts = [...new Set(values.filter((value) => typeof value === "string"))];
  const short = shortNames(texts);
  return values.map((value) => {
    if (value === undefined) return "";
    return typeof value === "string" ? short[texts.indexOf(value)] : JSON.stringify(value);
  });
}

/** What a run is: which student learns from which teacher, on which images. Names are empty where a setting is missing. */
export function describeRun(settings: Settings = {}): { student: string; teacher: string; data: string } {
  const text = (name: string) => typeof settings[name] === "string" ? settings[name] : "";
  const kind = text("teacher_ssl");
  const data = text("data") || text("train_data");
  return {
    student: text("student_arch") || text("arch"),
    teacher: text("teacher_arch") + (kind === "" ? "" : ` (${kind})`),
    data: data === "" ? "" : lastParts(data, 2),
  };
}
