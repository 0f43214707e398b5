/** `deno task compare`: runs side by side, as text and as a page. */
import { replaceTextFile } from "../../data/replace_file.ts";
import { requireNew } from "../../data/require_new.ts";
import { reportPage } from "../../ui/assets.ts";
import type {
  CurvePoint,
  EvaluationRecord,
  MetricsRow,
  PageMessage,
  RunRecord,
  ScoreRow,
} from "../../ui/records.ts";
import { shortNames } from "../../ui/page/names.ts";
import { formatFigure, resultsOf } from "../../ui/page/results.ts";
import { differingSettings, formatSetting } from "../../ui/page/settings.ts";
import { RunReader } from "../../ui/run_reader.ts";
import { formatDuration } from "../terminal/duration.ts";
import { checkRunFolders } from "../output/run_folders.ts";
import { runMain } from "../terminal/run_main.ts";
import { screenWidth } from "../terminal/screen_width.ts";
import { formatWideTable } from "../terminal/table.ts";
import { parseCompareFlags } from "../flags/compare_flags.ts";

/** A run, as far as it can be compared. */
interface ComparedRun {
  name: string;
  folder: string;
  record?: RunRecord;
  evaluations: readonly EvaluationRecord[];
  config: Record<string, unknown>;
  points: readonly CurvePoint[];
  /** The newest step: a point of a long run is the mean of several, the newest of which may make none yet. */
  last: MetricsRow | null;
  scores: readonly ScoreRow[];
}

const BARS = "▁▂▃▄▅▆▇█";
const SPARKS = 20;

function collect(folder: string, name: string, messages: readonly PageMessage[]): ComparedRun {
  const run: ComparedRun = { name, folder, evaluations: [], config: {}, points: [], last: null, scores: [] };
  for (const message of messages) {
    if (message.kind === "record") run.record = message.record;
    if (message.kind === "evaluations") run.evaluations = message.evaluations;
    if (message.kind === "config") run.config = message.config;
    if (message.kind === "metrics") [run.points, run.last] = [message.points, message.last];
    if (message.kind === "scores") run.scores = message.rows;
  }
  return run;
}

/** A curve in one line of text, the least value lowest. */
export function sparkline(values: readonly number[]): string {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return "";
  const width = Math.min(SPARKS, known.length);
  const means = Array.from({ length: width }, (_, i) => {
    const part = known.slice(
      Math.floor(i * known.length / width),
      Math.floor((i + 1) * known.length / width),
    );
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [least, most] = [Math.min(...means), Math.max(...means)];
  return means.map((value) => BARS[most === least ? 0 : Math.round((value - least) / (most - least) * 7)])
    .join("");
}

/** The runs' results, one column a run. */
function compareResults(runs: readonly ComparedRun[], columns: number): string {
  const names = new Set(
    runs.flatMap((run) => resultsOf(run.record, run.evaluations).map(({ name }) => name)),
  );
  const losses = runs.map(({ points }) => points.map(([, loss]) => loss ?? NaN));
  const rows = [
    ["", ...runs.map(({ name }) => name)],
    ["status", ...runs.map(({ record }) => record?.status ?? "unknown")],
    ["steps done", ...runs.map(({ last }) => String(last?.step ?? 0))],
    ["loss over the steps", ...losses.map(sparkline)],
    ["last loss", ...runs.map(({ last }) => last === null ? "" : (last.loss ?? NaN).toFixed(4))],
    ...[...names].map((name) => [
      name,
      ...runs.map((run) => {
        const figure = resultsOf(run.record, run.evaluations).find((other) => other.name === name);
        return figure === undefined ? "" : formatFigure(figure, formatDuration);
      }),
    ]),
  ];
  return formatWideTable(rows, columns);
}

/** Does what the command line says; returns the exit code, nothing for 0. */
export async function main(): Promise<void> {
  const command = parseCompareFlags(Deno.args);
  if (command.help !== undefined) return console.log(command.help);
  const { folders, plot, force, json } = command;
  if (plot !== undefined) await requireNew([plot], force);
  await checkRunFolders(folders);
  const names = shortNames(folders);
  const readers = folders.map((folder, run) => new RunReader(folder, run));
  for (const reader of readers) await reader.poll();
  const messages = readers.map((reader) => reader.everything());
  const runs = messages.map((own, i) => collect(folders[i], names[i], own));
  const differing = differingSettings(runs.map(({ config }) => config));
  if (plot !== undefined) {
    await replaceTextFile(plot, reportPage([{ kind: "runs", names, isLive: false }, ...messages.flat()]));
  }
  if (json) {
    const facts = runs.map((run) => ({
      name: run.name,
      folder: run.folder,
      status: run.record?.status,
      results: Object.fromEntries(
        resultsOf(run.record, run.evaluations).map(({ name, value }) => [name, value]),
      ),
      scores: run.scores,
      settings: Object.fromEntries(differing.map((name) => [name, run.config[name]])),
    }));
    return console.log(JSON.stringify({ runs: facts }, null, 2));
  }
  const columns = screenWidth(80);
  console.log(compareResults(runs, columns));
  if (runs.length > 1) {
    const rows = differing.map((name) => [name, ...formatSetting(runs.map(({ config }) => config[name]))]);
    console.log();
    console.log(
      rows.length === 0
        ? "the settings are the same"
        : formatWideTable([["differing settings", ...names], ...rows], columns),
    );
  }
  if (plot !== undefined) console.log(`\nplot      ${plot}`);
}

if (import.meta.main) await runMain(main);
