/// <reference lib="dom" />
/** What is on top: what the run is, and how it stands. */
import { formatNumber } from "page/charts.ts";
import { duration, find, make } from "page/elements.ts";
import { lastParts } from "page/names.ts";
import { describeRun } from "page/settings.ts";
import {
  accuracyNow,
  BY,
  describeImages,
  type Run,
  secondsTaken,
  silentSince,
  type State,
} from "page/state.ts";
import { wordingOf } from "page/wording.ts";

const SAID: Readonly<Record<string, string>> = {
  running: "Running",
  finished: "Finished",
  interrupted: "Interrupted: to resume, rerun with --resume auto and this folder as --output",
  failed: "Failed",
};

/** How a run stands, in words, and a word for the style sheet. */
export function describeStatus(
  run: Run | undefined,
  state: State,
): { text: string; status: string } {
  const { isLive, isConnected, refusal } = state;
  const record = run?.record;
  if (!isConnected && refusal !== undefined) {
    return { text: `No updates: ${refusal}. The page retries automatically.`, status: "lost" };
  }
  if (isLive && !isConnected && (record === undefined || record.status === "running")) {
    const text =
      "Connection lost: this is the last known state. The page reconnects when the program is restarted.";
    return { text, status: "lost" };
  }
  if (run === undefined || record === undefined) return { text: "Waiting for the run", status: "waiting" };
  const seen = silentSince(run, state);
  if (seen !== undefined) {
    const since = new Date(seen).toLocaleString();
    return { text: `No updates since ${since}: the run was killed, or hangs`, status: "lost" };
  }
  // What only evaluates a checkpoint begins anew.
  const isResumable = record.status !== "interrupted" || run.config?.evaluate !== true;
  const text = isResumable ? SAID[record.status] ?? record.status : "Interrupted";
  return { text: record.error === undefined ? text : `${text}: ${record.error}`, status: record.status };
}

/** Shows it. */
export function drawHeader(state: State): void {
  const { run } = state;
  const { text, status } = describeStatus(run, state);
  const shown = find("status");
  // Only what is new is read aloud.
  if (shown.textContent !== text) shown.textContent = text;
  shown.dataset.status = status;
  if (run === undefined) return;
  const { record, last } = run;
  const name = lastParts(run.name, 1);
  find("title").textContent = name;
  document.title = `${name} – SEED`;

  const plan = record?.plan;
  const done = last?.step ?? plan?.first_step ?? 0;
  const progress = find<HTMLProgressElement>("progress");
  progress.hidden = plan === undefined;
  progress.max = plan?.total_steps ?? 1;
  progress.value = done;
  const rate = last?.images_per_second ?? undefined;
  const left = record?.status === "running" ? run.actors?.seconds_left : undefined;
  const { student, teacher, data } = describeRun(run.config);
  const now = accuracyNow(run);
  const taken = secondsTaken(run);
  const percent = (value: number) => `${value.toFixed(1)} %`;
  showFigures("what", [
    [wordingOf(record?.task).noun, student || undefined],
    ["teacher", teacher || undefined],
    ["data", data || undefined],
    [
      `latest ${BY[now?.by ?? "knn"]} top-1${describeImages(now)}`,
      now && percent(now.top1) + (now.teacher === undefined ? "" : `, teacher ${percent(now.teacher)}`),
    ],
  ]);
  showFigures("now", [
    ["step", plan ? `${done} of ${plan.total_steps}` : undefined],
    ["epoch", last && plan ? `${last.epoch} of ${plan.epochs}` : undefined],
    ["loss", last ? formatNumber(last.loss ?? NaN) : undefined],
    ["images per second", rate === undefined ? undefined : formatNumber(rate, 3)],
    ["time left", left === undefined ? undefined : duration(left)],
    ["time taken", taken === undefined ? undefined : duration(taken)],
  ]);
}

/** Shows figures under their names; those that are not known are left out. */
function showFigures(id: string, figures: readonly (readonly [string, string | undefined])[]): void {
  find(id).replaceChildren(
    ...figures.flatMap(([name, value]) =>
      value === undefined
        ? []
        : [make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))]
    ),
  );
}
