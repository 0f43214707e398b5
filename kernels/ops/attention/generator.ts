/**
 * WGSL of fused attention and its gradients, written by program: compilers of software adapters keep values in registers
 * only when they are spelled out. One text serves every number of tokens; a head's width is spelled out.
 *
 * All three kernels have one form. An invocation has some rows of its own (queries, or keys) of one head of one image, and
 * goes over all other rows (keys, or queries). It holds what belongs to its own rows, so that a vec4 that is loaded serves all
 * of them.
 *
 * | kernel | own rows | other rows | sums over the other rows |
 * | --- | --- | --- | --- |
 * | forward | queries | keys, values | output |
 * | query gradient | queries, dy | keys, values | dq |
 * | key gradient | keys, values | queries, dy | dk, dv |
 *
 * Three families share the text. In the direct one, for software adapters, an invocation loads the other rows itself, and keys
 * and queries are rotated ahead, once (`rotateSource`). In the shared one, for those with subgroups, each lane loads some vec4s
 * of a row and hands them to the others, which have rows of the same head. In the staged one, for GPUs, a workgroup stages
 * other rows in workgroup memory, and rotates them there.
 */
import { fromLane, LINEAR_MAIN, range, storage } from "../../wgsl.ts";

/** How an invocation comes by other rows: it loads them itself, its subgroup does, or its workgroup. */
export type AttentionFamily = "direct" | "shared" | "staged";

/** What a kernel's text depends on. */
export interface AttentionShape {
  /** Vec4s of a head. */
  headVec4s: number;
  /** Rows of an invocation. */
  rows: number;
  /** How other rows are loaded. */
  family: AttentionFamily;
  /** Invocations of a workgroup of the shared family, which are a subgroup, and of the staged one. */
  lanes: number;
  /** Whether queries and keys are rotated. */
  rope: boolean;
}

/** Keys of a step forwards: sums are scaled to the largest score so far once a step. */
export const STEP = 4;

/** Vec4s of workgroup memory: both operands, of 16 KiB, which every device has. */
const STAGED_VEC4S = 1024;

/** Other rows that are staged together. */
function stagedRows(headVec4s: number): number {
  return Math.max(STEP, Math.floor(STAGED_VEC4S / (2 * headVec4s) / STEP) * STEP);
}

/** The uniform block. A row is a token's vec4s in a tensor. */
const PARAMS = `
struct Params {
  batch: u32, tokens: u32, heads: u32,
  blocks: u32, // of own rows, in an image
  row: u32,    // vec4s of a token of qkv
  qk_row: u32, // and of what queries and keys are read from
  width: u32,  // vec4s of a token's queries, of all heads
  padded: u32, // tokens, with padding, in what has a number for each token of a head
  scale: f32,
  log2_scale: f32, // times log2(e): exponentials are those of 2
}
@group(0) @binding(0) var<uniform> p: Params;
`;

const LOG2_E = "1.4426950408889634";
const LOWEST = "-3.4e38";

/** WGSL: vec4 `c` of the head's row at `at`, rotated by the angles of a token: x cos + (-second half, first half) sin. */
const rotationOf = (headVec4s: number) => `
fn rotated(at: u32, c: u32, token: u32) -> vec4<f32> {
  let is_second = c >= ${headVec4s / 2}u;
  let other = qkv[at + select(c + ${headVec4s / 2}u, c - ${headVec4s / 2}u, is_second)];
  let angle = token * ${headVec4s}u + c;
  return qkv[at + c] * cosines[angle] + select(-other, other, is_second) * sines[angle];
}
`;

/** The same, where a kernel rotates what it loads. */
const rotation = ({ rope, family, headVec4s }: AttentionShape) =>
  rope && family === "staged" ? rotationOf(headVec4s) : "";

/** Declares buffers at bindings 1 onwards. */
function declare(
  names: readonly string[],
  written: readonly string[],
  floats: readonly string[] = [],
): string {
  return [...names, ...written].map((name, i) =>
    storage(
      i + 1,
      name,
      written.includes(name) ? "read_write" : "read",
      floats.includes(name) ? "f32" : undefined,
    )
  ).join("");
}

/** What is read beside other operands: queries and keys as they are, rotated ahead, or with the angles. */
function queriesAndKeys({ family, rope }: AttentionShape): { names: string[]; source: string } {
  if (!rope) return { names: ["qkv"], source: "qkv" };
  return family === "staged"
    ? { names: ["qkv", "cosines", "sines"], source: "qkv" }
    : { names: ["qkv", "qk"], source: "qk" };
}

/** An operand that is read in rows of a head. */
interface Operand {
  /** What its variables are called. */
  name: string;
  buffer: string;
  /** WGSL: vec4s from one token to the next, and of what comes before the heads. */
  row: string;
  skip: string;
  rotates: boolean;
}

function operands(shape: AttentionShape): Record<"query" | "key" | "value" | "dy", Operand> {
  const { source } = queriesAndKeys(shape);
  const rotates = shape.rope && shape.family === "staged";
  const ofQkv = { buffer: source, row: "p.qk_row", rotates };
  return {
    query: { name: "q", ...ofQkv, skip: "0u" },
    key: { name: "k", ...ofQkv, skip: "p.width" },
    value: { name: "v", buffer: "qkv", row: "p.row", skip: "2u * p.width", rotates: false },
    dy: { name: "g", buffer: "dy", row: "p.width", skip: "0u", rotates: false },
  };
}

/** WGSL expression of vec4 `c` of the row of token `token`. */
function load({ buffer, rotates }: Operand, at: string, c: string, token: string): string {
  return rotates ? `rotated(${at}, ${c}, ${token})` : `${buffer}[${at} + ${c}]`;
}

/** WGSL expression of where the row of token `token` begins. */
const rowAt = ({ row, skip }: Operand, token: string) =>
  `(image * p.tokens + ${token}) * ${row} + ${skip} + head * HEAD`;

/** The entry point, up to where an invocation knows its `image`, `head` and `first` own row. */
function begin({ rows, family, lanes, headVec4s }: AttentionShape, staging: readonly Operand[]): string {
  const constants = `const HEAD = ${headVec4s}u;\n`;
  const stop = family === "direct" ? "if (image >= p.batch) { return; }" : "";
  const find = (block: string, rest: string) => `
  let first = ${block} * ${rows}u;
  let head = ${rest} % p.heads;
  let image = ${rest} / p.heads;
  ${stop}
  let last_token = p.tokens - 1u;`;
  if (family === "direct") {
    return `${constants}${LINEAR_MAIN}
fn invocation(i: u32) {${find("(i % p.blocks)", "(i / p.blocks)")}`;
  }
  const size = stagedRows(headVec4s) * headVec4s;
  const arrays = family === "staged" ? staging : [];
  return `${constants}
${arrays.map(({ name }) => `var<workgroup> staged_${name}: array<vec4<f32>, ${size}>;`).join("\n")}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head_row = min(group.y, p.batch * p.heads - 1u); // a folded dispatch may have more
  ${find(`(group.x * ${lanes}u + lane)`, "head_row")}`;
}

/** Names of an own row's variables, without and with its vec4s. */
interface OwnVariables {
  scalars?: readonly string[];
  vec4s: readonly string[];
}

/** WGSL statements that move the variables of each own row to the row before it. */
function moveRows({ rows, headVec4s }: AttentionShape, { scalars = [], vec4s }: OwnVariables): string {
  const names = [
    ...scalars.map((name) => (r: number) => `${name}${r}`),
    ...vec4s.flatMap((name) => range(headVec4s).map((c) => (r: number) => `${name}${r}_${c}`)),
  ];
  return names.map((name) => range(rows - 1).map((r) => `${name(r)} = ${name(r + 1)};`).join(" ")).join(
    "\n    ",
  );
}

/**
 * WGSL statements that load the own rows: `name`r_c for vec4 c of row r. Rows past the end repeat the last. A row is loaded as
 * the last one, and moves up with each that follows: loads that are spelled out for every row take long to compile.
 *
 * @param more scalars of each row, and statements that give those of the last one
 */
function loadOwn(
  shape: AttentionShape,
  loaded: readonly (readonly [operand: Operand, factor?: string])[],
  more: { scalars: readonly string[]; statements: string } = { scalars: [], statements: "" },
): string {
  const { rows, headVec4s } = shape;
  const names = loaded.map(([{ name }]) => name);
  const variables = range(rows).map((r) =>
    [
      ...more.scalars.map((name) => `var ${name}${r} = 0.0;`),
      ...names.flatMap((name) => range(headVec4s).map((c) => `var ${name}${r}_${c} = vec4<f32>();`)),
    ].join(" ")
  );
  const loads = loaded.map(([operand, factor = ""]) =>
    `let own_${operand.name} = ${rowAt(operand, "token")};
    ${
      range(headVec4s).map((c) =>
        `${operand.name}${rows - 1}_${c} = ${
          load(operand, `own_${operand.name}`, `${c}u`, "token")
        }${factor};`
      ).join("\n    ")
    }`
  );
  return `${variables.join("\n  ")}
  for (var r = 0u; r < ${rows}u; r++) {
    let token = min(first + r, last_token);
    ${moveRows(shape, { scalars: more.scalars, vec4s: names })}
    ${loads.join("\n    ")}
    ${more.statements}
  }`;
}

/** WGSL expression of vec4 `c` of the row of an operand that a loop is at. */
type Vec4Of = (operand: Operand, c: number) => string;

/** WGSL statements that run over other rows: a step's, one after the other. */
type EachRow = (operands: readonly Operand[], body: (vec4: Vec4Of) => string) => string;

/**
 * The loop over all other rows, so many at a time. Rows past the end repeat the last.
 *
 * @param body statements of a step, which begins at row `step`
 */
function overOthers(
  { family, lanes, headVec4s }: AttentionShape,
  others: readonly Operand[],
  together: number,
  body: (eachRow: EachRow) => string,
): string {
  const vec4: Vec4Of = ({ name, buffer }, c) =>
    family === "shared"
      ? fromLane(`${name}_part`, c, lanes)
      : `${family === "staged" ? `staged_${name}` : buffer}[${name}_at + ${c}u]`;
  // Of a row, every so many of its vec4s; a lane past the end repeats the last.
  const parts = ({ name, buffer }: Operand) =>
    range(family === "shared" ? Math.ceil(headVec4s / lanes) : 0).map((u) =>
      `let ${name}_part${u} = ${buffer}[${name}_at + min(${u * lanes}u + lane, HEAD - 1u)];`
    );
  const eachRow: EachRow = (operands, statements) => {
    const place = (operand: Operand, j: string) =>
      family === "staged"
        ? `(inner${j}) * HEAD`
        : rowAt(operand, together === 1 ? "step" : `min(step${j}, last_token)`);
    const row = (j: string) =>
      `{
      ${
        operands.map((operand) =>
          [`let ${operand.name}_at = ${place(operand, j)};`, ...parts(operand)].join(" ")
        ).join("\n      ")
      }
      ${statements(vec4)}
    }`;
    // Two to a turn: what a loop carries on is copied at every turn.
    return together === 1 ? row("") : `for (var j = 0u; j < ${together}u; j += 2u) {
    ${row(" + j")}
    ${row(" + j + 1u")}
    }`;
  };
  if (family !== "staged") {
    return `for (var step = 0u; step < p.tokens; step += ${together}u) {
    ${body(eachRow)}
  }`;
  }
  const rows = stagedRows(headVec4s);
  return `for (var tile = 0u; tile < p.tokens; tile += ${rows}u) {
    workgroupBarrier();
    for (var i = lane; i < ${rows * headVec4s}u; i += ${lanes}u) {
      let token = min(tile + i / HEAD, last_token);
      ${
    others.map((operand) =>
      `staged_${operand.name}[i] = ${load(operand, `(${rowAt(operand, "token")})`, "i % HEAD", "token")};`
    ).join("\n      ")
  }
    }
    workgroupBarrier();
    for (var inner = 0u; inner < min(${rows}u, p.tokens - tile); inner += ${together}u) {
    let step = tile + inner;
    ${body(eachRow)}
    }
  }`;
}

/** WGSL: where the numbers of an image's head begin in [n, heads, tokens]. */
const HEAD_NUMBERS = "(image * p.heads + head) * p.padded";

/** WGSL statements behind all sums, for each own row that there is; they know its `token`, and its variables as row 0's. */
const finishRows = (shape: AttentionShape, variables: OwnVariables, body: string) =>
  `for (var r = 0u; r < ${shape.rows}u; r++) {
    let token = first + r;
    if (token < p.tokens) {
    ${body}
    }
    ${moveRows(shape, variables)}
  }`;

/** WGSL statements that clear the padding of numbers by token. */
const clearPadding = (rows: number, name: string) => `
  if (first < p.tokens && first + ${rows}u >= p.tokens) {
    for (var i = p.tokens; i < p.padded; i++) { ${name}[${HEAD_NUMBERS} + i] = 0.0; }
  }`;

/** y and the logarithm of the sum of exponentials. Bindings: qkv, [qk, or cosines and sines], y, lse. */
export function forwardSource(shape: AttentionShape): string {
  const { rows, headVec4s } = shape;
  const { query, key, value } = operands(shape);
  const own = range(rows);
  const vec4s = range(headVec4s);
  return `${PARAMS}${declare(queriesAndKeys(shape).names, ["y", "lse"], ["lse"])}${rotation(shape)}${
    begin(shape, [key, value])
  }
  ${loadOwn(shape, [[query, " * p.log2_scale"]])}
  ${
    own.map((r) =>
      `var most${r} = ${LOWEST}; var sums${r} = vec4<f32>();
  ${vec4s.map((c) => `var y${r}_${c} = vec4<f32>();`).join(" ")}`
    ).join("\n  ")
  }
  ${
    overOthers(shape, [key, value], STEP, (eachRow) => `
    let inside = vec4<u32>(step, step + 1u, step + 2u, step + 3u) < vec4<u32>(p.tokens);
    ${own.map((r) => `var s${r} = vec4<f32>();`).join(" ")}
    ${
      eachRow([key], (vec4) => `
      ${own.map((r) => `var dot${r} = 0.0;`).join(" ")}
      ${
        vec4s.map((c) =>
          `{
        let k = ${vec4(key, c)};
        ${own.map((r) => `dot${r} += dot(q${r}_${c}, k);`).join(" ")}
      }`
        ).join("\n      ")
      }
      ${own.map((r) => `s${r} = vec4<f32>(s${r}.yzw, dot${r});`).join(" ")}`)
    }
    ${
      own.map((r) => `
    s${r} = select(vec4<f32>(${LOWEST}), s${r}, inside);
    let top${r} = max(most${r}, max(max(s${r}.x, s${r}.y), max(s${r}.z, s${r}.w)));
    let keep${r} = exp2(most${r} - top${r});
    most${r} = top${r};
    var e${r} = exp2(s${r} - top${r});
    sums${r} = sums${r} * keep${r} + e${r};
    ${vec4s.map((c) => `y${r}_${c} *= keep${r};`).join(" ")}`).join("")
    }
    ${
      eachRow([value], (vec4) => `
      ${
        vec4s.map((c) =>
          `{
        let v = ${vec4(value, c)};
        ${own.map((r) => `y${r}_${c} += e${r}.x * v;`).join(" ")}
      }`
        ).join("\n      ")
      }
      ${own.map((r) => `e${r} = e${r}.yzwx;`).join(" ")}`)
    }`)
  }
  ${
    finishRows(
      shape,
      { scalars: ["sums", "most"], vec4s: ["y"] },
      `let sum = dot(sums0, vec4<f32>(1.0));
    let share = 1.0 / sum;
    let at = (image * p.tokens + token) * p.width + head * HEAD;
    ${vec4s.map((c) => `y[at + ${c}u] = y0_${c} * share;`).join(" ")}
    lse[${HEAD_NUMBERS} + token] = (most0 + log2(sum)) / ${LOG2_E};`,
    )
  }
  ${clearPadding(rows, "lse")}
}
`;
}

/**
 * The queries' third of dqkv, and delta = sum(y dy) of each query, which the key gradient reads.
 * Bindings: qkv, [qk], [cosines, sines], dy, y, lse, dqkv, delta.
 */
export function queryGradientSource(shape: AttentionShape): string {
  const { rows, headVec4s } = shape;
  const { query, key, value, dy } = operands(shape);
  const own = range(rows);
  const vec4s = range(headVec4s);
  return `${PARAMS}${
    declare([...gradientNames(shape), "dy", "y", "lse"], ["dqkv", "delta"], ["lse", "delta"])
  }${rotation(shape)}${begin(shape, [key, value])}
  ${
    loadOwn(shape, [[query, " * p.log2_scale"], [dy]], {
      scalars: ["delta", "lse"],
      statements: `delta${rows - 1} = ${
        vec4s.map((c) => `dot(g${rows - 1}_${c}, y[own_g + ${c}u])`).join(" + ")
      };
    lse${rows - 1} = lse[${HEAD_NUMBERS} + token] * ${LOG2_E};`,
    })
  }
  ${own.map((r) => vec4s.map((c) => `var dq${r}_${c} = vec4<f32>();`).join(" ")).join("\n  ")}
  ${
    overOthers(shape, [key, value], 1, (eachRow) =>
      eachRow([key, value], (vec4) => `
    ${own.map((r) => `var s${r} = -lse${r}; var slope${r} = -delta${r};`).join(" ")}
    ${
        vec4s.map((c) => `
    let k_${c} = ${vec4(key, c)};
    let v_${c} = ${vec4(value, c)};
    ${own.map((r) => `s${r} += dot(q${r}_${c}, k_${c}); slope${r} += dot(g${r}_${c}, v_${c});`).join(" ")}`)
          .join("")
      }
    ${own.map((r) => `let d${r} = exp2(s${r}) * slope${r};`).join(" ")}
    ${vec4s.map((c) => own.map((r) => `dq${r}_${c} += d${r} * k_${c};`).join(" ")).join("\n    ")}`))
  }
  ${
    finishRows(
      shape,
      { scalars: ["delta"], vec4s: ["dq"] },
      `${storeGradient(shape, "dq0", "0u")}
    delta[${HEAD_NUMBERS} + token] = delta0;`,
    )
  }
  ${clearPadding(rows, "delta")}
}
`;
}

/** The keys' and the values' thirds of dqkv. Bindings: qkv, [qk], [cosines, sines], dy, lse, delta, dqkv. */
export function keyGradientSource(shape: AttentionShape): string {
  const { rows, headVec4s } = shape;
  const { query, key, value, dy } = operands(shape);
  const own = range(rows);
  const vec4s = range(headVec4s);
  return `${PARAMS}${declare([...gradientNames(shape), "dy", "lse", "delta"], ["dqkv"], ["lse", "delta"])}${
    rotation(shape)
  }${begin(shape, [query, dy])}
  ${loadOwn(shape, [[key, " * p.log2_scale"], [value]])}
  ${
    own.map((r) =>
      vec4s.map((c) => `var dk${r}_${c} = vec4<f32>(); var dv${r}_${c} = vec4<f32>();`).join(" ")
    ).join("\n  ")
  }
  ${
    overOthers(shape, [query, dy], 1, (eachRow) =>
      eachRow([query, dy], (vec4) => `
    let sum = lse[${HEAD_NUMBERS} + step] * ${LOG2_E};
    let mean = delta[${HEAD_NUMBERS} + step];
    ${own.map((r) => `var s${r} = -sum; var slope${r} = -mean;`).join(" ")}
    ${
        vec4s.map((c) => `
    let q_${c} = ${vec4(query, c)};
    let g_${c} = ${vec4(dy, c)};
    ${own.map((r) => `s${r} += dot(k${r}_${c}, q_${c}); slope${r} += dot(v${r}_${c}, g_${c});`).join(" ")}`)
          .join("")
      }
    ${own.map((r) => `let e${r} = exp2(s${r}); let d${r} = e${r} * slope${r};`).join(" ")}
    ${
        vec4s.map((c) =>
          own.map((r) => `dv${r}_${c} += e${r} * g_${c}; dk${r}_${c} += d${r} * q_${c};`).join(" ")
        ).join("\n    ")
      }`))
  }
  ${
    finishRows(
      shape,
      { vec4s: ["dk", "dv"] },
      `${storeGradient(shape, "dk0", "p.width")}
    let value_at = (image * p.tokens + token) * p.row + 2u * p.width + head * HEAD;
    ${vec4s.map((c) => `dqkv[value_at + ${c}u] = dv0_${c};`).join(" ")}`,
    )
  }
}
`;
}

/** What a gradient reads beside dy: the angles too, to rotate back. */
function gradientNames(shape: AttentionShape): string[] {
  const { names } = queriesAndKeys(shape);
  return shape.rope && shape.family !== "staged" ? [...names, "cosines", "sines"] : names;
}

/** WGSL statements that store the gradient of a query or key, rotated back. */
function storeGradient({ rope, headVec4s }: AttentionShape, name: string, skip: string): string {
  const half = headVec4s / 2;
  const turned = (c: number) => {
    if (!rope) return `${name}_${c}`;
    const [other, sign] = c < half ? [c + half, "+"] : [c - half, "-"];
    return `(${name}_${c} * cosines[angle + ${c}u] ${sign} ${name}_${other} * sines[angle + ${other}u])`;
  };
  return `let at = (image * p.tokens + token) * p.row + ${skip} + head * HEAD;
    ${rope ? "let angle = token * HEAD;" : ""}
    ${range(headVec4s).map((c) => `dqkv[at + ${c}u] = ${turned(c)} * p.scale;`).join(" ")}`;
}

/** Queries and keys, rotated: [n, t, 1, 2 width]. Bindings: qkv, cosines, sines, qk. */
export function rotateSource(headVec4s: number): string {
  return `const HEAD = ${headVec4s}u;
${LINEAR_MAIN}${PARAMS}${declare(["qkv", "cosines", "sines"], ["qk"])}${rotationOf(headVec4s)}
fn invocation(i: u32) {
  let row = i / p.qk_row;
  if (row >= p.batch * p.tokens) { return; }
  let column = i % p.qk_row;
  let c = column % HEAD;
  qk[i] = rotated(row * p.row + column - c, c, row % p.tokens);
}
`;
}
