import { assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { prependTokens, sliceTokens } from "../../../kernels/ops/prepend_tokens/prepend_tokens.ts";
import { checkOp, KINDS, randomValues, withGpu } from "../check_op.ts";

/** Of the differences; copies and small sums are exact to float32. */
const TOLERANCE = 1e-6;

const CASES = [
  { patches: [1, 1, 1, 1], prefix: 1 },
  { patches: [2, 3, 1, 3], prefix: 1 },
  { patches: [3, 2, 5, 17], prefix: 5 },
  { patches: [1, 4, 4, 8], prefix: 5 },
  { patches: [70, 1, 1, 4], prefix: 2 },
];
for (const [kind, as] of KINDS) {
  for (const { patches, prefix } of CASES) {
    for (const hasPositions of [true, false]) {
      const title = `prependTokens of ${prefix} to [${patches}] ${
        hasPositions ? "with" : "without"
      } positions`;
      Deno.test(`${title} equals a float64 loop, and so do its gradients: ${kind}`, () =>
        withGpu((gpu) => {
          const [images, height, width, channels] = patches;
          const count = prefix + height * width;
          const shapes = [patches, [prefix, channels], ...hasPositions ? [[count, channels]] : []];
          return checkOp(as(gpu), {
            name: title,
            inputs: shapes.map((shape, i) => ({
              shape,
              values: randomValues(`input ${i}`, shape),
              gradient: true,
            })),
            build: (graph, inputs) => graph.apply(prependTokens, inputs, {}),
            reference: (x, tokens, positions) =>
              Float64Array.from({ length: images * count * channels }, (_, i) => {
                const [image, token, channel] = [
                  Math.floor(i / (count * channels)),
                  Math.floor(i / channels) % count,
                  i % channels,
                ];
                const patch = image * height * width + token - prefix;
                const value = token < prefix
                  ? tokens[token * channels + channel]
                  : x[patch * channels + channel];
                return value + (positions?.[token * channels + channel] ?? 0);
              }),
            tolerance: TOLERANCE,
          });
        }));
    }
  }

  Deno.test(`sliceTokens() takes tokens out of the front, the middle and the end, and gives back their gradient: ${kind}`, () =>
    withGpu(async (gpu) => {
      for (
        const [shape, first, count] of [
          [[2, 5, 1, 3], 0, 1],
          [[3, 9, 1, 17], 2, 4],
          [[1, 7, 1, 8], 5, 2],
          [[2, 1, 1, 1], 0, 1],
          [[2, 4, 1, 5], 0, 4],
        ] as const
      ) {
        const [, tokens, , channels] = shape;
        await checkOp(as(gpu), {
          inputs: [{ shape, values: randomValues("x", shape), gradient: true }],
          build: (graph, [x]) => graph.apply(sliceTokens, [x], { first, count }),
          reference: (x) =>
            x.filter((_, i) => {
              const token = Math.floor(i / channels) % tokens;
              return token >= first && token < first + count;
            }),
          tolerance: TOLERANCE,
        });
      }
    }));
}

Deno.test("tokens of another width, positions of another number and slices past the end are refused", () => {
  const graph = new Graph();
  const source = (...shape: number[]) => graph.source("x", shape);
  const patches = source(2, 3, 3, 8);
  for (
    const others of [[source(1, 7)], [source(1, 8), source(9, 8)], [
      source(1, 8),
      source(10, 8),
      source(10, 8),
    ]]
  ) {
    assertThrows(
      () => graph.apply(prependTokens, [patches, ...others], {}),
      Error,
      "prepend_tokens: expected patches [n, h, w, c], tokens [k, c] and positions [k + h * w, c] or none",
    );
  }
  for (const [first, count] of [[3, 2], [-1, 2], [0, 0]]) {
    assertThrows(
      () => graph.apply(sliceTokens, [source(2, 4, 1, 8)], { first, count }),
      Error,
      `slice_tokens: expected tokens ${first} to ${first + count} of [n, t, 1, c]`,
    );
  }
});
