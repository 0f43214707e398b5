/** Short names of runs and files. */

function partsOf(path: string): string[] {
  return path.split(/[\\/]/).filter((part) => part !== "");
}

/** The last parts of a path, by which it is known. */
export function lastParts(path: string, count: number): string {
  return partsOf(path).slice(-count).join("/") || path;
}

/** The shortest names that tell folders apart: their own, or where two have the same one, all from where paths differ. */
export function shortNames(folders: readonly string[]): string[] {
  const all = folders.map(partsOf);
  const own = all.map((parts, i) => parts.at(-1) ?? folders[i]);
  if (new Set(own).size === own.length) return own;
  let common = 0;
  while (all.every((parts) => common < parts.length - 1 && parts[common] === all[0][common])) common++;
  return all.map((parts) => parts.slice(common).join("/"));
}
