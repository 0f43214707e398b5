/** Small helpers for the WGSL side of an op. */

const bits = new DataView(new ArrayBuffer(4));

/** Returns the bits of a float32, for a uniform block. */
export function f32(value: number): number {
  bits.setFloat32(0, value, true);
  return bits.getUint32(0, true);
}

/** Returns a uniform block of 32-bit words: integers as they are, floats through {@linkcode f32}. */
export function uniforms(...words: number[]): Uint32Array {
  return Uint32Array.from(words, (word) => word >>> 0);
}

/** Workgroups in one dimension before the second is used; every device takes this many. */
const MAX_WORKGROUPS = 65535;

/**
 * Returns the workgroups for `count` invocations in groups of `size`, folded into two dimensions if one is not
 * enough. {@linkcode LINEAR_MAIN} computes an invocation's index from them.
 */
export function linearWorkgroups(count: number, size: number): [number, number, number] {
  const groups = Math.max(1, Math.ceil(count / size));
  if (groups <= MAX_WORKGROUPS) return [groups, 1, 1];
  const rows = Math.ceil(groups / MAX_WORKGROUPS);
  return [Math.ceil(groups / rows), rows, 1];
}

/**
 * WGSL expression of value `i` of those that the lanes of a subgroup hold in turn: each lane has every `lanes`-th, and calls them
 * `name`0, `name`1 ...
 */
export function fromLane(name: string, i: number, lanes: number): string {
  return `subgroupBroadcast(${name}${Math.floor(i / lanes)}, ${i % lanes}u)`;
}

/** Invocations in a workgroup of the elementwise kernels. */
export const LINEAR_SIZE = 64;

/**
 * WGSL entry point of kernels that run over a grid of {@linkcode linearWorkgroups}. It calls the kernel's
 * `invocation(i)`, which must check that `i` is in range.
 */
export const LINEAR_MAIN = `
@compute @workgroup_size(${LINEAR_SIZE})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  invocation((group.y * groups.x + group.x) * ${LINEAR_SIZE}u + local);
}
`;

/** Numbers 0 to n - 1, for text that is spelled out. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Returns the WGSL declaration of a storage buffer, whose elements are vec4s by default. */
export function storage(
  binding: number,
  name: string,
  access: "read" | "read_write" = "read",
  element = "vec4<f32>",
): string {
  return `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${element}>;\n`;
}

/** WGSL: which lanes of a vec4 are channels, of `channels` in all, and not padding. */
export const CHANNEL_MASK = `
fn is_channel(vec4_index: u32, channels: u32) -> vec4<bool> {
  return vec4<u32>(0u, 1u, 2u, 3u) + 4u * vec4_index < vec4<u32>(channels);
}
`;

/**
 * WGSL: which lanes are neither infinite nor NaN: in these, and in them alone, all bits of the exponent are set. Comparisons
 * of floats will not do: they may be optimised away.
 */
export const ARE_FINITE = `
fn are_finite(values: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<u32>>(values) & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
}
`;

/**
 * WGSL: `is_nan(values)` says which lanes are NaN, by their bits for the reason above; `with_nan(z, value)` is the value, but
 * NaN where z is.
 */
export const WITH_NAN = `
fn is_nan(values: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<u32>>(values) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}
fn with_nan(z: vec4<f32>, value: vec4<f32>) -> vec4<f32> {
  return select(value, z, is_nan(z));
}
`;
