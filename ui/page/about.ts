/// <reference lib="dom" />
/** Results, what was run on what, and how to do the run again. */
import { duration, facts, find } from "page/elements.ts";
import { formatFigure, resultsOf } from "page/results.ts";
import { accuracyNow, BY_IN_FULL, describeImages, type Run, type State } from "page/state.ts";
import { wordingOf } from "page/wording.ts";

/** How long the page says that something was copied, in ms. */
const SAID_MS = 3_000;

/** What is known before the run has ended. */
function resultsSoFar(run: Run): (readonly [name: string, value: string])[] {
  const { last } = run;
  const { noun } = wordingOf(run.record?.task);
  const now = accuracyNow(run);
  const by = BY_IN_FULL[now?.by ?? "knn"] + describeImages(now);
  const percent = (value: number) => `${value.toFixed(1)} %`;
  return [
    ...now?.teacher === undefined ? [] : [[`teacher, ${by} top-1`, percent(now.teacher)] as const],
    ...now === undefined ? [] : [[`${noun}, latest ${by} top-1`, percent(now.top1)] as const],
    ...last?.loss === null || last === null
      ? []
      : [[`loss, step ${last.step}`, last.loss.toFixed(4)] as const],
  ];
}

function drawResults(run: Run | undefined): void {
  const { record, evaluations } = run ?? {};
  // How good it is comes before how long it took.
  const results = resultsOf(record, evaluations)
    .sort((a, b) => Number(b.unit === "%") - Number(a.unit === "%"))
    .map((figure) => [figure.name, formatFigure(figure, duration)] as const);
  const isOver = record?.results !== undefined;
  const soFar = run === undefined || isOver ? [] : resultsSoFar(run);
  const said = find("results-said");
  said.hidden = isOver;
  const isRunning = record === undefined || record.status === "running";
  said.textContent = soFar.length > 0
    ? `These are the latest values; ${
      isRunning ? "the results are written when the run ends" : "the run did not finish"
    }.`
    : isRunning
    ? "No results yet: they are written when the run ends."
    : "No results: the run did not finish.";
  facts("results-list", [...soFar, ...results]);
}

/** Shows it. */
export function drawAbout({ run }: State): void {
  drawResults(run);
  const { record, config } = run ?? {};
  const said = find("about-said");
  said.textContent = record === undefined ? "The output directory has no run.json yet." : "";
  said.hidden = record !== undefined;
  find("again").hidden = record === undefined;
  if (record !== undefined) {
    find("command").textContent = record.command;
    facts("facts", [
      ...record.inputs.map(({ role, path, fingerprint }) =>
        [role, fingerprint === undefined ? path : `${path} (${fingerprint.slice(0, 16)})`] as const
      ),
      ["started", new Date(record.started_at).toLocaleString()],
      ...record.ended_at === undefined
        ? []
        : [["ended", new Date(record.ended_at).toLocaleString()] as const],
      ...Object.entries(record.hardware),
      ...Object.entries(record.versions).map(([name, version]) => [name, version] as const),
    ]);
  }
  const settings = Object.entries(config ?? {});
  facts(
    "settings",
    settings.length === 0
      ? [["none", "the output directory has no config.json yet"]]
      : settings.map(([name, value]) =>
        [name, typeof value === "string" ? value : JSON.stringify(value)] as const
      ),
  );
}

/** Selects the command, which is what can be copied by hand too. */
function selectCommand(): void {
  const range = document.createRange();
  range.selectNodeContents(find("command"));
  getSelection()!.removeAllRanges();
  getSelection()!.addRange(range);
}

/** Makes the button work that copies the command. */
export function prepareCopy(): void {
  const said = find("copy-said");
  find("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(find("command").textContent!);
      said.textContent = "copied";
    } catch {
      // There is no clipboard for pages that came over a network.
      selectCommand();
      said.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C to copy";
    }
    setTimeout(() => said.textContent = "", SAID_MS);
  });
}
