// `deno task inspect`, started as people start it.
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../../cli/flags/flags.ts";
import { inspectHelp, parseInspectFlags } from "../../../cli/flags/inspect_flags.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { TestFolder } from "../../data/folder.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/inspect.ts", import.meta.url));
const inspect = (...args: string[]) => runProgram(PROGRAM, ...args);

Deno.test("inspect says what the bundled teacher is, and lists its tensors", async () => {
  const { code, stdout, stderr } = await inspect(SAMPLE_TEACHER);
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.split("\n");
  assertEquals(lines[1], "container  zip (torch.save, PyTorch 1.6 and later)");
  assertEquals(lines[2], "names      moco (encoder_q.*)");
  assertStringIncludes(
    stdout,
    "encoder    encoder_q: resnet18, head fc: mlp, 512 -> 128; 11,504,832 parameters",
  );
  assertMatch(stdout, /^state_dict\.module\.encoder_q\.conv1\.weight +float16 +\[64, 3, 7, 7\]$/m);
});

Deno.test("inspect filters, measures, and writes JSON", async () => {
  const filtered = await inspect(SAMPLE_TEACHER, "--filter", "layer4.1.bn2", "--stats");
  assertEquals([filtered.code, filtered.stderr], [0, ""]);
  assertStringIncludes(filtered.stdout, "tensors    5 listed, 2,049 elements");
  assertMatch(filtered.stdout, /bn2\.running_var +float16 +\[512\]( +\S+){4} +0$/m);
  const json = await inspect(SAMPLE_TEACHER, "--json", "--no-tensors");
  const { container, encoders, tensors } = JSON.parse(json.stdout);
  assertEquals([container, encoders[0].recognized, tensors], ["zip", ["resnet18"], undefined]);
});

Deno.test("inspect writes the control characters of names out, and its JSON stays JSON", async () => {
  using folder = new TestFolder();
  const keys = ["a\x7fb", "c\x1b[2Jd", "e\x9b\u202e\u061c\nf"];
  const tensor = { dtype: "F32", shape: [1], data_offsets: [0, 4] };
  const header = JSON.stringify({
    [keys[0]]: tensor,
    [keys[1]]: { ...tensor, data_offsets: [4, 8] },
    [keys[2]]: { ...tensor, data_offsets: [8, 12] },
  });
  const bytes = new TextEncoder().encode(`\0\0\0\0\0\0\0\0${header}${"\0".repeat(12)}`);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(new TextEncoder().encode(header).length), true);
  const path = folder.write("a.safetensors", bytes);
  const [shown, json] = [await inspect(path), await inspect(path, "--json")];
  for (const { code, stdout, stderr } of [shown, json]) {
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^[\n\x20-\x7e]*$/);
  }
  assertMatch(shown.stdout, /^a\\u007fb +float32/m);
  assertEquals(JSON.parse(json.stdout).tensors.map(({ name }: { name: string }) => name), keys);
});

Deno.test("inspect refuses wrong flags and files in one line", async () => {
  const missing = await inspect("no.pth");
  assertEquals([missing.code, missing.stdout], [1, ""]);
  assertMatch(missing.stderr, /^error: .*no\.pth: no such file\n$/);
  for (const args of [[], ["--stat", "a.pth"], ["a.pth", "b.pth"], ["--stats", "--no-tensors", "a.pth"]]) {
    assertThrows(() => parseInspectFlags(args, { folder: "/" }), UsageError, undefined, args.join(" "));
  }
  assertStringIncludes(inspectHelp(), "--filter TEXT");
});
