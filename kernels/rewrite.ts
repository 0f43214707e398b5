/** Changes how a WGSL text gets at one of its arrays; kernels are written for the one form that is simple to read. */

/** What follows an element that is written in part, or by an operation. */
const OTHER_WRITE = /^(?:\s*\.\s*\w+|\s*\[[^\]]*\])*\s*(?:(?:[-+*/%&|^]|<<|>>)?=(?!=)|\+\+|--)[^;]*/;

/**
 * Rewrites every `name[index]` of a text, indices within indices too.
 *
 * @param read gives what stands in its place
 * @param assign gives what stands in the place of `name[index] = value;`, of which `value` is rewritten already
 * @param refuse is called with what writes to it otherwise, `name[index] += value` or `name[index].x = value`
 */
export function rewriteUses(
  source: string,
  name: string,
  read: (index: string) => string,
  assign?: (index: string, value: string) => string,
  refuse?: (statement: string) => never,
): string {
  const use = new RegExp(`(?<![\\w.])${name}\\s*\\[`, "g");
  let rewritten = "";
  let done = 0;
  for (let match = use.exec(source); match !== null; match = use.exec(source)) {
    const begin = use.lastIndex;
    let end = begin;
    for (let depth = 1; depth > 0; end++) depth += source[end] === "[" ? 1 : source[end] === "]" ? -1 : 0;
    const index = rewriteUses(source.slice(begin, end - 1), name, read, assign, refuse);
    rewritten += source.slice(done, match.index);
    const assignment = assign === undefined ? null : /^\s*=(?!=)([^;]*);/.exec(source.slice(end));
    if (assignment === null) {
      const write = OTHER_WRITE.exec(source.slice(end));
      if (write !== null) refuse?.(source.slice(match.index, end) + write[0].trimEnd());
      rewritten += read(index);
    } else {
      rewritten += assign!(index, rewriteUses(assignment[1].trim(), name, read, assign, refuse));
      end += assignment[0].length;
    }
    use.lastIndex = done = end;
  }
  return rewritten + source.slice(done);
}
