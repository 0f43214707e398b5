/// <reference lib="dom" />
/** Results, and how to do the run again. */
import { duration, facts, find } from "page/elements.ts";
import { formatFigure, resultsOf } from "page/results.ts";
import type { State } from "page/state.ts";

/** Shows it. */
export function drawAbout({ run }: State): void {
  const { record, config } = run ?? {};
  const results = resultsOf(record, run?.evaluations);
  const rows = results.map((figure) => [figure.name, formatFigure(figure, duration)] as const);
  facts("results", rows.length > 0 ? rows : [["none yet", ""]]);
  if (record !== undefined) {
    find("command").textContent = record.command;
    facts("facts", [
      ...record.inputs.map(({ role, path, fingerprint }) =>
        [role, fingerprint === undefined ? path : `${path} (${fingerprint.slice(0, 16)})`] as const
      ),
      ["started", new Date(record.startedAt).toLocaleString()],
      ...record.endedAt === undefined ? [] : [["ended", new Date(record.endedAt).toLocaleString()] as const],
      ...Object.entries(record.hardware),
      ...Object.entries(record.versions).map(([name, version]) => [name, version] as const),
    ]);
  }
  facts(
    "settings",
    Object.entries(config ?? {}).map(([name, value]) =>
      [name, typeof value === "string" ? value : JSON.stringify(value)] as const
    ),
  );
}
