/** A program in a folder of one's own, outside the checkout, set up as docs/library.md says. */
import { assertEquals, assertMatch } from "@std/assert";
import { join, relative } from "node:path";
import { ROOT } from "./snippets.ts";

/** The deno.json that docs/library.md shows, for a checkout that is elsewhere. */
function documentedConfig(folder: string): string {
  const text = Deno.readTextFileSync(join(ROOT, "docs/library.md"));
  const [, json] = /^```json\n([^]*?)^```$/m.exec(text)!;
  return json.replaceAll("../seed/", `${relative(folder, ROOT)}/`);
}

const PROGRAM = `
import { distill, sampleOptions } from "@seed/distillation";

await using run = distill(sampleOptions({
  output: "run",
  plugins: [new URL("./mine.ts", import.meta.url).href],
  studentArch: "mine",
  batchSize: 8,
  queue: 16,
  limitSteps: 2,
  testData: null,
  insight: false,
}));
try {
  for await (const event of run) if (event.type === "step") console.log(event.step);
  console.log((await run.result).steps);
} catch (error) {
  console.log((error as Error).name, (error as Error).message);
}
`;

const PLUGIN = `
import { globalAveragePool, projectionHead, registerEncoder } from "@seed/distillation/parts";

registerEncoder({
  name: "mine",
  family: "mine",
  roles: ["student"],
  ssl: "moco",
  head: "linear",
  features: 8,
  trace(b, images, head) {
    const stem = b.convolution("stem", { inputs: 3, outputs: 8, kernel: 5, stride: 4, padding: 2 });
    const x = b.convolveAndNormalize(images, stem, b.batchNorm("norm", 8), { activation: "relu" });
    const feature = b.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: projectionHead(b, "fc", 8, head)(feature) };
  },
});
`;

async function deno(folder: string, env: Record<string, string>, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: folder,
    stdin: "null",
    env: { NO_COLOR: "1", INIT_CWD: folder, ...env },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("a program outside the checkout runs without a warning, with the permissions that it is told of", async () => {
  const folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "seed_own_program_" }));
  try {
    Deno.writeTextFileSync(join(folder, "deno.json"), documentedConfig(folder));
    Deno.writeTextFileSync(join(folder, "program.ts"), PROGRAM);
    Deno.writeTextFileSync(join(folder, "mine.ts"), PLUGIN);

    const checked = await deno(folder, {}, "check", "--quiet", "program.ts", "mine.ts");
    assertEquals(checked, { code: 0, stdout: "", stderr: "" });

    // Without any permission it says all that it needs, in one line.
    const refused = await deno(folder, {}, "run", "--no-prompt", "program.ts");
    assertEquals(refused.stderr, "");
    assertMatch(refused.stdout, /^UserError Requires .*; with these options, the run needs: deno run .*\n$/);
    const [, flags] = /deno run (.*)\n/.exec(refused.stdout)!;

    const audit = join(folder, "audit.jsonl");
    const run = await deno(
      folder,
      { DENO_AUDIT_PERMISSIONS: audit },
      "run",
      "--no-prompt",
      ...flags.split(" "),
      "program.ts",
    );
    assertEquals(run, { code: 0, stdout: "1\n2\n2\n", stderr: "" });

    // The plugin works the same from the command line, where the checkout's import map holds.
    const [checkpoint] = [...Deno.readDirSync(join(folder, "run"))].filter(({ name }) =>
      name.endsWith(".tar")
    );
    const inspect = join(ROOT, "cli/commands/inspect.ts");
    const path = join("run", checkpoint.name);
    const inspected = await deno(
      folder,
      {},
      "run",
      "-A",
      inspect,
      "--plugin",
      "mine.ts",
      "--no-tensors",
      path,
    );
    assertEquals(inspected.stderr, "");
    assertMatch(inspected.stdout, /encoder +student: mine/);

    Deno.writeTextFileSync(
      join(folder, "short.ts"),
      'import { z } from "my-short-name";\nconsole.log(z);\n',
    );
    const short = await deno(folder, {}, "run", "-A", inspect, "--plugin", "short.ts", path);
    assertEquals(short.code, 1);
    assertMatch(
      short.stderr,
      /"my-short-name" not a dependency .*; import "@seed\/distillation\/parts", and/,
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
