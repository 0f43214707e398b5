import { assertEquals, assertThrows } from "@std/assert";
import { differentiate } from "../../kernels/autodiff.ts";
import { Graph, type Op } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { conv2d } from "../../kernels/ops/conv2d/conv2d.ts";
import { crossEntropy } from "../../kernels/ops/cross_entropy/cross_entropy.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { normalizePixels } from "../../kernels/ops/normalize_pixels/normalize_pixels.ts";
import { checkOp, randomValues, withGpu } from "./check_op.ts";

const SAME = { stride: 1, padTop: 1, padLeft: 1, padBottom: 1, padRight: 1 };

Deno.test("differentiate() adds the gradients of all paths to a tensor", () =>
  withGpu((gpu) =>
    checkOp(gpu, {
      inputs: [{ shape: [2, 3], values: randomValues("x", [2, 3]), gradient: true }],
      build: (graph, [x]) => {
        const twice = graph.apply(add, [x, x], {});
        return graph.apply(add, [twice, x], {});
      },
      reference: (x) => x.map((value) => 3 * value),
    })
  ));

Deno.test("differentiate() adds a residual's gradient in the convolution's own kernel", () => {
  const graph = new Graph();
  const x = graph.source("x", [1, 4, 4, 8]);
  const w = graph.source("w", [3, 3, 8, 8]);
  const y = graph.apply(add, [x, graph.apply(conv2d, [x, w], SAME)], {});
  const seeded = graph.apply(
    {
      name: "loss",
      isLoss: true,
      shape: () => [{ shape: [1] }],
      gradient: (_graph, node) => [node.inputs[0]],
      lower() {},
    },
    [y],
    {},
  );
  const [gradient] = differentiate(graph, seeded, [x]);
  assertEquals(gradient.producer!.op.name, "conv2d_input_gradient");
  assertEquals(gradient.producer!.inputs.length, 3);
});

Deno.test("differentiate() says what the loss does not depend on, and which op has no gradient", () => {
  const graph = new Graph();
  const x = graph.source("x", [4]);
  const other = graph.source("other", [4]);
  const sum = graph.apply(add, [x, x], {});
  assertThrows(() => differentiate(graph, sum, [other]), Error, "depends on none of the 1 tensors");
  const pixels = graph.source("pixels", [1, 2, 2], "u32");
  const images = graph.apply(normalizePixels, [pixels], { mean: [0, 0, 0], deviation: [1, 1, 1] });
  assertThrows(() => differentiate(graph, images, [pixels]), Error, "normalize_pixels has no gradient");
});

Deno.test("differentiate() refuses gradients that are not one for each input, of its shape", () => {
  const refused = (gradient: Op<Record<never, never>>["gradient"]) => {
    const graph = new Graph();
    const x = graph.source("x", [2, 4]);
    const careless: Op<Record<never, never>> = {
      name: "careless",
      shape: () => [{ shape: [2, 4] }],
      gradient,
      lower() {},
    };
    const loss = graph.apply(mean, [graph.apply(careless, [x, x], {})], {});
    const { message } = assertThrows(() => differentiate(graph, [loss], [x]), Error);
    return message;
  };
  assertEquals(
    refused((_graph, _node, [dy]) => [dy]),
    "differentiate: the gradient of careless returns 1 tensors; expected one, or undefined, for each of its 2 inputs",
  );
  assertEquals(
    refused((graph, _node, [dy]) => [dy, graph.source("a number", [1])]),
    "differentiate: the gradient of careless for its input 1, x [2,4], is [1]",
  );
});

Deno.test("differentiate() refuses a second output of a loss, whose gradient would be the loss's", () => {
  const graph = new Graph();
  const logits = graph.source("logits", [4, 1, 1, 3]);
  const [labels, count] = [[4], [1]].map((shape) => graph.source("numbers", shape, "u32"));
  const [loss, rows] = graph.applyAll(crossEntropy, [logits, labels, count], {});
  const ofRows = graph.apply(mean, [rows], {});
  differentiate(graph, loss, [logits]);
  const message = "cross_entropy is a loss, of whose outputs only the first has a gradient";
  assertThrows(() => differentiate(graph, ofRows, [logits]), Error, message);
  assertThrows(() => differentiate(graph, [loss, ofRows], [logits]), Error, message);
});
