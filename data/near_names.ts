// deno-lint-ignore no-import-prefix -- importers of this library have import maps of their own
import { distance as editDistance } from "npm:fastest-levenshtein@1.0.16";

/**
 * The names that a person may have meant: those within a third of the name's length in edits (at least two), without
 * regard to case, nearest first.
 */
export function findNearNames(name: string, names: Iterable<string>, limit = 3): string[] {
  const allowed = Math.max(2, Math.floor(name.length / 3));
  return [...names]
    .map((candidate) => ({
      candidate,
      distance: editDistance(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .filter(({ distance }) => distance <= allowed)
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, limit)
    .map(({ candidate }) => candidate);
}
