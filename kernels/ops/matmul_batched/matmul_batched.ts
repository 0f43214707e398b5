/**
 * Matrix products side by side, each operand transposed if asked for: `torch.matmul` over leading dimensions.
 *
 * An invocation has a register tile, spelled out, and loads its operands itself. It has one family: for one large product
 * `matmul_transposed` and `conv2d` have tuned ones; this op is for many small ones, such as similarities of an image's tokens.
 */
import { elementCount, expectShape, type Op, padTo4, type Tensor } from "../../graph.ts";
import {
  CHANNEL_MASK,
  LINEAR_MAIN,
  LINEAR_SIZE,
  linearWorkgroups,
  range,
  storage,
  uniforms,
} from "../../wgsl.ts";

/** Attributes of {@linkcode matmulBatched}. */
export interface MatmulBatchedAttributes {
  /** `a` is given as [..., k, m]. Default: false. */
  transposeA?: boolean;
  /** `b` is given as [..., n, k]. Default: false. */
  transposeB?: boolean;
}

/** Rows and vec4s of columns of a tile. */
const [ROWS, VEC4S] = [8, 2];

/** Rows, columns and terms of the products. */
function sizesOf(a: Tensor, b: Tensor, { transposeA = false, transposeB = false }: MatmulBatchedAttributes) {
  const [aRows, aColumns] = a.shape.slice(-2);
  const [bRows, bColumns] = b.shape.slice(-2);
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const [terms, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
  return { m, n, k, isProduct: k === terms };
}

/** a [..., m, k], b [..., k, n] -> a b [..., m, n], with the same leading dimensions. */
export const matmulBatched: Op<MatmulBatchedAttributes> = {
  name: "matmul_batched",

  shape([a, b], attributes) {
    const batch = a.shape.slice(0, -2);
    const { m, n, isProduct } = sizesOf(a, b, attributes);
    const fits = a.shape.length >= 2 && isProduct && b.shape.length === a.shape.length &&
      batch.every((length, i) => length === b.shape[i]);
    expectShape(
      "matmul_batched",
      fits,
      `a [..., ${attributes.transposeA ? "k, m" : "m, k"}] and b [..., ${
        attributes.transposeB ? "n, k" : "k, n"
      }]`,
      a,
      b,
    );
    return [{ shape: [...batch, m, n] }];
  },

  gradient(graph, { inputs: [a, b], attributes }, [dy], [needsA, needsB]) {
    const { transposeA = false, transposeB = false } = attributes as MatmulBatchedAttributes;
    const product = (x: Tensor, y: Tensor, transposeA: boolean, transposeB: boolean) =>
      graph.apply(matmulBatched, [x, y], { transposeA, transposeB });
    const byA = () => transposeA ? product(b, dy!, transposeB, true) : product(dy!, b, false, !transposeB);
    const byB = () => transposeB ? product(dy!, a, true, transposeA) : product(a, dy!, !transposeA, false);
    return [needsA ? byA() : undefined, needsB ? byB() : undefined];
  },

  lower(lowering, node, attributes) {
    const [a, b] = node.inputs;
    const { m, n, k } = sizesOf(a, b, attributes);
    const batch = elementCount(a.shape.slice(0, -2));
    const vec4s = (length: number) => padTo4(length) / 4;
    const tiles = batch * Math.ceil(m / ROWS) * Math.ceil(vec4s(n) / VEC4S);
    lowering.dispatch({
      label: "matmul_batched",
      source: sourceOf(attributes),
      bindings: [a, b, node.outputs[0]],
      uniforms: uniforms(batch, m, n, k, vec4s(a.shape.at(-1)!), vec4s(b.shape.at(-1)!), vec4s(n)),
      workgroups: linearWorkgroups(tiles, LINEAR_SIZE),
      flops: 2 * batch * m * n * k,
    });
  },
};

const LANE = ["x", "y", "z", "w"] as const;

/** The kernel. Bindings: a, b, y. Four terms of the sums are taken at a time. */
function sourceOf({ transposeA = false, transposeB = false }: MatmulBatchedAttributes): string {
  const rows = range(ROWS);
  const columns = range(VEC4S);
  const terms = range(4);
  // Terms past the end are zero in one of the operands: its padding is, or else it is made so.
  const term = (q: number) => `min(k + ${q}u, p.terms - 1u)`;
  const a = transposeA
    ? terms.flatMap((q) =>
      range(ROWS / 4).map((i) => {
        const value = `a[(batch * p.terms + ${term(q)}) * p.a_row + min(m0 / 4u + ${i}u, p.a_row - 1u)]`;
        return `let a${q}_${i} = ${
          transposeB ? value : `select(vec4<f32>(), ${value}, k + ${q}u < p.terms)`
        };`;
      })
    )
    : rows.map((r) => `let a${r} = a[(batch * p.rows + min(m0 + ${r}u, p.rows - 1u)) * p.a_row + k / 4u];`);
  const b = transposeB
    ? range(4 * VEC4S).map((c) =>
      `let b${c} = b[(batch * p.columns + min(n0 * 4u + ${c}u, p.columns - 1u)) * p.b_row + k / 4u];`
    )
    : terms.flatMap((q) =>
      columns.map((j) =>
        `let b${q}_${j} = b[(batch * p.terms + ${term(q)}) * p.b_row + min(n0 + ${j}u, p.b_row - 1u)];`
      )
    );
  const left = (r: number, q: number) =>
    transposeA ? `a${q}_${Math.floor(r / 4)}.${LANE[r % 4]}` : `a${r}.${LANE[q]}`;
  const right = (q: number, j: number) =>
    transposeB ? `vec4<f32>(${range(4).map((c) => `b${4 * j + c}.${LANE[q]}`).join(", ")})` : `b${q}_${j}`;
  return `${LINEAR_MAIN}${CHANNEL_MASK}
struct Params {
  batch: u32, rows: u32, columns: u32, terms: u32,
  a_row: u32, b_row: u32, y_row: u32, // vec4s of a row
}
@group(0) @binding(0) var<uniform> p: Params;
${storage(1, "a")}${storage(2, "b")}${storage(3, "y", "read_write")}
fn invocation(i: u32) {
  let across = (p.y_row + ${VEC4S - 1}u) / ${VEC4S}u;
  let down = (p.rows + ${ROWS - 1}u) / ${ROWS}u;
  let n0 = i % across * ${VEC4S}u; // in vec4s
  let m0 = i / across % down * ${ROWS}u;
  let batch = i / across / down;
  if (batch >= p.batch) { return; }
  ${rows.map((r) => columns.map((j) => `var c${r}_${j} = vec4<f32>();`).join(" ")).join("\n  ")}
  for (var k = 0u; k < p.terms; k += 4u) {
    ${[...a, ...b].join("\n    ")}
    ${
    terms.map((q) =>
      columns.map((j) =>
        `{ let value = ${right(q, j)}; ${rows.map((r) => `c${r}_${j} += ${left(r, q)} * value;`).join(" ")} }`
      ).join("\n    ")
    ).join("\n    ")
  }
  }
  ${
    rows.map((r) =>
      columns.map((j) =>
        `if (m0 + ${r}u < p.rows && n0 + ${j}u < p.y_row) {
    y[(batch * p.rows + m0 + ${r}u) * p.y_row + n0 + ${j}u] =
      select(vec4<f32>(), c${r}_${j}, is_channel(n0 + ${j}u, p.columns));
  }`
      ).join("\n  ")
    ).join("\n  ")
  }
}
`;
}
