/** Dispatches of more workgroups down than a device takes in one dimension: the rest goes behind, in the third one. */
import { UserError } from "../errors.ts";
import type { Dispatch } from "./graph.ts";

/** The beginning of an entry point, up to its body: it has the number of its workgroup as `group`. */
const ENTRY = /(@compute[^{]*@builtin\(workgroup_id\)\s+)group(\s*:\s*vec3<u32>[^{]*\{)/;

/**
 * The dispatch as it is where it fits, or with a kernel that finds its row in two dimensions. Rows that folding adds to those that
 * there are return at once: all invocations of a workgroup do, so that none waits at a barrier.
 *
 * @param limit workgroups in one dimension
 * @throws {UserError} where no folding makes it fit
 * @throws {Error} where the kernel is not written so that it can be folded
 */
export function foldWorkgroups<D extends Dispatch>(dispatch: D, limit: number): D {
  const { label, source, workgroups: [across, down, deep] } = dispatch;
  if (Math.max(across, down, deep) <= limit) return dispatch;
  const folds = Math.ceil(down / limit);
  const rows = Math.ceil(down / folds);
  if (across > limit || deep * folds > limit) {
    throw new UserError(
      `${label}: ${
        dispatch.workgroups.join(" x ")
      } workgroups are more than this adapter allows (${limit} in a ` +
        "dimension): choose a smaller --batch-size or --image-size",
    );
  }
  if (!ENTRY.test(source)) {
    throw new Error(
      `${label}: ${down} rows of workgroups are more than this adapter allows (${limit}) and must be folded; declare ` +
        "the entry point's parameter as `@builtin(workgroup_id) group: vec3<u32>`",
    );
  }
  const guard = rows * folds === down ? "" : `
  if (group.y >= ${down}u) { return; }`;
  const unfold = `
  let group = vec3<u32>(folded.x, folded.y + folded.z / ${deep}u * ${rows}u, folded.z % ${deep}u);${guard}`;
  return {
    ...dispatch,
    source: source.replace(ENTRY, (_, before, after) => `${before}folded${after}${unfold}`),
    workgroups: [across, rows, deep * folds],
  };
}
