/** What came of a run, for the page and for text. */
import type { EvaluationRecord, RunFigure, RunRecord } from "../records.ts";

/** Figures of a run, and of the evaluations in its folder by the names of theirs. */
export function resultsOf(
  record: RunRecord | undefined,
  evaluations: readonly EvaluationRecord[] = [],
): RunFigure[] {
  const evaluated = evaluations.flatMap(({ name, record }) =>
    record.results?.map((figure) => ({ ...figure, name: `${name}: ${figure.name}` })) ?? []
  );
  return [...record?.results ?? [], ...evaluated];
}

/** A figure as it is read; `duration` writes seconds. */
export function formatFigure({ value, unit }: RunFigure, duration: (seconds: number) => string): string {
  if (value === null) return "not finite";
  if (unit === "s") return duration(value);
  if (unit === "%") return `${value.toFixed(1)} %`;
  return Number.isInteger(value) ? String(value) : value.toFixed(4);
}
