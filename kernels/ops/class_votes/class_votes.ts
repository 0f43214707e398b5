/** The vote of a weighted nearest-neighbour classifier. */
import { expectShape, type Op, padTo4 } from "../../graph.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./class_votes.wgsl" with { type: "text" };

/** Attributes of {@linkcode classVotes}. */
export interface ClassVotesAttributes {
  /** Classes that are voted for; every label of a voter is below. */
  classes: number;
  /** Neighbours of each row that vote, the first of the k; at least one. */
  voters: number;
  /** Divides the similarities. */
  temperature: number;
}

/**
 * similarities [m, 1, 1, k] and labels u32 [m, k], as `topK` gives them -> scores [m, 1, 1, classes]: the sum over the
 * voters of each class of exp((similarity - largest) / temperature), added in the order in which they stand.
 *
 * `largest` is the row's largest similarity. It scales a row's scores by one factor, so that the weights
 * exp(similarity / temperature) of Wu et al. 2018 cannot leave the range of float32 at any temperature.
 */
export const classVotes: Op<ClassVotesAttributes> = {
  name: "class_votes",

  shape([similarities, labels], { classes, voters }) {
    const [rows, , , k] = similarities.shape;
    expectShape(
      "class_votes",
      similarities.shape.length === 4 && labels.dtype === "u32" && labels.shape.join() === [rows, k].join() &&
        voters >= 1 && voters <= k,
      `similarities [m, 1, 1, k] and u32 labels [m, k], k at least ${voters}`,
      similarities,
      labels,
    );
    return [{ shape: [rows, 1, 1, classes] }];
  },

  lower(lowering, node, { classes, voters, temperature }) {
    const [rows, , , k] = node.inputs[0].shape;
    lowering.dispatch({
      label: "class_votes",
      source: LINEAR_MAIN + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(rows, k, padTo4(k), padTo4(classes), voters, f32(1 / temperature)),
      workgroups: linearWorkgroups(rows, LINEAR_SIZE),
    });
  },
};
