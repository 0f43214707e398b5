/** Ops that change what they are given, such as an optimizer's: compiled alone, with every tensor written and read by name. */
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph, type Tensor } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { Program } from "../../../kernels/program.ts";

/** A program whose tensors keep their values from run to run; they start from zeros. */
export class EffectProgram<Name extends string> implements Disposable {
  readonly #program: Program;
  readonly #tensors: Readonly<Record<Name, Tensor>>;

  private constructor(program: Program, tensors: Readonly<Record<Name, Tensor>>) {
    this.#program = program;
    this.#tensors = tensors;
  }

  /** Compiles what `trace` adds to a graph with tensors of these shapes. */
  static async compile<Name extends string>(
    gpu: Gpu,
    shapes: Readonly<Record<Name, readonly number[]>>,
    trace: (graph: Graph, tensors: Readonly<Record<Name, Tensor>>) => void,
  ): Promise<EffectProgram<Name>> {
    const graph = new Graph();
    const named = Object.entries<readonly number[]>(shapes).map(([name, shape]) =>
      [name, graph.source(name, shape)] as const
    );
    const tensors = Object.fromEntries(named) as Record<Name, Tensor>;
    trace(graph, tensors);
    const all = named.map(([, tensor]) => tensor);
    const program = await Program.compile(gpu, { label: "test", graph, inputs: all, outputs: all });
    return new EffectProgram(program, tensors);
  }

  /** Writes a tensor, without padding. */
  write(name: Name, values: ArrayLike<number>): void {
    this.#program.write(this.#tensors[name], padRows(values, this.#tensors[name].shape));
  }

  /** Takes one step. */
  run(): void {
    this.#program.run();
  }

  /** Reads a tensor, without padding. */
  async read(name: Name): Promise<Float32Array<ArrayBuffer>> {
    const tensor = this.#tensors[name];
    return unpadRows(await this.#program.read(tensor), tensor.shape);
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]();
  }
}
