/// <reference lib="dom" />
/** What is on top: how the run stands. */
import { formatNumber } from "page/charts.ts";
import { duration, find, make } from "page/elements.ts";
import type { Run, State } from "page/state.ts";

const SAID: Readonly<Record<string, string>> = {
  running: "Running",
  finished: "Finished",
  interrupted: "Interrupted: a checkpoint was saved, and --resume goes on from it",
  failed: "Failed",
};

/** A run that says it is running, but has not written for so long, is no longer there. */
const SILENT_MS = 60_000;

/** How a run stands, in words, and a word for the style sheet. */
export function describeStatus(
  run: Run | undefined,
  { isLive, isConnected, refusal }: State,
): { text: string; status: string } {
  const record = run?.record;
  if (!isConnected && refusal !== undefined) {
    return { text: `No news: ${refusal}. The page tries again by itself.`, status: "lost" };
  }
  if (isLive && !isConnected && (record === undefined || record.status === "running")) {
    const text = "The program is not there: this is how it was. The page goes on when it is started again.";
    return { text, status: "lost" };
  }
  if (run === undefined || record === undefined) return { text: "Waiting for the run", status: "waiting" };
  const seen = Math.max(Date.parse(record.startedAt), Date.parse(run.actors?.at ?? record.startedAt));
  if (record.status === "running" && isLive && Date.now() - seen > SILENT_MS) {
    const since = new Date(seen).toLocaleString();
    return { text: `No sign of life since ${since}: it was killed, or stands still`, status: "lost" };
  }
  const text = SAID[record.status] ?? record.status;
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
  const name = run.name.split(/[\\/]/).filter((part) => part !== "").at(-1) ?? run.name;
  find("title").textContent = name;
  document.title = `${name} – SEED`;

  const plan = record?.plan;
  const done = last?.step ?? plan?.firstStep ?? 0;
  const progress = find<HTMLProgressElement>("progress");
  progress.hidden = plan === undefined;
  progress.max = plan?.totalSteps ?? 1;
  progress.value = done;
  const rate = last?.images_per_second ?? undefined;
  const left = plan && rate !== undefined && record?.status === "running"
    ? duration((plan.totalSteps - done) * batchOf(run) / rate)
    : undefined;
  const figures: [string, string | undefined][] = [
    ["step", plan ? `${done} of ${plan.totalSteps}` : undefined],
    ["epoch", last && plan ? `${last.epoch} of ${plan.epochs}` : undefined],
    ["loss", last ? formatNumber(last.loss ?? NaN) : undefined],
    ["images a second", rate === undefined ? undefined : formatNumber(rate, 3)],
    ["left", left],
    [
      "took",
      record?.seconds === undefined ? undefined : duration(record.seconds + (record.before?.seconds ?? 0)),
    ],
  ];
  find("now").replaceChildren(
    ...figures.flatMap(([name, value]) =>
      value === undefined
        ? []
        : [make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))]
    ),
  );
}

function batchOf({ config }: Run): number {
  return Number(config?.batch_size ?? NaN);
}

/** Lets several runs be chosen from. */
export function drawPicker(state: State, onChange: (focus: boolean) => void): void {
  const { runs } = state;
  find("picker").hidden = runs.length < 2;
  const overlay = find("overlay");
  const focus = find<HTMLSelectElement>("focus");
  if (focus.options.length === runs.length) return;
  overlay.querySelectorAll("label").forEach((label) => label.remove());
  for (const [i, run] of runs.entries()) {
    const box = make("input");
    box.type = "checkbox";
    box.checked = run.isShown;
    box.addEventListener("change", () => {
      run.isShown = box.checked;
      onChange(false);
    });
    overlay.append(make("label", {}, box, ` ${run.name}`));
    focus.append(new Option(run.name, String(i)));
  }
  focus.addEventListener("change", () => {
    state.focus = Number(focus.value);
    onChange(true);
  });
}
