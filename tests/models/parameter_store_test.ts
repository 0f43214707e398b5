import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { elementCount, Graph } from "../../kernels/graph.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { initialize, initializeQueue } from "../../models/initialize.ts";
import { ParameterStore } from "../../models/parameter_store.ts";
import { resnet } from "../../models/resnet.ts";
import { withGpu } from "../kernels/check_op.ts";

function traceStudent(): EncoderBuilder {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "train");
  resnet(18).trace(builder, graph.source("images", [2, 32, 32, 3]), { kind: "mlp", dimension: 30 });
  return builder;
}

Deno.test("ParameterStore gives back what it was given, also in several segments", () =>
  withGpu(async (gpu) => {
    const builder = traceStudent();
    // Numbers that differ within an entry and from one to the next, in less time than draws take.
    const values = new Map(
      builder.state.filter(({ kind }) => kind !== "counter").map(({ key, shape }, place) => {
        const data = new Float32Array(elementCount(shape));
        for (let i = 0; i < data.length; i++) data[i] = (i + 1) * (place + 2);
        return [key, data];
      }),
    );
    for (const limit of [gpu.target.maxStorageBufferBindingSize, 10_000_000]) {
      const limited = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: limit } };
      using store = new ParameterStore(limited, builder.parameters, ["momentum"]);
      await store.load((key) => values.get(key)!);
      assertEquals(await store.save(), new Map([...values].sort(order(builder))));
      const ends = [...store.bindings().values()].map(({ buffer, offset, bytes }) => {
        assertEquals(offset % 256, 0);
        return offset + bytes <= buffer.size && buffer.size <= limit;
      });
      assertEquals(ends.includes(false), false);
      store.loadArena("momentum", new Map([["bn1.weight", values.get("bn1.weight")!]]));
      const momentum = await store.saveArena("momentum");
      assertEquals(momentum.get("bn1.weight"), values.get("bn1.weight"));
      assertEquals(momentum.get("bn1.bias")!.every((value) => value === 0), true);
    }
  }));

/** The order in which a store keeps its values: that of first use. */
function order(builder: EncoderBuilder) {
  const places = new Map(builder.parameters.map(({ keys }, place) => [keys[0], place]));
  return ([a]: [string, unknown], [b]: [string, unknown]) => places.get(a)! - places.get(b)!;
}

Deno.test("ParameterStore says which parameter is too large for the device", () =>
  withGpu((gpu) => {
    const small = { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize: 1_000_000 } };
    assertThrows(
      () => new ParameterStore(small, traceStudent().parameters),
      UserError,
      "binds at most 1000000 bytes",
    );
    return Promise.resolve();
  }));

Deno.test("ParameterStore refuses to train what a checkpoint could not hold, and takes it frozen", () =>
  withGpu((gpu) => {
    const toDevice = () => new Float32Array(8);
    for (
      const [made, found] of [
        [{ keys: ["a"], toDevice }, "the keys a and no fromDevice"],
        [{ keys: ["a", "b"], toDevice, fromDevice: toDevice }, "the keys a, b"],
      ] as const
    ) {
      const builder = new EncoderBuilder(new Graph(), "train");
      for (const key of ["a", "b"]) builder.value(key, [4], { draw: "constant", value: 1 });
      builder.made("both", [2, 4], made);
      const { message } = assertThrows(() => new ParameterStore(gpu, builder.parameters, ["m"]), UserError);
      assertEquals(
        message,
        `both: expected one key and fromDevice of a tensor that is trained, so that a checkpoint can hold it, found ${found}`,
      );
      using _ = new ParameterStore(gpu, builder.parameters);
    }
    return Promise.resolve();
  }));

Deno.test("ParameterStore refuses to train two tensors of one entry, and takes them frozen", () =>
  withGpu((gpu) => {
    const builder = new EncoderBuilder(new Graph(), "train");
    builder.value("gain", [4], { draw: "constant", value: 1 });
    const values = ([entry]: readonly ArrayLike<number>[]) => Float32Array.from(entry);
    const made = { keys: ["gain"], toDevice: values, fromDevice: (device: Float32Array) => values([device]) };
    for (const size of [8, 4]) builder.made(`gain for ${size} x ${size}`, [4], made);
    const { message } = assertThrows(() => new ParameterStore(gpu, builder.parameters, ["m"]), UserError);
    assertEquals(
      message,
      "gain for 4 x 4: expected one trained tensor of gain, found another, gain for 8 x 8: they would be trained apart, and a " +
        "checkpoint can hold one; make one, and derive the other from it by an op",
    );
    using _ = new ParameterStore(gpu, builder.parameters);
    return Promise.resolve();
  }));

Deno.test("initialize() draws as torchvision does, from seed and key alone", () => {
  const wanted = ["conv1.weight", "bn1.weight", "layer4.1.conv2.weight", "fc.0.weight"]; // all take a second
  const state = traceStudent().state.filter(({ key }) => wanted.includes(key));
  const values = initialize(state, 7);
  const deviation = (key: string) => {
    const value = values.get(key)!;
    return Math.sqrt(value.reduce((sum, v) => sum + v * v, 0) / value.length);
  };
  // sqrt(2 / (512 * 9)), and 1 / sqrt(3 * 512) for a uniform value within 1 / sqrt(512)
  assertEquals(Math.abs(deviation("layer4.1.conv2.weight") / Math.sqrt(2 / (512 * 9)) - 1) < 0.01, true);
  assertEquals(Math.abs(deviation("fc.0.weight") * Math.sqrt(3 * 512) - 1) < 0.01, true);
  assertEquals(values.get("bn1.weight")!.every((value) => value === 1), true);
  assertEquals(initialize(state, 7), values);
  const [first] = state;
  assertEquals(first.key, "conv1.weight");
  assertEquals(initialize([first], 7).get(first.key), values.get(first.key));
  assertEquals(initialize([first], 8).get(first.key)![0] === values.get(first.key)![0], false);
});

Deno.test("initializeQueue() gives unit rows", () => {
  const queue = initializeQueue(5, 12, 3);
  for (let row = 0; row < 5; row++) {
    const norm = Math.hypot(...queue.subarray(row * 12, (row + 1) * 12));
    assertEquals(Math.abs(norm - 1) < 1e-6, true);
  }
});
