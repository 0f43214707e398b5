import { assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import type { CheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import {
  findStateDict,
  type Framework,
  loadStateDict,
  matchStateDict,
} from "../../../models/checkpoint/state_dict.ts";
import {
  OrderedDict,
  TensorValue,
  torchDict,
  type TorchValue,
} from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { referenceJson, referencePath } from "../../reference.ts";
import { checkpointErrorOf, withFolder } from "./fixtures.ts";

interface TensorJson {
  shape: number[];
  values: number[];
}

/** Where the reference files have the encoder, and what is around its plain keys. */
const LAYOUTS: [name: string, framework: Framework, place: string[], prefix: string][] = [
  ["moco", "moco", ["state_dict"], "module.encoder_q."],
  ["simclr", "simclr", ["model"], "module.module.module."],
  ["swav", "swav", [], "module."],
  ["seed_student", "seed", ["state_dict"], "module.student."],
  ["torchvision", "torchvision", [], ""],
];

for (const [name, framework, place, prefix] of LAYOUTS) {
  for (const container of ["zip", "legacy"]) {
    Deno.test(`parity: loadStateDict() finds the encoder of ${name} in the ${container} container`, async () => {
      using state = await loadStateDict(referencePath(`checkpoints/${name}.${container}.pth.tar`));
      assertEquals(state.framework, framework);
      const root = referenceJson(`checkpoints/${name}.expected.json`);
      const dict: Record<string, TensorJson> = place.reduce((value, key) => value[key], root);
      const expected = Object.entries(dict).filter(([key]) =>
        key.startsWith(prefix) && !key.includes("prototypes")
      );
      assertEquals([...state.tensors.keys()], expected.map(([key]) => key.slice(prefix.length)));
      const others = Object.keys(dict).filter((key) => !expected.some(([other]) => other === key));
      assertEquals([...state.beside.keys()], others.map((key) => key.replace(/^module\./, "")));
      for (const [key, { values }] of expected) {
        const tensor = state.tensors.get(key.slice(prefix.length))!;
        assertEquals(await tensor.read(), Float32Array.from(values), key);
      }
      assertEquals([state.epoch, state.arch], [root.epoch, root.arch]);
    });
  }
}

Deno.test("parity: every encoder's own keys match what loadStateDict() makes of its framework's names", async () => {
  const architectures = referenceJson("architectures.json") as Record<
    string,
    { state_dict: [string, number[]][] }
  >;
  await withFolder(async (folder) => {
    for (
      const arch of ["resnet18", "mobilenetv3_small", "efficientnet_b0", "simclr_resnet50", "swav_resnet50w5"]
    ) {
      // Shapes with ones in the place of the real sizes: the names are what is tested here.
      const keys = architectures[arch].state_dict.map(([key, shape]) => ({ key, shape: shape.map(() => 1) }));
      const wrap: [prefix: string, framework: Framework][] = arch.startsWith("simclr")
        ? [["module.module.", "simclr"]]
        : arch.startsWith("swav")
        ? [["module.", "swav"], ["", "swav"]]
        : [["module.encoder_q.", "moco"], ["module.student.", "seed"], ["student.", "seed"], [
          "",
          "torchvision",
        ]];
      for (const [prefix, framework] of wrap) {
        const path = `${folder}/${arch}.pth.tar`;
        const dict = new OrderedDict(
          keys.map((
            { key, shape },
          ) => [prefix + key, new TensorValue("float32", shape, new Float32Array(1))]),
        );
        await writeTorchFile(path, torchDict([["state_dict", dict]]));
        using state = await loadStateDict(path);
        assertEquals(state.framework, framework, arch);
        assertEquals([...matchStateDict(state, keys).keys()], keys.map(({ key }) => key), arch);
      }
    }
  });
});

Deno.test("loadStateDict() reads the bundled teacher, which fits a ResNet-18 with a two-layer head", async () => {
  const path = new URL("../../../data/sample/resnet18_moco_v2_cifar10.pth.tar", import.meta.url).pathname;
  using state = await loadStateDict(decodeURIComponent(path));
  assertEquals([state.framework, state.arch], ["moco", "resnet18"]);
  const expected: [string, number[]][] = referenceJson("architectures.json").resnet18.state_dict;
  const matched = matchStateDict(state, expected.map(([key, shape]) => ({ key, shape })));
  const weights = await matched.get("conv1.weight")!.read();
  assertEquals(weights.length, 64 * 3 * 7 * 7);
  assertEquals(weights.every(Number.isFinite), true);
  assertNotEquals(weights.find((value) => value !== 0), undefined);
});

const fromShapes = (shapes: Record<string, number[]>) =>
  new OrderedDict(
    Object.entries(shapes).map(([key, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [key, new TensorValue("float32", shape, new Float32Array(size))];
    }),
  );

async function withCheckpoint(value: TorchValue, body: (path: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    await writeTorchFile(`${folder}/a.pth.tar`, value);
    await body(`${folder}/a.pth.tar`);
  });
}

Deno.test("loadStateDict() knows MoCo-v1's single layer for a head", async () => {
  const dict = fromShapes({
    "module.encoder_q.conv1.weight": [2, 3, 1, 1],
    "module.encoder_q.fc.weight": [4, 2],
  });
  await withCheckpoint(torchDict([["state_dict", dict]]), async (path) => {
    using state = await loadStateDict(path);
    assertEquals([...state.tensors.keys()], ["conv1.weight", "fc.weight"]);
    const message = assertThrows(
      () =>
        matchStateDict(state, [
          { key: "conv1.weight", shape: [2, 3, 1, 1] },
          { key: "fc.0.weight", shape: [2, 2] },
          { key: "fc.2.weight", shape: [4, 2] },
        ]),
      CheckpointError,
    ).message;
    assertStringIncludes(message, "is a moco checkpoint");
    assertStringIncludes(message, "2 keys are missing (fc.0.weight, fc.2.weight)");
    assertStringIncludes(message, "1 key is unexpected (fc.weight)");
  });
});

Deno.test("loadStateDict() looks into other dicts, but not into the optimizer's", async () => {
  const weights = fromShapes({ "conv1.weight": [2, 3, 1, 1] });
  const optimizer = torchDict([["state", torchDict([[0, fromShapes({ momentum_buffer: [2, 3, 1, 1] })]])]]);
  await withCheckpoint(torchDict([["optimizer", optimizer], ["net", weights]]), async (path) => {
    using state = await loadStateDict(path);
    assertEquals([state.framework, ...state.tensors.keys()], ["torchvision", "conv1.weight"]);
  });
  await withCheckpoint(torchDict([["optimizer", optimizer], ["epoch", 1]]), async (path) => {
    assertStringIncludes(
      await checkpointErrorOf(path, loadStateDict),
      "holds no encoder: it has no dict of named weights",
    );
  });
  await withCheckpoint(torchDict([["a", weights], ["b", weights]]), async (path) => {
    assertStringIncludes(await checkpointErrorOf(path, loadStateDict), "holds 2 dicts of weights");
  });
  await withCheckpoint([1, 2, 3], async (path) => {
    assertStringIncludes(await checkpointErrorOf(path, loadStateDict), "holds no encoder");
  });
});

Deno.test("loadStateDict() finds weights however deep they lie, and in lists", async () => {
  const weights = fromShapes({ "conv1.weight": [2, 3, 1, 1] });
  const state = torchDict([[0, fromShapes({ momentum_buffer: [2, 3, 1, 1] })]]);
  const optimizer = torchDict([["state", state], ["param_groups", []]]);
  const deep = Array.from({ length: 40 }).reduce<TorchValue>((inner) => torchDict([["net", inner]]), weights);
  for (
    const value of [
      deep,
      [weights],
      [torchDict([["epoch", 1]]), [[weights]]],
      torchDict([["a", [deep]], ["sgd_of_a", optimizer], ["optimizer_states", [optimizer]]]),
      // An encoder has convolutions, which a head and a memory bank beside it have not.
      torchDict([["trunk", weights], ["heads", fromShapes({ "fc.weight": [4, 2] })]]),
      torchDict([["bank", fromShapes({ keys: [8, 2] })], ["inner", torchDict([["net", weights]])]]),
      // Statistics of the images beside it.
      torchDict([...fromShapes({ mean: [1, 3, 1, 1], std: [1, 3, 1, 1] }), ["net", weights]]),
    ]
  ) {
    await withCheckpoint(value, async (path) => {
      using found = await loadStateDict(path);
      assertEquals([...found.tensors.keys()], ["conv1.weight"]);
    });
  }
});

Deno.test("loadStateDict() takes weights of the file itself before those of a dict beside them", async () => {
  const vit = fromShapes({ "proj.weight": [2, 3, 1, 1], "qkv.weight": [6, 2], "fc1.weight": [4, 2] });
  const average = fromShapes({ "conv1.weight": [2, 3, 1, 1] });
  await withCheckpoint(torchDict([...vit, ["average", average]]), async (path) => {
    using found = await loadStateDict(path);
    assertEquals([...found.tensors.keys()], [...vit.keys()]);
  });
});

Deno.test("loadStateDict() takes VISSL's trunk for torchvision's names", async () => {
  const trunk = fromShapes({
    "_feature_blocks.conv1.weight": [2, 3, 1, 1],
    "_feature_blocks.layer1.0.bn1.weight": [2],
    "_feature_blocks.layer1.0.bn1.running_mean": [2],
  });
  const model = torchDict([["trunk", trunk], ["heads", fromShapes({ "0.clf.0.weight": [4, 2] })]]);
  const value = torchDict([
    ["phase_idx", 3],
    ["classy_state_dict", torchDict([["base_model", torchDict([["model", model]])]])],
  ]);
  await withCheckpoint(value, async (path) => {
    using state = await loadStateDict(path);
    assertEquals([state.framework, state.prefix], ["torchvision", "_feature_blocks."]);
    assertEquals([...state.tensors.keys()], [
      "conv1.weight",
      "layer1.0.bn1.weight",
      "layer1.0.bn1.running_mean",
    ]);
  });
});

Deno.test("loadStateDict() says what is in a file that has no dict of weights, or several", async () => {
  const weights = fromShapes({ "conv1.weight": [2, 3, 1, 1] });
  const [tensor] = weights.values();
  const cases: [TorchValue, string][] = [
    [[1, "a"], 'it is a list of 2: "1", "a"; there is no tensor in it'],
    [[], "it is a list of 0: nothing; there is no tensor in it"],
    [
      [tensor, [tensor]],
      "it is a list of 2: a tensor of shape [2,3,1,1], a list of 1; of the 2 tensors in it none",
    ],
    [tensor, "it is a tensor of shape [2,3,1,1]"],
    [torchDict([["epoch", 1], ["best", 2]]), 'it has "epoch", "best"; there is no tensor in it'],
    [
      torchDict([["a", torchDict([["b", weights]])], ["c", [weights]]]),
      'holds 2 dicts of weights (1 entry in "a.b", 1 entry in "c.0")',
    ],
  ];
  for (const [value, expected] of cases) {
    await withCheckpoint(value, async (path) => {
      assertStringIncludes(await checkpointErrorOf(path, loadStateDict), expected);
    });
  }
});

Deno.test("findStateDict() ends for values that contain or share themselves", () => {
  const cycle: TorchValue[] = [];
  cycle.push(torchDict([["model", cycle]]), cycle);
  // Unfolded it would have 2^60 lists.
  const shared = Array.from({ length: 60 }).reduce<TorchValue>((inner) => [inner, inner], []);
  for (const value of [cycle, shared]) {
    const file = { path: "a.pth", value } as unknown as CheckpointFile;
    assertThrows(
      () => findStateDict(file),
      CheckpointError,
      "holds no encoder: it has no dict of named weights",
    );
  }
});

Deno.test("loadStateDict() refuses two tensors of one name", async () => {
  const dict = fromShapes({ "module.conv1.weight": [2, 3, 1, 1], "conv1.weight": [2, 3, 1, 1] });
  await withCheckpoint(dict, async (path) => {
    assertStringIncludes(await checkpointErrorOf(path, loadStateDict), 'two tensors named "conv1.weight"');
  });
});

Deno.test("matchStateDict() lists what is missing, unexpected and of another shape, a few of each", async () => {
  const layers = Array.from({ length: 9 }, (_, i) => [`extra.${i}.weight`, [1, 1]]);
  const dict = fromShapes({
    "conv1.weight": [2, 3, 1, 1],
    "fc.weight": [10, 2],
    ...Object.fromEntries(layers),
  });
  await withCheckpoint(torchDict([["arch", "resnet50"], ["state_dict", dict]]), async (path) => {
    using state = await loadStateDict(path);
    const expected = [{ key: "conv1.weight", shape: [2, 3, 7, 7] }, { key: "fc.weight", shape: [10, 2] }];
    const missing = Array.from({ length: 6 }, (_, i) => ({ key: `bn${i}.weight`, shape: [2] }));
    const { message } = assertThrows(() => matchStateDict(state, [...expected, ...missing]), CheckpointError);
    assertStringIncludes(message, path);
    assertStringIncludes(message, 'of arch "resnet50"');
    assertStringIncludes(
      message,
      "6 keys are missing (bn0.weight, bn1.weight, bn2.weight, bn3.weight, and 2 more)",
    );
    assertStringIncludes(message, "9 keys are unexpected (extra.0.weight");
    assertStringIncludes(message, "1 key is of another shape (conv1.weight is [2,3,1,1], not [2,3,7,7])");
  });
});

Deno.test("matchStateDict() refuses weights that are no floating-point numbers, but for counters and what may be missing", async () => {
  const whole = new TensorValue("int64", [], BigInt64Array.of(7n));
  const bytes = (length: number) => new TensorValue("int8", [length], new Int8Array(length));
  const half = new TensorValue("float16", [2], new Uint16Array(2));
  const tensors = { ...Object.fromEntries(["a", "b", "c", "d", "e"].map((key) => [key, bytes(2)])), half };
  const dict = torchDict([
    ["conv1.weight", new TensorValue("float32", [2, 3, 1, 1], new Float32Array(6))],
    ["bn1.num_batches_tracked", whole],
    ["mask", new TensorValue("bool", [2], Uint8Array.of(0, 1))],
    ...Object.entries(tensors),
  ]);
  await withCheckpoint(dict, async (path) => {
    using state = await loadStateDict(path);
    const floats = [
      { key: "conv1.weight", shape: [2, 3, 1, 1] },
      { key: "bn1.num_batches_tracked", shape: [] },
      { key: "mask", shape: [2], optional: true },
      { key: "half", shape: [2] },
    ];
    const matched = matchStateDict(state, floats, (key) => key in tensors);
    assertEquals([...matched.keys()], floats.map(({ key }) => key));
    const expected = [...floats, ...Object.keys(tensors).map((key) => ({ key, shape: [2] }))];
    const { message } = assertThrows(() => matchStateDict(state, expected), CheckpointError);
    assertStringIncludes(
      message,
      "5 keys are not of floating-point numbers (a is int8, b is int8, c is int8, d is int8, and 1 more)",
    );
  });
});

Deno.test("matchStateDict() forgives batch norm's counters and what the caller does not want", async () => {
  const dict = fromShapes({
    "bn1.num_batches_tracked": [],
    "conv1.weight": [2, 3, 1, 1],
    "fc.weight": [10, 2],
  });
  await withCheckpoint(dict, async (path) => {
    using state = await loadStateDict(path);
    const expected = [{ key: "conv1.weight", shape: [2, 3, 1, 1] }, {
      key: "bn2.num_batches_tracked",
      shape: [],
    }];
    const matched = matchStateDict(state, expected, (key) => key.startsWith("fc."));
    assertEquals([...matched.keys()], ["conv1.weight"]);
    assertThrows(() => matchStateDict(state, expected), CheckpointError, "1 key is unexpected (fc.weight)");
  });
});
