struct Params {
  vec4s: u32,    // of a row of similarities
  columns: u32,  // that count
  k: u32,
  k_stride: u32, // k, padded
  previous: u32, // valid entries of the best so far
  wanted: u32,   // entries of the new best that can be filled
}
@group(0) @binding(0) var<uniform> p: Params;
// Values are handled as the bits of their float32.
@group(0) @binding(1) var<storage, read> z: array<vec4<u32>>; // [m, n]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [n]
@group(0) @binding(3) var<storage, read> best: array<vec4<u32>>; // [m, k]
@group(0) @binding(4) var<storage, read> best_labels: array<u32>; // [m, k]
@group(0) @binding(5) var<storage, read_write> values_out: array<u32>; // [m, k]
@group(0) @binding(6) var<storage, read_write> labels_out: array<u32>; // [m, k]

const LANES = 64u;
const SIGN = 0x80000000u;
const MINUS_INFINITY = 0xff800000u;
const NO_LABEL = 0xffffffffu;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> sums: array<vec2<u32>, 64>;
var<workgroup> chosen: vec2<u32>; // digit, and how many candidates have a larger one

/// Keys of candidates 4q to 4q + 3 of a row: unsigned integers in the order of the values, zero where there is none.
/// The best so far are the first candidates, then come the columns.
fn keys_at(row: u32, q: u32) -> vec4<u32> {
  let previous_vec4s = (p.previous + 3u) / 4u;
  var bits: vec4<u32>;
  var valid: vec4<bool>;
  if (q < previous_vec4s) {
    bits = best[row * (p.k_stride / 4u) + q];
    valid = vec4<u32>(q * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.previous);
  } else {
    let column_quad = q - previous_vec4s;
    bits = z[row * p.vec4s + column_quad];
    valid = vec4<u32>(column_quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns);
  }
  // The two zeros are equal.
  bits = select(bits, vec4<u32>(), bits == vec4<u32>(SIGN));
  let flip = select(vec4<u32>(SIGN), vec4<u32>(0xffffffffu), bits >= vec4<u32>(SIGN));
  return select(vec4<u32>(), bits ^ flip, valid);
}

fn value_bits(key: u32) -> u32 {
  return select(~key, key ^ SIGN, key >= SIGN);
}

fn label_at(row: u32, q: u32, component: u32) -> u32 {
  let previous_vec4s = (p.previous + 3u) / 4u;
  if (q < previous_vec4s) { return best_labels[row * p.k + q * 4u + component]; }
  return labels[(q - previous_vec4s) * 4u + component];
}

/// Sum of `own` over this lane and those before it.
fn sum_up_to(lane: u32, own: vec2<u32>) -> vec2<u32> {
  var sum = own;
  sums[lane] = sum;
  for (var distance = 1u; distance < LANES; distance *= 2u) {
    workgroupBarrier();
    if (lane >= distance) { sum += sums[lane - distance]; }
    workgroupBarrier();
    sums[lane] = sum;
  }
  return sum;
}

/// One workgroup a row. A radix select, eight bits at a time, finds the smallest key that is kept and how many
/// candidates of that very key; then each lane writes what is kept of a range of candidates to its place.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  let vec4s = (p.previous + 3u) / 4u + (p.columns + 3u) / 4u;

  var prefix = 0u; // digits of the smallest key that are known
  var known = 0u; // their bits
  var remaining = p.wanted; // candidates to keep among those that begin with `prefix`
  for (var position = 0u; position < 4u; position++) {
    let shift = 24u - position * 8u;
    for (var i = lane; i < 256u; i += LANES) { atomicStore(&histogram[i], 0u); }
    workgroupBarrier();
    for (var q = lane; q < vec4s; q += LANES) {
      let keys = keys_at(row, q);
      for (var c = 0u; c < 4u; c++) {
        if ((keys[c] & known) == prefix) { atomicAdd(&histogram[(keys[c] >> shift) & 255u], 1u); }
      }
    }
    workgroupBarrier();
    // Lanes own four digits each, the largest first.
    let first_digit = 255u - lane * 4u;
    var own = 0u;
    for (var i = 0u; i < 4u; i++) { own += atomicLoad(&histogram[first_digit - i]); }
    let up_to = sum_up_to(lane, vec2<u32>(own, 0u)).x;
    if (up_to - own < remaining && remaining <= up_to) {
      var larger = up_to - own;
      for (var i = 0u; i < 4u; i++) {
        let count = atomicLoad(&histogram[first_digit - i]);
        if (larger + count >= remaining) {
          chosen = vec2<u32>(first_digit - i, larger);
          break;
        }
        larger += count;
      }
    }
    workgroupBarrier();
    prefix |= chosen.x << shift;
    known |= 255u << shift;
    remaining -= chosen.y;
  }

  // Now `prefix` is the smallest key that is kept, `remaining` how many of it. Lanes own ranges of candidates.
  let length = (vec4s + LANES - 1u) / LANES;
  let first = min(lane * length, vec4s);
  let end = min(first + length, vec4s);
  var own = vec2<u32>(); // candidates with larger keys, and with the same one
  for (var q = first; q < end; q++) {
    let keys = keys_at(row, q);
    let larger = select(vec4<u32>(), vec4<u32>(1u), keys > vec4<u32>(prefix));
    let equal = select(vec4<u32>(), vec4<u32>(1u), keys == vec4<u32>(prefix));
    own += vec2<u32>(larger.x + larger.y + larger.z + larger.w, equal.x + equal.y + equal.z + equal.w);
  }
  var before = sum_up_to(lane, own) - own;
  for (var q = first; q < end; q++) {
    let keys = keys_at(row, q);
    for (var c = 0u; c < 4u; c++) {
      if (keys[c] < prefix) { continue; }
      let place = before.x + min(before.y, remaining);
      if (keys[c] > prefix || before.y < remaining) {
        values_out[row * p.k_stride + place] = value_bits(keys[c]);
        labels_out[row * p.k + place] = label_at(row, q, c);
      }
      before += select(vec2<u32>(1u, 0u), vec2<u32>(0u, 1u), keys[c] == prefix);
    }
  }

  for (var i = p.wanted + lane; i < p.k_stride; i += LANES) {
    values_out[row * p.k_stride + i] = select(0u, MINUS_INFINITY, i < p.k);
    if (i < p.k) { labels_out[row * p.k + i] = NO_LABEL; }
  }
}
