/**
 * SEED's loss as one op: the cross-entropy between the softmax of a teacher's and of a student's similarities to a queue,
 * and its gradient with respect to the student (Fang et al. 2021, eq. 4 to 6). Without a temperature of the teacher it is
 * InfoNCE, MoCo's loss: all of the target is on the own key (He et al. 2020, eq. 1).
 *
 * The similarities of a batch of 256 to 65,536 keys would take 64 MiB a matrix. So the rows are taken some at a time:
 * their similarities, the softmax, its gradient and that of the embeddings, before the next rows use the same memory. No
 * product is computed twice. The gradient comes with the loss, since the loss is where differentiation starts.
 *
 * A queue that is larger than what the device binds at once is compared in chunks of keys.
 */
import { expectShape, isRows, type Lowering, type Node, type Op, padTo4, type Tensor } from "../../graph.ts";
import { meanLoss } from "../../mean_loss.ts";
import { rowChunks } from "../../row_chunks.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import { conv2d } from "../conv2d/conv2d.ts";
import { POINTWISE } from "../conv2d/geometry.ts";
import { matmulTransposed } from "../matmul_transposed/matmul_transposed.ts";
import { rowDot, scaleRows } from "../row_dot/row_dot.ts";
import combineWgsl from "./distribution_combine.wgsl" with { type: "text" };
import gradientWgsl from "./distribution_gradient.wgsl" with { type: "text" };
import rowsWgsl from "./distribution_rows.wgsl" with { type: "text" };

/** Attributes of {@linkcode queueCrossEntropy}. */
export interface QueueCrossEntropyAttributes {
  /** Divides the student's similarities. */
  temperature: number;
  /** Divides the teacher's; left out, the target is the own key alone. */
  teacherTemperature?: number;
  /** Number of keys; later ones are padding. */
  queueSize: number;
  /** Maximum bytes of a similarity matrix, if that allows {@linkcode BLOCK_ROWS} rows. */
  blockBytes?: number;
  /** Maximum bytes that a kernel sees of the queue or of similarities. Default: what the device binds at once. */
  chunkBytes?: number;
}

const BLOCK_BYTES = 16 * 2 ** 20;

/** Rows that are taken together are a multiple of this. */
export const BLOCK_ROWS = 64;

/** WGSL of the similarities that the target's softmax is taken of: four keys of a row, or none that weighs anything. */
function targetWgsl(hasTeacher: boolean, binding: number): string {
  // Below any similarity, and finite when divided by a temperature.
  const lowest = "const LOWEST = -1e30;\n";
  return hasTeacher
    ? lowest + storage(binding, "target_z") +
      "fn target_similarities(i: u32) -> vec4<f32> { return target_z[i]; }\n"
    : lowest + "fn target_similarities(i: u32) -> vec4<f32> { return vec4<f32>(LOWEST); }\n";
}

/** Some keys [1, 1, count, d] of a queue [1, 1, k, d]. */
function keysOf(lowering: Lowering, queue: Tensor, first: number, count: number): Tensor {
  const [, , keys, d] = queue.shape;
  return { ...lowering.rows({ ...queue, shape: [keys, 1, 1, d] }, first, count), shape: [1, 1, count, d] };
}

/**
 * Inputs: student and teacher embeddings [n, 1, 1, d], queue [1, 1, k, d] with k a multiple of four. Outputs: the
 * loss [1] and its gradient with respect to the student, of the student's shape. The loss is the mean over rows of
 * -sum_j q_j log p_j. Here p is the softmax of the student's similarities to its own teacher embedding and to the
 * queue, divided by the temperature; q is the teacher's,
 * or 1 for the own embedding and 0 for the queue.
 */
export const queueCrossEntropy: Op<QueueCrossEntropyAttributes> = {
  name: "queue_cross_entropy",
  isLoss: true,

  shape([student, teacher, queue], { queueSize }) {
    const [n, , , d] = student.shape;
    const keys = queue.shape[2];
    const fits = isRows(student) && student.shape.join() === teacher.shape.join() &&
      queue.shape.join() === `1,1,${keys},${d}` && keys % 4 === 0 && queueSize <= keys;
    expectShape(
      "queue_cross_entropy",
      fits,
      "student and teacher [n, 1, 1, d], queue [1, 1, k, d], k a multiple of 4",
      student,
      teacher,
      queue,
    );
    return [{ shape: [1] }, { shape: [n, 1, 1, d] }];
  },

  gradient(_graph, node, _seed, needed) {
    if (needed[1] || needed[2]) throw new Error("queue_cross_entropy: no gradient but the student's");
    return [node.outputs[1], undefined, undefined];
  },

  lower(lowering, node, attributes) {
    const { temperature, teacherTemperature, queueSize, blockBytes = BLOCK_BYTES } = attributes;
    const [student, teacher, queue] = node.inputs;
    const [loss, gradient] = node.outputs;
    const [rows] = student.shape;
    const keys = queue.shape[2];
    const inBlock = Math.max(1, Math.floor(blockBytes / (keys * 4 * BLOCK_ROWS))) * BLOCK_ROWS;
    const most = Math.min(rows, inBlock);

    // Invocations that share a part of a row, and parts of a row: there are few rows, and GPUs want many invocations.
    const { isSoftware, parallelism } = lowering.target;
    const lanes = isSoftware ? 64 : 256;
    const hasTeacher = teacherTemperature !== undefined;
    const bytesPerKey = 4 * Math.max(padTo4(queue.shape[3]), most);
    let parts = 0;
    const { chunkBytes = lowering.target.maxStorageBufferBindingSize } = attributes;
    const chunks = rowChunks(keys, bytesPerKey, chunkBytes).map(({ first, count }) => {
      const vec4s = padTo4(count) / 4;
      const perPart = Math.ceil(vec4s / (isSoftware ? 1 : Math.min(parallelism / most, vec4s / lanes)));
      const firstPart = parts;
      parts += Math.ceil(vec4s / perPart);
      const shape = [most, 1, 1, count];
      return {
        ...{ vec4s, perPart, firstPart, parts: parts - firstPart },
        queueSize: Math.min(Math.max(queueSize - first, 0), count),
        queue: count === keys ? queue : keysOf(lowering, queue, first, count),
        similarities: lowering.scratch({ shape }, "similarities of the student"), // and their gradient
        wanted: hasTeacher ? [lowering.scratch({ shape }, "similarities of the teacher")] : [],
      };
    });
    const own = lowering.scratch({ shape: [rows, 1, 1, 1] }, "similarities of student and teacher");
    const wantedOwn = lowering.scratch({ shape: [rows, 1, 1, 1] }, "similarities of the teacher to itself");
    const ownSlope = lowering.scratch({ shape: [rows, 1, 1, 1] }, "gradient of own similarities");
    const fromOwn = lowering.scratch(
      { shape: [rows, 1, 1, student.shape[3]] },
      "gradient through own similarities",
    );
    const partial = lowering.scratch({ shape: [most, parts, 8] }, "softmax of parts of a row");
    const state = lowering.scratch({ shape: [rows, 8] }, "softmax of a row"); // and its loss
    const sums = chunks.slice(1).map(() =>
      lowering.scratch({ shape: [rows, 1, 1, student.shape[3]] }, "gradient of the chunks so far")
    );
    const lower = <A>(op: Op<A>, inputs: Tensor[], outputs: Tensor[], attributes: A) =>
      op.lower(lowering, { ...node, inputs, outputs } satisfies Node, attributes);

    lower(rowDot, [student, teacher], [own], {});
    lower(rowDot, [teacher, teacher], [wantedOwn], {});
    for (let first = 0; first < rows; first += most) {
      const count = Math.min(most, rows - first);
      const of = (tensor: Tensor) => count === rows ? tensor : lowering.rows(tensor, first, count);
      const head = (tensor: Tensor) => count === most ? tensor : lowering.rows(tensor, 0, count);
      const temperatures = [f32(1 / temperature), f32(1 / (teacherTemperature ?? 1))];
      for (const chunk of chunks) {
        const z = head(chunk.similarities);
        const targetZ = chunk.wanted.map(head);
        lower(matmulTransposed, [of(student), chunk.queue], [z], {});
        if (hasTeacher) lower(matmulTransposed, [of(teacher), chunk.queue], targetZ, {});
        const { vec4s, queueSize, perPart, firstPart } = chunk;
        lowering.dispatch({
          label: "queue_cross_entropy rows",
          source: targetWgsl(hasTeacher, 3) + rowsWgsl.replaceAll(/\b64/g, String(lanes)),
          bindings: [z, partial, ...targetZ],
          uniforms: uniforms(vec4s, queueSize, perPart, ...temperatures, firstPart, parts),
          workgroups: [count, chunk.parts, 1],
        });
      }
      lowering.dispatch({
        label: "queue_cross_entropy combine",
        source: LINEAR_MAIN + combineWgsl,
        bindings: [partial, of(own), of(wantedOwn), of(state)],
        uniforms: uniforms(count, parts, ...temperatures),
        workgroups: linearWorkgroups(count, LINEAR_SIZE),
      });
      for (const { similarities, wanted, vec4s, queueSize } of chunks) {
        lowering.dispatch({
          label: "queue_cross_entropy gradient",
          source: LINEAR_MAIN + targetWgsl(hasTeacher, 6) + gradientWgsl,
          bindings: [
            ...[head(similarities), of(own), of(wantedOwn), of(state), of(ownSlope)],
            ...wanted.map(head),
          ],
          uniforms: uniforms(count, vec4s, queueSize, ...temperatures, f32(1 / (rows * temperature))),
          workgroups: linearWorkgroups(count * vec4s, LINEAR_SIZE),
        });
      }
      lower(scaleRows, [of(teacher), of(ownSlope)], [of(fromOwn)], {});
      for (const [i, { similarities, queue }] of chunks.entries()) {
        const addend = i === 0 ? fromOwn : sums[i - 1];
        const sum = sums[i] ?? gradient;
        lower(conv2d, [head(similarities), queue, of(addend)], [of(sum)], { ...POINTWISE, addend: true });
      }
    }
    lowering.dispatch({
      label: "queue_cross_entropy mean",
      source: meanLoss({ loss: "row_state[row * 2u + 1u].x" }),
      bindings: [state, loss],
      uniforms: uniforms(rows),
      workgroups: [1, 1, 1],
    });
  },
};
