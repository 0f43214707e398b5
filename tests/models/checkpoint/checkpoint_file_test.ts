import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { torchDict } from "../../../models/checkpoint/torch_value.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { referenceJson, referencePath } from "../../reference.ts";
import {
  assertMatchesReference,
  buildZip,
  checkpointErrorOf,
  deflate,
  type FixtureEntry,
  pickleBytes,
  pickleTensor,
  pickleText,
  readWhole,
  withFolder,
} from "./fixtures.ts";

const REFERENCE_NAMES = ["moco", "simclr", "swav", "seed_student", "torchvision", "dtypes"];

for (const container of ["zip", "legacy"] as const) {
  for (const name of REFERENCE_NAMES) {
    Deno.test(`parity: openCheckpointFile() reads ${name} from the ${container} container`, async () => {
      using file = await openCheckpointFile(referencePath(`checkpoints/${name}.${container}.pth.tar`));
      assertEquals(file.container, container);
      await assertMatchesReference(file.value, referenceJson(`checkpoints/${name}.expected.json`));
    });
  }
}

Deno.test("parity: openCheckpointFile() reads pickle protocol 4", async () => {
  using file = await openCheckpointFile(referencePath("checkpoints/proto4.zip.pth"));
  await assertMatchesReference(file.value, referenceJson("checkpoints/torchvision.expected.json"));
});

// Made by torch.save(value, path, pickle_protocol=N, _use_new_zipfile_serialization=False) of PyTorch 1.13.
for (const protocol of [1, 3, 4, 5]) {
  Deno.test(`parity: openCheckpointFile() reads the legacy container of pickle protocol ${protocol}`, async () => {
    const url = new URL(
      `../../golden/checkpoints/dtypes.legacy_protocol${protocol}.pth.tar`,
      import.meta.url,
    );
    using file = await openCheckpointFile(fileURLToPath(url));
    assertEquals(file.container, "legacy");
    await assertMatchesReference(file.value, referenceJson("checkpoints/dtypes.expected.json"));
  });
}

Deno.test("openCheckpointFile() reads both containers of torch.save with other bytes behind them", async () => {
  const expected = referenceJson("checkpoints/torchvision.expected.json");
  await withFolder(async (folder) => {
    for (const container of ["zip", "legacy"]) {
      const bytes = Deno.readFileSync(referencePath(`checkpoints/torchvision.${container}.pth.tar`));
      // Zeros of a padded copy; a line that a download added; something that looks like another end of an archive.
      for (const added of ["\0".repeat(512), "</html>\n", `PK\x05\x06${"x".repeat(40)}`]) {
        const path = `${folder}/padded.pth.tar`;
        Deno.writeFileSync(path, new Uint8Array([...bytes, ...pickleBytes(added)]));
        using file = await openCheckpointFile(path);
        await assertMatchesReference(file.value, expected);
      }
    }
  });
});

Deno.test("parity: TensorRef.readRaw() keeps the bits of every type, of views and of transposed tensors", async () => {
  const bits: Record<string, unknown[]> = {};
  for (const container of ["zip", "legacy"]) {
    using file = await openCheckpointFile(referencePath(`checkpoints/dtypes.${container}.pth.tar`));
    for (const [key, value] of file.value as Map<string, unknown>) {
      if (!(value instanceof TensorRef)) continue;
      const raw = await value.readRaw();
      assertEquals(raw.length, value.size);
      (bits[key] ??= []).push(raw);
      if (value.dtype === "float32") assertEquals(raw, await value.read());
    }
  }
  assert(Object.keys(bits).length > 10);
  for (const [key, [zip, legacy]] of Object.entries(bits)) assertEquals(zip, legacy, key);
});

const REFUSED: [name: string, reason: string][] = [
  ["bad_empty.pth.tar", "is empty"],
  ["bad_truncated.zip.pth.tar", "truncated"],
  ["bad_short_storage.zip.pth.tar", "bytes of weights in storage"],
  ["bad_runs_code.zip.pth.tar", "nothing was run"],
  ["bad_runs_code.legacy.pth.tar", "nothing was run"],
  ["bad_opcode.legacy.pth.tar", "pickle"],
];

Deno.test("parity: openCheckpointFile() refuses every bad file of the reference", async () => {
  const found = [...Deno.readDirSync(referencePath("checkpoints"))].map(({ name }) => name);
  for (const name of found.filter((name) => name.startsWith("bad_"))) {
    await checkpointErrorOf(referencePath(`checkpoints/${name}`), openCheckpointFile);
  }
});

for (const [name, reason] of REFUSED) {
  Deno.test(`parity: openCheckpointFile() says what is wrong with ${name}`, async () => {
    assertStringIncludes(
      await checkpointErrorOf(referencePath(`checkpoints/${name}`), openCheckpointFile),
      reason,
    );
  });
}

Deno.test("openCheckpointFile() does not run what a pickle asks for", async () => {
  await withFolder(async (folder) => {
    const marker = `${folder}/it_ran`;
    const call = (module: string, name: string) =>
      `c${module}\n${name}\n(${pickleText(`touch ${marker}`)}tR.`;
    for (
      const [module, name] of [
        ["posix", "system"],
        ["os", "system"],
        ["builtins", "eval"],
        ["torch", "load"],
        [
          "torch.nn.modules.conv",
          "Conv2d",
        ],
      ]
    ) {
      const path = `${folder}/evil.pth.tar`;
      const data = pickleBytes(0x80, 2, call(module, name));
      Deno.writeFileSync(path, buildZip([{ name: "evil/data.pkl", data }]));
      assertStringIncludes(await checkpointErrorOf(path, openCheckpointFile), `"${module}.${name}"`);
      await assertRejects(() => Deno.stat(marker), Deno.errors.NotFound);
    }
  });
});

for (const name of ["moco.zip", "moco.legacy", "dtypes.zip", "dtypes.legacy"]) {
  Deno.test(`openCheckpointFile() refuses ${name} cut at every hundredth of its length`, async () => {
    const bytes = Deno.readFileSync(referencePath(`checkpoints/${name}.pth.tar`));
    await withFolder(async (folder) => {
      for (let percent = 0; percent < 100; percent++) {
        const path = `${folder}/cut_${percent}.pth.tar`;
        Deno.writeFileSync(path, bytes.subarray(0, Math.floor(bytes.length * percent / 100)));
        await checkpointErrorOf(path, openCheckpointFile);
      }
    });
  });
}

Deno.test("openCheckpointFile() notices a flipped bit in the weights of a zip container", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/flipped.pth.tar`;
    const bytes = Deno.readFileSync(referencePath("checkpoints/torchvision.zip.pth.tar"));
    using file = await openCheckpointFile(referencePath("checkpoints/torchvision.zip.pth.tar"));
    const first = await ((file.value as Map<string, TensorRef>).get("conv1.weight")!).readRaw();
    const pattern = new Uint8Array(first.buffer, 0, 16);
    const at = bytes.findIndex((_, i) => pattern.every((byte, j) => bytes[i + j] === byte));
    bytes[at + 5] ^= 4;
    Deno.writeFileSync(path, bytes);
    assertStringIncludes(await checkpointErrorOf(path, readWhole), "CRC-32");
  });
});

async function refusePickle(pickle: string, entries: FixtureEntry[] = []): Promise<string> {
  let message = "";
  await withFolder(async (folder) => {
    const path = `${folder}/odd.pth.tar`;
    const data = pickleBytes(0x80, 2, pickle);
    Deno.writeFileSync(path, buildZip([{ name: "odd/data.pkl", data }, ...entries]));
    message = await checkpointErrorOf(path, openCheckpointFile);
  });
  return message;
}

const FOUR_FLOATS = { name: "odd/data/0", data: new Uint8Array(16) };

for (
  const [what, tensor, reason] of [
    [
      "10^9 elements in a tiny storage",
      { shape: [1000, 1000, 1000], stride: [1e6, 1000, 1] },
      "reaches element",
    ],
    ["10^9 elements repeated from one", { shape: [1e9], stride: [0] }, "repeats the 4 elements"],
    ["a shape that overflows", { shape: [2 ** 52, 2 ** 52], stride: [0, 0] }, "repeats the 4 elements"],
    ["a storage that claims more than the file has", { elements: 1e12, shape: [1e12] }, "only 16 bytes"],
    ["a negative stride", { stride: [-1] }, "not integers"],
    ["a negative offset", { offset: -4 }, "not integers"],
    ["a negative dimension", { shape: [-4] }, "not integers"],
    ["an offset at the end", { offset: 1 }, "reaches element 4"],
    ["100,000 strides", { stride: new Array(100_000).fill(1) }, "of 100000 strides"],
    ["strides that do not match the shape", { stride: [1, 1] }, "not integers"],
    ["a storage with a path for a name", { key: "../../etc/passwd" }, "invalid name"],
    ["a storage with control characters in its name", { key: "0\x07\x1b[2J" }, "invalid name"],
    ["a storage that is not there", { key: "7" }, 'lacks the weights of storage "7"'],
    ["complex numbers", { type: "ComplexFloatStorage" }, "ComplexFloatStorage"],
  ] as const
) {
  Deno.test(`openCheckpointFile() refuses a tensor with ${what}`, async () => {
    const fields = tensor as Parameters<typeof pickleTensor>[0];
    assertStringIncludes(await refusePickle(`${pickleTensor(fields)}.`, [FOUR_FLOATS]), reason);
  });
}

Deno.test("openCheckpointFile() refuses a storage that two tensors see differently", async () => {
  const pair = `(${pickleTensor()}${pickleTensor({ type: "HalfStorage" })}t.`;
  assertStringIncludes(await refusePickle(pair, [FOUR_FLOATS]), 'storage "0" is both');
});

Deno.test("openCheckpointFile() refuses lists that contain themselves, are too deep, or unfold without end", async () => {
  assertStringIncludes(await refusePickle("]q\0h\0a."), "contains itself");
  assertStringIncludes(await refusePickle(`${"]".repeat(300)}${"a".repeat(299)}.`), "nests more than");
  const laughs = Array.from({ length: 40 }, (_, i) => `(${i === 0 ? "NN" : `h${"\0"}h\0`}lq\0`).join("");
  assertStringIncludes(await refusePickle(`${laughs}.`), "expands to more than");
});

Deno.test("openCheckpointFile() does not unfold, copy or spell out what a pickle shares without end", async () => {
  // Each list holds the one before it ten times: a text of it would have 10^40 letters.
  const laughs = "]q\0" + Array.from({ length: 40 }, () => `0(${"h\0".repeat(10)}lq\0`).join("");
  for (
    const [what, pickle] of [
      ["a path", `cpathlib\nPosixPath\n(${laughs}tR.`],
      ["a device", `ctorch\ndevice\n(${laughs}tR.`],
      ["a number type", `cnumpy\ndtype\n(${laughs}tR.`],
      ["bytes", `c_codecs\nencode\n(${laughs}tR.`],
      ["a shape", pickleTensor().replace("(L4L\nt", `(${laughs}t`) + "."],
      ["an offset", pickleTensor().replace("L0L\n", laughs) + "."],
      ["a storage's name", pickleTensor().replace(pickleText("0"), laughs) + "."],
    ]
  ) {
    const message = await refusePickle(pickle, [FOUR_FLOATS]);
    assert(/cannot be used|odd name|unfolds/.test(message), `${what}: ${message}`);
  }
  // A list of 2^16 is copied again and again.
  const long = `(${"N".repeat(1 << 16)}lq\0`;
  const copies = `cbuiltins\nlist\nq\x01${"h\x01(h\0tR0".repeat(1000)}N.`;
  assertStringIncludes(await refusePickle(`${long}0${copies}`), "needs more than 256 MiB");
});

Deno.test("openCheckpointFile() says which tensors of PyTorch it does not read", async () => {
  for (const name of ["torch\nfloat8_e4m3fn", "torch\nuint16", "torch._utils\n_rebuild_qtensor"]) {
    const message = await refusePickle(`c${name}\n.`);
    assertStringIncludes(
      message,
      `has tensors that are not supported, of "${name.replace("\n", ".")}"; save them as float32`,
    );
  }
});

Deno.test("openCheckpointFile() refuses classes and bare storages as values", async () => {
  assertStringIncludes(await refusePickle("ccollections\nOrderedDict\n."), "neither plain data nor a tensor");
  for (const pickle of ["(ccollections\nOrderedDict\nl.", "(ctorch.nn.modules.linear\nLinear\nNd."]) {
    const [, module, name] = /c(.*)\n(.*)\n/.exec(pickle)!;
    assertStringIncludes(
      await refusePickle(pickle),
      `its pickle uses "${module}.${name}", which is neither plain data nor a tensor; it was refused, and nothing was run`,
    );
  }
  const storage = `(${pickleText("storage")}ctorch\nFloatStorage\n${pickleText("0")}${
    pickleText("cpu")
  }K\x04tQ.`;
  assertStringIncludes(await refusePickle(storage, [FOUR_FLOATS]), "neither plain data nor a tensor");
});

Deno.test("openCheckpointFile() reads types among a program's arguments as their names", async () => {
  const layerNorm = "ctorch.nn.modules.normalization\nLayerNorm\n";
  const float32 = `cnumpy\ndtype\n(${pickleText("f4")}\x89\x88tR(K\x03${
    pickleText("<")
  }NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb`;
  const args = `(${pickleText("norm")}${layerNorm}${pickleText("layers")}(${layerNorm}l${
    pickleText("dtype")
  }${float32}d`;
  await withFolder(async (folder) => {
    const path = `${folder}/args.pth`;
    Deno.writeFileSync(path, buildZip([{ name: "a/data.pkl", data: pickleBytes(0x80, 2, args, ".") }]));
    using file = await openCheckpointFile(path);
    const name = "torch.nn.modules.normalization.LayerNorm";
    assertEquals(file.value, torchDict([["norm", name], ["layers", [name]], ["dtype", "f4"]]));
  });
});

Deno.test("openCheckpointFile() keeps nothing of modules that were saved whole, and refuses a file that is one", async () => {
  // torch.save(module): an object of a class, and what it has.
  const module = `ctorch.nn.modules.linear\nLinear\n)\x81(${pickleText("weight")}Nd`;
  assertStringIncludes(
    await refusePickle(`${module}b.`),
    '"torch.nn.modules.linear.Linear", which is neither plain data',
  );
  // What a class of another program is told to run is not looked for.
  assertStringIncludes(await refusePickle("cposix\nsystem\n(Vecho\ntR."), "posix.system");
});

Deno.test("openCheckpointFile() reads weights from compressed entries", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/packed.pth.tar`;
    const weights = new Uint8Array(Float32Array.of(1, -2, 3.5, 4).buffer);
    const plain = buildZip([{ name: "a/data.pkl", data: pickleBytes(0x80, 2, pickleTensor(), ".") }, {
      name: "a/data/0",
      data: await deflate(weights),
      method: 8,
      size: weights.length,
      crc32: 0,
    }]);
    Deno.writeFileSync(path, plain);
    using file = await openCheckpointFile(path);
    assertEquals(await (file.value as unknown as TensorRef).read(), Float32Array.of(1, -2, 3.5, 4));
  });
});

Deno.test("openCheckpointFile() reads tensors that were given attributes, and makes nothing else in their place", async () => {
  const [make, ...rest] = pickleTensor().split("_v2\n");
  const REBUILD = "ctorch._tensor\n_rebuild_from_type_v2\n";
  // (function, class, its arguments, attributes), as PyTorch writes a buffer of nn.Buffer
  const attributed = (maker: string, args: string) =>
    `${REBUILD}(${maker}ctorch\nTensor\n${args}}${pickleText("persistent")}\x88stR.`;
  const args = rest.join("_v2\n").replace(/R$/, "");
  await withFolder(async (folder) => {
    const path = `${folder}/buffer.pth`;
    const weights = { name: "a/data/0", data: new Uint8Array(Float32Array.of(1, -2, 3.5, 4).buffer) };
    const data = pickleBytes(0x80, 2, attributed(`${make}_v2\n`, args));
    Deno.writeFileSync(path, buildZip([{ name: "a/data.pkl", data }, weights]));
    using file = await openCheckpointFile(path);
    assertEquals(await (file.value as unknown as TensorRef).read(), Float32Array.of(1, -2, 3.5, 4));
  });
  const path = `(${pickleText("/data")}t`;
  for (
    const [maker, given] of [
      ["cpathlib\nPosixPath\n", path],
      ["ctorch\nTensor\n", args],
      [REBUILD, `(${make}_v2\nN${args}Nt`],
      [`${make}_v2\n`, "N"],
      ["K\x01", args],
    ]
  ) {
    assertStringIncludes(
      await refusePickle(attributed(maker, given), [FOUR_FLOATS]),
      "a tensor with attributes is made from something other than a tensor",
    );
  }
  assertStringIncludes(await refusePickle(attributed("cposix\nsystem\n", path)), '"posix.system"');
  assertStringIncludes(await refusePickle("ctorch\nTensor\n)R."), 'it calls "torch.Tensor"');
});

Deno.test("openCheckpointFile() refuses tensors whose values are not those in memory, as of x.imag of conjugated x", async () => {
  // What follows the hooks: of version 2 the metadata, of version 3 the type before it.
  const tensors = (metadata: string) => {
    const second = pickleTensor().replace(/tR$/, `${metadata}tR`);
    const third = pickleTensor().replace("_v2", "_v3").replace(/tR$/, `ctorch\nfloat32\n${metadata}tR`);
    return [second, third];
  };
  const noted = (name: string, bit: string) => `}${pickleText(name)}${bit}s`;
  for (const name of ["neg", "conj"]) {
    for (const tensor of tensors(noted(name, "\x88"))) {
      assertStringIncludes(
        await refusePickle(`${tensor}.`, [FOUR_FLOATS]),
        `has a tensor with PyTorch's ${name} bit, which is not supported; save it after .resolve_${name}()`,
      );
    }
  }
  await withFolder(async (folder) => {
    const path = `${folder}/plain.pth`;
    for (const metadata of ["N", "}", noted("neg", "\x89")]) {
      for (const tensor of tensors(metadata)) {
        const data = pickleBytes(0x80, 2, `${tensor}.`);
        Deno.writeFileSync(path, buildZip([{ name: "odd/data.pkl", data }, FOUR_FLOATS]));
        using file = await openCheckpointFile(path);
        assertEquals((file.value as unknown as TensorRef).shape, [4]);
      }
    }
  });
});

Deno.test("openCheckpointFile() says what other files are", async () => {
  const tar = new Uint8Array(1024);
  tar.set(pickleBytes("ustar"), 257);
  const cases: [string, Uint8Array, string][] = [
    ["tar", tar, "is a tar archive"],
    ["gzip", pickleBytes("\x1f\x8b\x08\0\0\0\0\0"), "gzip"],
    ["hdf5", pickleBytes("\x89HDF\r\n\x1a\n"), "HDF5"],
    ["lfs", pickleBytes("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"],
    ["html", pickleBytes("<!DOCTYPE html><html>\x1b[2J"), "web page"],
    ["pickle", pickleBytes(0x80, 4, "N."), "not one of torch.save"],
    ["noise", pickleBytes("\x01\x02\x03\x04"), "expected"],
    ["empty zip", buildZip([]), "expected one data.pkl"],
    ["other zip", buildZip([{ name: "a.txt", data: pickleBytes("hi") }]), '"a.txt"'],
    [
      "TorchScript",
      buildZip([
        { name: "net/data.pkl", data: pickleBytes("N.") },
        { name: "net/constants.pkl", data: pickleBytes("N.") },
      ]),
      "TorchScript",
    ],
    [
      "big-endian",
      buildZip([
        { name: "net/data.pkl", data: pickleBytes("N.") },
        { name: "net/byteorder", data: pickleBytes("big") },
      ]),
      "big-endian",
    ],
  ];
  await withFolder(async (folder) => {
    for (const [name, bytes, reason] of cases) {
      const path = `${folder}/${name}.pth.tar`;
      Deno.writeFileSync(path, bytes);
      assertStringIncludes(await checkpointErrorOf(path, openCheckpointFile), reason, name);
    }
    assertStringIncludes(
      await checkpointErrorOf(`${folder}/missing.pth.tar`, openCheckpointFile),
      "no such file",
    );
    assertStringIncludes(await checkpointErrorOf(folder, openCheckpointFile), "is a folder");
  });
});

Deno.test("openCheckpointFile() reads the odds and ends of other people's checkpoints", async () => {
  const number = (code: string, order: string, bytes: string) =>
    `cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(${pickleText(code)}\x89\x88tR(K\x03${
      pickleText(order)
    }NNNJ` +
    `\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbC${String.fromCharCode(bytes.length)}${bytes}tR`;
  const pickle = `}(${pickleText("f8")}${number("f8", "<", "\0\0\0\0\0\0\xf8?")}${pickleText("i8")}` +
    `${number("i8", ">", "\0\0\0\0\0\0\0\x05")}${pickleText("args")}cargparse\nNamespace\n)\x81}${
      pickleText("lr")
    }` +
    `G?\xb9\x99\x99\x99\x99\x99\x9asb${pickleText("steps")}ccollections\nCounter\n(}(K\x05K\x01utR${
      pickleText("meta")
    }ccollections\nOrderedDict\n)R}${pickleText("_metadata")}}sb${
      pickleText("size")
    }ctorch\nSize\n((K\x02K\x03ttR` +
    `${pickleText("device")}ctorch\ndevice\n(${pickleText("cuda")}K\x01tR${
      pickleText("dtype")
    }ctorch\nfloat16\n` +
    `${pickleText("path")}cpathlib\nPosixPath\n(${pickleText("/")}${pickleText("data")}tR` +
    `${pickleText("newer path")}cpathlib._local\nPosixPath\n(${pickleText("/")}${pickleText("new")}tR${
      pickleText("slice")
    }` +
    `cbuiltins\nslice\n(K\x01NK\x02tR${pickleText("deque")}ccollections\ndeque\n(](K\x01K\x02etR` +
    `${pickleText("day")}cdatetime\ndate\n(C\x04\x07\xe9\x0b\x19tR${pickleText("__proto__")}K\x07` +
    `${pickleText("array")}cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\x01btR` +
    `(K\x01(K\x03tcnumpy\ndtype\n(${pickleText("u1")}\x89\x88tR\x89C\x03\x01\x02\x03tb` +
    `${pickleText("label")}${number("U1", "<", "c\0\0\0")}${pickleText("long")}${
      number("f16", "<", "\0".repeat(16))
    }${pickleText("criterion")}(${pickleText("module")}ctorch.nn.modules.loss\nCrossEntropyLoss\n${
      pickleText("loss.py")
    }${pickleText("class CrossEntropyLoss: ...")}tQ)\x81}(${pickleText("training")}\x88ub` +
    `${pickleText("version")}ctorch.torch_version\nTorchVersion\n(${pickleText("2.5.1")}t\x81` +
    `${
      pickleText("old version")
    }ccopy_reg\n_reconstructor\n(ctorch.torch_version\nTorchVersion\nc__builtin__\nunicode\n` +
    `${pickleText("2.5.1")}tR${
      pickleText("zone")
    }cdatetime\ntimezone\n(cdatetime\ntimedelta\n(K\0K\x3cK\0tRtR` +
    `${pickleText("decimal")}cdecimal\nDecimal\n(${pickleText("1.5")}tR${
      pickleText("range")
    }c__builtin__\nxrange\n(` +
    `K\0K\x03K\x01tR${pickleText("simple")}ctypes\nSimpleNamespace\n)R}${pickleText("lr")}K\x02sb` +
    `${pickleText("id")}cuuid\nUUID\n)\x81}${pickleText("int")}K\x05sb` +
    `${pickleText("big")}\x8a\x09\0\0\0\0\0\0\0\0\x01${pickleText("negative")}\x8a\x01\xffu.`;
  await withFolder(async (folder) => {
    const path = `${folder}/odds.pth.tar`;
    Deno.writeFileSync(path, buildZip([{ name: "odds/data.pkl", data: pickleBytes(0x80, 2, pickle) }]));
    using file = await openCheckpointFile(path);
    const value = file.value as Map<string, unknown>;
    assertEquals(value.get("f8"), 1.5);
    assertEquals(value.get("i8"), 5);
    assertEquals(value.get("args"), new Map([["lr", 0.1]]));
    assertEquals(value.get("steps"), new Map([[5, 1]]));
    assertEquals([...value.get("meta") as Map<string, unknown>], []);
    assertEquals(value.get("size"), [2, 3]);
    assertEquals(value.get("device"), "cuda:1");
    assertEquals(value.get("dtype"), "torch.float16");
    assertEquals(value.get("path"), "/data");
    assertEquals(value.get("newer path"), "/new"); // as Python 3.13 writes it
    assertEquals(value.get("slice"), [1, null, 2]);
    assertEquals(value.get("deque"), [1, 2]);
    assertEquals(value.get("day"), [Uint8Array.of(7, 0xe9, 11, 25)]);
    assertEquals(value.get("__proto__"), 7);
    assertEquals(
      value.get("array"),
      new Map<string, unknown>([["shape", [3]], ["dtype", "u1"], ["data", Uint8Array.of(1, 2, 3)]]),
    );
    // Nobody reads them: a string, a number of 16 bytes, and a module, whose class the legacy container spells with its source.
    assertEquals(value.get("label"), Uint8Array.of(99, 0, 0, 0));
    assertEquals(value.get("long"), new Uint8Array(16));
    assertEquals((value.get("criterion") as Map<string, unknown>).size, 0);
    assertEquals(["version", "old version"].map((key) => value.get(key)), ["2.5.1", "2.5.1"]);
    assertEquals(["zone", "decimal", "range"].map((key) => value.get(key)), [[[0, 60, 0]], ["1.5"], [
      0,
      3,
      1,
    ]]);
    assertEquals(["simple", "id"].map((key) => value.get(key)), [
      new Map([["lr", 2]]),
      new Map([["int", 5]]),
    ]);
    assertEquals(value.get("big"), 2n ** 64n);
    assertEquals(value.get("negative"), -1);
  });
});

Deno.test("CheckpointFile closes its file, and a tensor that is read later says so", async () => {
  const file = await openCheckpointFile(referencePath("checkpoints/torchvision.zip.pth.tar"));
  const tensor = (file.value as Map<string, TensorRef>).get("conv1.weight")!;
  file.close();
  file.close();
  await assertRejects(() => tensor.read(), Error, "closed");
});
