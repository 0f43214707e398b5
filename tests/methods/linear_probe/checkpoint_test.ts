import { assertEquals } from "@std/assert";
import { buildLinearCheckpoint } from "../../../methods/linear_probe/checkpoint.ts";
import { PyFloat, TensorValue } from "../../../models/checkpoint/torch_value.ts";

Deno.test("buildLinearCheckpoint() has the chosen probe where the original has its only one", () => {
  const probe = (of: number) => ({
    lr: of,
    best: 10 * of,
    values: new Map([["fc.weight", new Float32Array(6).fill(of)], [
      "fc.bias",
      new Float32Array(2).fill(-of),
    ]]),
    momentum: new Map([["fc.weight", new Float32Array(6).fill(of / 2)], ["fc.bias", new Float32Array(2)]]),
  });
  const checkpoint = buildLinearCheckpoint({
    epoch: 7,
    arch: "resnet18",
    backbone: [],
    classes: 2,
    features: 3,
    probes: [probe(1), probe(4)],
    chosen: 1,
    sgd: { lr: 0.4, momentum: 0.9, weightDecay: 0 },
  });
  assertEquals(checkpoint.get("epoch"), 7);
  assertEquals(checkpoint.get("best_acc1"), new PyFloat(40));
  const state = checkpoint.get("state_dict") as Map<string, TensorValue>;
  assertEquals(
    state.get("module.fc.weight"),
    new TensorValue("float32", [2, 3], new Float32Array(6).fill(4)),
  );
  assertEquals(state.get("module.fc.bias"), new TensorValue("float32", [2], new Float32Array(2).fill(-4)));
});
