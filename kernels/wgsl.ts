/** Small helpers for the WGSL side of an op. */

const bits = new DataView(new ArrayBuffer(4));

/** The bits of a float32, for a uniform block. */
export function f32(value: number): number {
  bits.setFloat32(0, value, true);
  return bits.getUint32(0, true);
}

/** A uniform block of 32-bit words: integers as they are, floats through {@linkcode f32}. */
export function uniforms(...words: number[]): Uint32Array {
  return Uint32Array.from(words, (word) => word >>> 0);
}

/** Workgroups in one dimension before the second is used; every device takes this many. */
const MAX_WORKGROUPS = 65535;

/**
 * Workgroups for `count` invocations in groups of `size`, folded into two dimensions where one is not enough.
 * The kernel finds its index with {@linkcode LINEAR_INDEX}.
 */
export function linearWorkgroups(count: number, size: number): [number, number, number] {
  const groups = Math.max(1, Math.ceil(count / size));
  if (groups <= MAX_WORKGROUPS) return [groups, 1, 1];
  const rows = Math.ceil(groups / MAX_WORKGROUPS);
  return [Math.ceil(groups / rows), rows, 1];
}

/** Invocations in a workgroup of the elementwise kernels. */
export const LINEAR_SIZE = 64;

/** WGSL: index of an invocation in a grid of {@linkcode linearWorkgroups} with {@linkcode LINEAR_SIZE}. */
export const LINEAR_INDEX = `
fn linear_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
  return (group.y * groups.x + group.x) * ${LINEAR_SIZE}u + local;
}
`;
