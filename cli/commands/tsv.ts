/** `deno task tsv`: images in, TSV files and a summary out. The work itself is `data/convert/`. */
import { counted, printableLine } from "../../data/printable.ts";
import { basename, dirname, join } from "node:path";
import { CLASS_NAMES_FILE, classNamesPath, readClassNames } from "../../data/class_names.ts";
import { checkSources, convert, type RowEvents } from "../../data/convert/convert.ts";
import {
  classNamesOf,
  closeSources,
  describeNameless,
  type OpenedSources,
  openSources,
  type SourceOptions,
} from "../../data/convert/open_sources.ts";
import { checkSameClassNames, type Dataset } from "../../data/dataset.ts";
import { findDataset } from "../../data/open_dataset.ts";
import type { RowStatistics } from "../../data/convert/row_statistics.ts";
import { isThere, requireNew } from "../../data/require_new.ts";
import { UserError } from "../../errors.ts";
import { CountProgress } from "../terminal/count_progress.ts";
import { UsageError } from "../flags/flags.ts";
import { interruptSignal } from "../terminal/interrupt.ts";
import { runMain } from "../terminal/run_main.ts";
import { parseTsvFlags, type TsvCommand } from "../flags/tsv_flags.ts";

/** Broken images that are named; the others are counted. */
const MAX_NAMED = 20;

/** What a folder has to train on. */
const TRAIN = "train.tsv";

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function range([min, max]: readonly [number, number]): string {
  return min === max ? count(min) : `${count(min)} to ${count(max)}`;
}

/** Lines about rows that were looked at. */
export function describeStatistics(
  { rows, broken, labels, sizes }: Omit<RowStatistics, "add">,
  classNames: readonly string[] | undefined,
  brokenOnes: string,
): string[] {
  const lines = [`rows      ${count(rows)}${broken === 0 ? "" : `, plus ${count(broken)} ${brokenOnes}`}`];
  const known = [...labels.keys()].filter((label) => label >= 0).sort((a, b) => a - b);
  if (known.length > 0) {
    const each = known.map((label) => labels.get(label)!).sort((a, b) => a - b);
    const [first, last] = [known[0], known.at(-1)!].map((label) => classNames?.[label]);
    const names = first === undefined || last === undefined
      ? ""
      : first === last
      ? ` (${first})`
      : ` (${first} to ${last})`;
    lines.push(
      `labels    ${range([known[0], known.at(-1)!])}${names}, ${
        counted(known.length, "class", "classes")
      }, ` +
        `rows per class: ${range([each[0], each.at(-1)!])}`,
    );
  }
  const none = [...labels].filter(([label]) => label < 0);
  if (none.length > 0) {
    const rows = none.reduce((sum, [, rows]) => sum + rows, 0);
    const which = none.length === 1 ? `label ${none[0][0]}` : "negative labels";
    lines.push(`unlabelled  ${count(rows)} rows, with ${which}`);
  }
  if (sizes !== undefined) {
    lines.push(`images    ${range(sizes.width)} wide, ${range(sizes.height)} high, in pixels`);
  }
  return lines;
}

/** A class a line. */
function listOf(classNames: readonly string[]): string {
  return classNames.map((name) => printableLine(name) + "\n").join("");
}

/** Fails where the list of a folder has other classes than the images that are to become a file in it. */
function checkListed(
  known: readonly string[] | undefined,
  path: string,
  images: Pick<Dataset, "path" | "classNames">,
): void {
  try {
    checkSameClassNames({ path, classNames: known }, images);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`--output: ${error.message} Data of other classes needs another folder.`, {
      cause: error,
    });
  }
}

/** Names of the TSV files beside one, sorted; none where the folder cannot be listed. */
function otherTsvFiles(path: string): string[] {
  try {
    return [...Deno.readDirSync(dirname(path))]
      .map(({ name }) => name)
      .filter((name) => /\.tsv$/i.test(name) && name !== basename(path))
      .sort();
  } catch {
    return [];
  }
}

/**
 * Paths of the files to write, `names` for the classes where there are any to write, and the folder if it was `made` now; refuses to replace any unless that is asked for.
 *
 * @param onWarning told of what stays in the folder, where it would count as of these images, and of class names that are not written
 */
async function prepareOutputs(
  { train, test }: OpenedSources,
  output: string,
  classNames: readonly string[] | undefined,
  splits: boolean,
  force: boolean,
  onWarning: (text: string) => void,
): Promise<{ train: string; test: string; names: string | null; made: string | null }> {
  const isFile = output.endsWith(".tsv");
  if (isFile && test.length > 0) {
    throw new UsageError(
      `--output: expected a folder for ${train[0].path} and ${test[0].path}, found the file ${output}`,
    );
  }
  if (splits && test.length > 0) {
    throw new UsageError(`--split: the sources already have test images, ${test[0].path}; leave --split out`);
  }
  const paths = isFile
    ? { train: output, test: "" }
    : { train: join(output, TRAIN), test: join(output, "test.tsv") };
  const folder = dirname(paths.train);
  const classes = classNamesPath(paths.train);
  const known = readClassNames(paths.train);
  const hasThem = classNames !== undefined && listOf(classNames) === listOf(known ?? []);
  const hasNew = !hasThem && classNames !== undefined;
  const nameless = isFile && hasNew && known === undefined ? otherTsvFiles(output) : [];
  const names = hasNew && nameless.length === 0 ? classes : null;
  // The other TSV files of the folder have their names from there, so that it is not replaced for one of them.
  if (isFile && names !== null) checkListed(known, classes, { path: train[0].path, classNames });
  const written = splits || test.length > 0 ? [paths.train, paths.test] : [paths.train];
  if (names !== null) written.push(names);
  await requireNew(written, force);
  if (nameless.length > 0) {
    onWarning(
      `the classes of ${train[0].path} have names, the labels of ${
        nameless.join(", ")
      } in ${folder} have none, ` +
        `so they may not mean the same: no ${CLASS_NAMES_FILE} is written. Choose another folder, or write the list`,
    );
  }
  const isBefore = (path: string) => `${path} is from before and stays as it is`;
  const holdsTrain = basename(paths.train) === TRAIN && await isThere(folder);
  const oldTest = holdsTrain ? await findDataset(folder, "test") : undefined;
  if (oldTest !== undefined && !written.includes(paths.test)) {
    onWarning(
      `${isBefore(oldTest)}, as the test images of ${folder}; move it elsewhere if it is of other images`,
    );
  }
  if (!hasThem && !written.includes(classes) && await isThere(classes)) {
    onWarning(`${isBefore(classes)}; remove it if it is of other images`);
  }
  const made = await isThere(folder) ? null : folder;
  try {
    await Deno.mkdir(folder, { recursive: true });
  } catch (error) {
    throw new UserError(`${folder} cannot be created: ${(error as Error).message}`);
  }
  return { ...paths, names, made };
}

async function writeFiles(
  { output, options, force }: TsvCommand & { help: undefined },
  sources: OpenedSources,
  events: RowEvents,
  signal: AbortSignal,
  onWarning: (text: string) => void,
): Promise<string[]> {
  const all = [...sources.train, ...sources.test];
  const classNames = classNamesOf(all);
  const nameless = describeNameless(all);
  if (nameless !== undefined) onWarning(nameless);
  const { train, test, names, made } = await prepareOutputs(
    sources,
    output!,
    classNames,
    options.split !== null,
    force,
    onWarning,
  );
  const classes = names === null ? undefined : { path: names, text: listOf(classNames!) };
  const wishes = { ...options, train, test, classes };
  const written = await convert(sources, wishes, events, signal).catch(async (error) => {
    if (made !== null) await Deno.remove(made).catch(() => {}); // it is kept where anything is in it
    throw error;
  });
  const lines = written.flatMap(({ path, bytes, statistics }) => [
    `file      ${path}, ${count(bytes)} bytes`,
    ...describeStatistics(statistics, classNames, "broken, left out"),
  ]);
  if (names !== null) lines.push(`classes   ${names}`);
  return lines;
}

async function checkFiles(
  { options: { maxPixels, limit } }: TsvCommand & { help: undefined },
  sources: OpenedSources,
  events: RowEvents,
  signal: AbortSignal,
): Promise<string[]> {
  const lines: string[] = [];
  for (const part of [sources.train, sources.test]) {
    if (part.length === 0) continue;
    const statistics = await checkSources(part, events, signal, { maxPixels, limit });
    lines.push(
      `data      ${part.map(({ path }) => path).join(", ")}`,
      ...describeStatistics(statistics, classNamesOf(part), "broken"),
    );
  }
  return lines;
}

/** Opens the sources, and shows how far that is where the rows of a TSV file must be found first. */
async function open(
  { sources, quiet }: TsvCommand & { help: undefined },
  signal: AbortSignal,
  listeners: Pick<SourceOptions, "onWarning" | "onNote">,
): Promise<OpenedSources> {
  using progress = new CountProgress({ doing: "reading the data, MiB", quiet });
  const onProgress = (done: number, total: number) => progress.updateBytes(done, total);
  try {
    return await openSources(sources, { ...listeners, signal, onProgress });
  } catch (error) {
    signal.throwIfAborted(); // npm hears a Ctrl-C too, and fails
    throw error;
  }
}

/** Does what the command line says; returns the exit code, nothing for 0. */
export async function main(): Promise<number> {
  const command = parseTsvFlags(Deno.args);
  if (command.help !== undefined) {
    console.log(command.help);
    return 0;
  }
  using interrupt = interruptSignal();
  let lines: string[];
  let broken = 0;
  {
    using progress = new CountProgress({
      doing: command.output === null ? "checked" : "written",
      quiet: command.quiet,
    });
    const events: RowEvents = {
      onRow: (done, total) => progress.update(done, total),
      onNote: (text) => progress.note(text),
      onBrokenRow(error) {
        broken++;
        if (broken <= MAX_NAMED) progress.warn(`warning: ${error.message}`);
        if (broken === MAX_NAMED + 1) {
          progress.warn("warning: more rows are broken; the summary counts them");
        }
      },
    };
    const onWarning = (text: string) => progress.warn(`warning: ${text}`);
    const sources = await open(command, interrupt.signal, {
      onWarning,
      onNote: (text) => progress.note(text),
    });
    try {
      lines = command.output === null
        ? await checkFiles(command, sources, events, interrupt.signal)
        : await writeFiles(command, sources, events, interrupt.signal, onWarning);
    } finally {
      closeSources(sources);
    }
  }
  for (const line of lines) console.log(line);
  return command.output === null && broken > 0 ? 1 : 0;
}

if (import.meta.main) await runMain(main);
