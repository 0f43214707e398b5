/**
 * Mutated checkpoints of every container: each is read, or refused with an error for people. Some hundred of them by
 * default, thousands with SEED_LONG=1.
 */
import { assert, assertLess } from "@std/assert";
import { readTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { crc32 } from "node:zlib";
import { Random } from "../../../data/random.ts";
import { UserError } from "../../../errors.ts";
import { MemorySource } from "../../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { writeSafetensors } from "../../../models/checkpoint/safetensors.ts";
import { loadStateDict, matchStateDict } from "../../../models/checkpoint/state_dict.ts";
import { TensorValue } from "../../../models/checkpoint/torch_value.ts";
import { ZipReader } from "../../../models/checkpoint/zip_reader.ts";
import { inspectCheckpoint } from "../../../models/inspect.ts";
import { IS_LONG } from "../../long.ts";
import { referencePath } from "../../reference.ts";
import { buildZip, deflate, type FixtureEntry, readWhole, withFolder } from "./fixtures.ts";

const MUTANTS = IS_LONG ? 5000 : 400;
const SEED = Number(Deno.env.get("SEED_FUZZ") ?? 1);
const REFERENCES = ["moco", "simclr", "swav", "seed_student", "torchvision", "dtypes"];

/** Instructions of pickle that do something with what is there. */
const OPCODES =
  "(0123NIFJKLMTUXcdeh]lq}tjbpru)QRaos.\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91" +
  "\x92\x93\x94\x95\x96";

/** Changes bytes here and there. */
function mutateBytes(bytes: Uint8Array, random: Random): Uint8Array<ArrayBuffer> {
  let copy = [...bytes];
  for (let times = random.integer(1, 6); times > 0 && copy.length > 0; times--) {
    const at = random.integer(0, copy.length - 1);
    const length = random.integer(1, 24);
    switch (random.integer(0, 8)) {
      case 0:
        copy[at] ^= 1 << random.integer(0, 7);
        break;
      case 1:
        copy[at] = random.integer(0, 255);
        break;
      case 2: // a part is lost
        copy.splice(at, length);
        break;
      case 3: // a part comes twice
        copy.splice(at, 0, ...copy.slice(at, at + length));
        break;
      case 4: // numbers of four bytes become large
        copy.splice(at, 4, ...[0xff, 0xff, 0xff, random.chance(0.5) ? 0xff : 0x7f]);
        break;
      case 5: // two parts change places
        copy.splice(at, 0, ...copy.splice(random.integer(0, copy.length - 1), length));
        break;
      case 6: // an instruction is put in
        copy.splice(at, 0, OPCODES.charCodeAt(random.integer(0, OPCODES.length - 1)));
        break;
      case 7: // cut short, seldom
        if (random.chance(0.2)) copy = copy.slice(0, at);
        break;
      case 8: // zeros
        copy.fill(0, at, at + length);
    }
  }
  return Uint8Array.from(copy);
}

/** Changes the number that a piece of JSON or a pickle in text has. */
function mutateNumbers(bytes: Uint8Array, random: Random): Uint8Array<ArrayBuffer> {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  const numbers = [...text.matchAll(/\d+/g)];
  if (numbers.length === 0) return mutateBytes(bytes, random);
  const { 0: old, index } = numbers[random.integer(0, numbers.length - 1)];
  const values = [
    "-1",
    "0",
    "1",
    "1e309",
    "9007199254740993",
    "4294967296",
    "99999999999999999999",
    `${old}0`,
  ];
  const changed = text.slice(0, index) + values[random.integer(0, values.length - 1)] +
    text.slice(index + old.length);
  return Uint8Array.from(changed, (char) => char.charCodeAt(0));
}

/** The entries of an honest archive. */
async function unzip(bytes: Uint8Array): Promise<FixtureEntry[]> {
  const zip = new ZipReader(new MemorySource(bytes), (problem) => new CheckpointError("fixture", problem));
  return await Promise.all([...zip.entries.values()].map(async (entry) => {
    const data = new Uint8Array(entry.size);
    (await zip.open(entry)).readAt(0, data);
    return { name: entry.name, data };
  }));
}

/** Changes the pickle or an entry of an archive, and makes a whole archive of them again, with the right sums or not. */
async function mutateArchive(bytes: Uint8Array, random: Random): Promise<Uint8Array> {
  const entries = await unzip(bytes);
  const pickle = entries.find(({ name }) => name.endsWith("data.pkl"))!;
  const target = random.chance(0.8) ? pickle : entries[random.integer(0, entries.length - 1)];
  target.data = mutateBytes(target.data, random);
  target.crc32 = random.chance(0.9) ? crc32(target.data) : undefined;
  if (random.chance(0.1)) target.size = random.integer(0, 2 ** 31);
  if (random.chance(0.1)) target.headerOffset = random.integer(0, bytes.length);
  if (random.chance(0.2)) {
    const { data } = target;
    target.size ??= data.length;
    target.data = await deflate(new Uint8Array(data));
    target.method = 8;
    target.crc32 = crc32(data);
  }
  if (random.chance(0.05)) entries.push(target);
  return buildZip(entries);
}

/** The whole way of a checkpoint, as the programs go it. */
async function use(path: string): Promise<void> {
  await readWhole(path);
  await inspectCheckpoint(path, { statistics: true });
  using state = await loadStateDict(path);
  const { file } = state;
  const ways = [
    () => matchStateDict(state, [{ key: "conv1.weight", shape: [4, 3, 3, 3] }]),
    () => readTrainingCheckpoint(DISTILL_CHECKPOINT, file),
  ];
  for (const way of ways) {
    try {
      way();
    } catch (error) {
      assert(error instanceof UserError, (error as Error).stack);
    }
  }
}

/** Bytes of this thread's heap and buffers: the process has other tests on other threads. */
function memoryOfIsolate(): number {
  const { heapTotal, external } = Deno.memoryUsage();
  return heapTotal + external;
}

Deno.test(`any of ${MUTANTS} mutated checkpoints is read or refused: no crash, no hang, in little memory`, async () => {
  await withFolder(async (folder) => {
    const safetensors = `${folder}/honest.safetensors`;
    await writeSafetensors(
      safetensors,
      new Map([
        ["conv1.weight", new TensorValue("float32", [4, 3, 3, 3], new Float32Array(108))],
        ["fc.bias", new TensorValue("float16", [7], new Uint16Array(7))],
        ["step", new TensorValue("int64", [], BigInt64Array.of(3n))],
      ]),
      { format: "pt", epoch: "3" },
    );
    const path = `${folder}/mutant`;
    const before = memoryOfIsolate();
    let most = before;
    let refused = 0;
    for (let i = 0; i < MUTANTS; i++) {
      const random = new Random(SEED, "mutant", i);
      const name = REFERENCES[random.integer(0, REFERENCES.length - 1)];
      const kind = i % 4;
      const source = kind === 3
        ? safetensors
        : referencePath(`checkpoints/${name}.${kind === 0 ? "legacy" : "zip"}.pth.tar`);
      const honest = Deno.readFileSync(source);
      const isText = kind === 3 && random.chance(0.5);
      const mutant = kind === 1
        ? await mutateArchive(honest, random)
        : isText
        ? mutateNumbers(honest, random)
        : mutateBytes(honest, random);
      Deno.writeFileSync(path, mutant);
      const about = `mutant ${i} of SEED_FUZZ=${SEED}, made from ${source}`;
      try {
        await use(path);
      } catch (error) {
        refused++;
        assert(error instanceof UserError, `${about}: ${(error as Error).stack}`);
        // deno-lint-ignore no-control-regex -- control characters are what must not be there
        assert(!/[\x00-\x1f\x7f-\x9f]/.test(error.message), `${about}: control characters in its message`);
        assertLess(error.message.length - path.length, 1000, about);
      }
      most = Math.max(most, memoryOfIsolate());
    }
    assert(refused > MUTANTS / 3 && refused < MUTANTS, `${refused} of ${MUTANTS} were refused`);
    assertLess(most - before, 600 * 2 ** 20);
  });
});
