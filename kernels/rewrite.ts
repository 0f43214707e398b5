/** Changes how a WGSL text gets at one of its arrays; kernels are written for the one form that is simple to read. */

/**
 * Rewrites every `name[index]` of a text, indices within indices too.
 *
 * @param read gives what stands in its place
 * @param assign gives what stands in the place of `name[index] = value;`, of which `value` is rewritten already
 */
export function rewriteUses(
  source: string,
  name: string,
  read: (index: string) => string,
  assign?: (index: string, value: string) => string,
): string {
  const use = new RegExp(`(?<![\\w.])${name}\\[`, "g");
  let rewritten = "";
  let done = 0;
  for (let match = use.exec(source); match !== null; match = use.exec(source)) {
    const begin = use.lastIndex;
    let end = begin;
    for (let depth = 1; depth > 0; end++) depth += source[end] === "[" ? 1 : source[end] === "]" ? -1 : 0;
    const index = rewriteUses(source.slice(begin, end - 1), name, read, assign);
    rewritten += source.slice(done, match.index);
    const assignment = assign === undefined ? null : /^\s*=(?!=)([^;]*);/.exec(source.slice(end));
    if (assignment === null) {
      rewritten += read(index);
    } else {
      rewritten += assign!(index, rewriteUses(assignment[1].trim(), name, read, assign));
      end += assignment[0].length;
    }
    use.lastIndex = done = end;
  }
  return rewritten + source.slice(done);
}
