// The launcher `./seed`, in copies of the few files that it needs.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const NEEDED = [
  "seed",
  "errors.ts",
  "cli/commands/has_adapter.ts",
  "kernels/gpu.ts",
  "kernels/tuning/tuning.ts",
  "kernels/tuning/workgroup_memory.ts",
];
const TASKS = {
  "test:all": { description: "Tests", command: "deno eval 'Deno.exit(8)'" },
  where: {
    description: "Where it runs",
    command: "deno eval \"console.log(Deno.cwd(), Deno.env.get('INIT_CWD'))\"",
  },
  fail: { description: "What fails", command: 'deno eval "Deno.exit(7)"' },
  nohup: {
    description: "Whether it goes on without its terminal",
    command: "deno eval \"console.log(Deno.env.get('SEED_NOHUP'))\"",
  },
  doctor: { description: "What it finds", command: 'deno eval "Deno.exit(9)"' },
  args: { description: "What it is given", command: 'deno eval "console.log(JSON.stringify(Deno.args))" --' },
};
/** What the launcher may call. */
const TOOLS = "sh awk cat cut dirname id ls mkdir mv readlink rm sed sleep uname".split(" ");

interface RunOptions {
  cwd?: string;
  /** Variables besides those of the test. */
  env?: Record<string, string>;
  /** What runs it, if not the system itself. */
  by?: string[];
}

/** A copy of the checkout, and a folder of programs that is all of PATH. */
interface Place {
  root: string;
  bin: string;
  run(args: string[], options?: RunOptions): Promise<{ code: number; stdout: string; stderr: string }>;
}

async function inPlace(test: (place: Place) => Promise<void>): Promise<void> {
  const parent = await Deno.realPath(await Deno.makeTempDir({ prefix: "seed launcher " }));
  const root = join(parent, "checkout");
  const bin = join(parent, "bin");
  try {
    for (const file of NEEDED) {
      await Deno.mkdir(dirname(join(root, file)), { recursive: true });
      await Deno.copyFile(join(ROOT, file), join(root, file));
    }
    await Deno.writeTextFile(
      join(root, "deno.json"),
      JSON.stringify({ version: "9.8.7", tasks: TASKS }, null, 2),
    );
    await Deno.mkdir(bin);
    for (const tool of TOOLS) {
      const found = (Deno.env.get("PATH") ?? "").split(":").map((folder) => join(folder, tool)).find(
        (path) => {
          try {
            return Deno.statSync(path).isFile;
          } catch {
            return false;
          }
        },
      );
      if (found !== undefined) await Deno.symlink(found, join(bin, tool));
    }
    await test({
      root,
      bin,
      async run(args, { cwd = parent, env, by = [] } = {}) {
        const own = { PATH: bin, NO_COLOR: "1", INIT_CWD: "/somewhere/else" };
        const [command, ...rest] = [...by, join(root, "seed"), ...args];
        const { code, stdout, stderr } = await new Deno.Command(command, {
          args: rest,
          cwd,
          env: { ...Deno.env.toObject(), ...own, ...env },
          clearEnv: true,
        }).output();
        const decoder = new TextDecoder();
        return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
      },
    });
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

async function writeProgram(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

const options = { ignore: Deno.build.os === "windows" };

Deno.test("./seed without a task lists the tasks of deno.json", options, async () => {
  await inPlace(async ({ run }) => {
    const { code, stdout } = await run([]);
    assertEquals(code, 0);
    assertMatch(stdout, /^Usage: \.\/seed TASK/);
    assertStringIncludes(
      stdout,
      "\nTasks:\n  where              Where it runs\n  fail               What fails\n" +
        "  nohup              Whether it goes on without its terminal\n  doctor             What it finds\n" +
        "  args               What it is given\n",
    );
    assertStringIncludes(stdout, "\n\nTasks for development:\n  test:all           Tests\n");
    assertEquals(await run(["help"]), { code: 0, stdout, stderr: "" });
    assertEquals((await run(["--version"])).stdout.split("\n")[0], "seed 9.8.7");
  });
  const { tasks } = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  const { stdout } = await new Deno.Command(join(ROOT, "seed")).output();
  const lines = new TextDecoder().decode(stdout).split("\n");
  for (const [task, { description }] of Object.entries<{ description: string }>(tasks)) {
    assertEquals(lines.some((line) => line.trim() === `${task.padEnd(18)} ${description}`), true, task);
  }
});

Deno.test("./seed shows the list where help is asked for, and sets nothing up", options, async () => {
  await inPlace(async ({ root, run }) => {
    const { stdout } = await run([]);
    for (
      const asked of [
        "help",
        "help help",
        "help --help",
        "help --mpi",
        "--mpi --help",
        "--deno -h",
        "--version --help",
      ]
    ) {
      assertEquals(await run(asked.split(" ")), { code: 0, stdout, stderr: "" }, asked);
    }
    assertEquals([...Deno.readDirSync(root)].map(({ name }) => name).includes(".deno"), false);
  });
});

Deno.test("./seed says what to do where there is neither Deno nor npm", options, async () => {
  await inPlace(async ({ run }) => {
    const { code, stdout, stderr } = await run(["where"]);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^seed: needs Deno 2\.9 or newer, or Node with npm to install it; .*\n$/);
  });
});

Deno.test("./seed shows what npm said when it fails", options, async () => {
  await inPlace(async ({ bin, run }) => {
    await writeProgram(join(bin, "npm"), `echo "asked for: $*"; exit 1`);
    const { code, stderr } = await run(["where"]);
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /seed: installing Deno ([\d.]+) into \.deno\/\nasked for: install .* deno@\1\nseed: npm could not /,
    );
  });
});

/** An npm that takes its time, and notes that it was asked. */
const slowNpm = `
echo asked >>"$(dirname -- "$0")/asked"
sleep 1.5
mkdir -p "$3/node_modules/@deno/linux"
echo '#!/bin/sh' >"$3/node_modules/@deno/linux/deno"
echo 'exec "${Deno.execPath()}" "$@"' >>"$3/node_modules/@deno/linux/deno"
chmod +x "$3/node_modules/@deno/linux/deno"`;

/** Lets npm be that one; it replaces what a process that was killed left behind. */
async function writeSlowNpm({ root, bin }: Place): Promise<() => Promise<string>> {
  await Deno.symlink("/bin/chmod", join(bin, "chmod"));
  await writeProgram(join(bin, "npm"), slowNpm);
  for (const folder of ["new-99999999", "node_modules/@deno/linux", "lock-Deno"]) {
    await Deno.mkdir(join(root, ".deno", folder), { recursive: true });
  }
  await Deno.writeTextFile(join(root, ".deno/node_modules/@deno/linux/deno"), "half of it");
  // No process has this number.
  await Deno.writeTextFile(join(root, ".deno/lock-Deno/holder"), `${Deno.hostname()} 99999999\n`);
  return () => Deno.readTextFile(join(bin, "asked"));
}

Deno.test(
  "./seed installs Deno once where several start together, in place of one that was half installed",
  options,
  async () => {
    await inPlace(async (place) => {
      const asked = await writeSlowNpm(place);
      const found = await Promise.all(Array.from({ length: 3 }, () => place.run(["args", "x"])));
      for (const { code, stdout } of found) assertEquals([code, stdout], [0, '["x"]\n']);
      assertEquals(await asked(), "asked\n");
      const left = [...Deno.readDirSync(join(place.root, ".deno"))].map(({ name }) => name).sort();
      assertEquals(left, ["adapter", "node_modules", "setup.log"]);
    });
  },
);

Deno.test("./seed tells MPICH's launcher that it cannot begin", options, async () => {
  await inPlace(async ({ bin, run }) => {
    await writeProgram(join(bin, "launcher"), `PMI_FD=9 "$1" "$2" 9>"$(dirname -- "$0")/told"`);
    const { code, stderr } = await run(["where"], { by: [join(bin, "launcher")] });
    assertEquals(code, 1);
    assertMatch(stderr, /^seed: needs Deno [^\n]*\n$/);
    assertEquals(await Deno.readTextFile(join(bin, "told")), "cmd=abort exitcode=1\n");
    // A launcher has many open files, and sh takes only one digit.
    const many = `#!/bin/bash\nPMI_FD=14 "$1" "$2" 14>"$(dirname -- "$0")/told"`;
    await Deno.writeTextFile(join(bin, "many"), many, { mode: 0o755 });
    await Deno.symlink("/bin/bash", join(bin, "bash"));
    assertEquals((await run(["where"], { by: [join(bin, "many")] })).code, 1);
    assertEquals(await Deno.readTextFile(join(bin, "told")), "cmd=abort exitcode=1\n");
  });
});

Deno.test("./seed runs a task where it cannot keep what it found out of the machine", options, async () => {
  await inPlace(async ({ root, bin, run }) => {
    await Deno.symlink(Deno.execPath(), join(bin, "deno"));
    await Deno.writeTextFile(join(root, ".deno"), "no folder, as in a checkout that one may only read");
    assertEquals(await run(["args", "x"]), { code: 0, stdout: '["x"]\n', stderr: "" });
  });
});

Deno.test("./seed passes on that nohup started it", { ignore: Deno.build.os !== "linux" }, async () => {
  await inPlace(async ({ bin, run }) => {
    await Deno.symlink(Deno.execPath(), join(bin, "deno"));
    assertEquals((await run(["nohup"])).stdout, "undefined\n");
    assertEquals((await run(["nohup"], { by: ["/usr/bin/nohup"] })).stdout, "1\n");
  });
});

Deno.test("./seed takes the Deno that a script in PATH runs, which signals must reach", options, async () => {
  await inPlace(async ({ bin, run }) => {
    await Deno.mkdir(join(bin, "npm's"));
    const script = join(bin, "npm's", "bin.cjs");
    const calls = join(bin, "calls");
    await writeProgram(script, `echo "$1" >>"${calls}"; "${Deno.execPath()}" "$@"; exit $?`);
    await Deno.symlink(script, join(bin, "deno"));
    assertEquals(await run(["--deno"]), { code: 0, stdout: `${Deno.execPath()}\n`, stderr: "" });
    assertEquals(await run(["args", "x"]), { code: 0, stdout: '["x"]\n', stderr: "" });
    assertEquals([...new Set((await Deno.readTextFile(calls)).trim().split("\n"))], ["--version", "eval"]);
  });
});

Deno.test("./seed passes over a Deno that is too old, and over one that does not run", options, async () => {
  for (const fake of [`echo "deno 2.8.99 (stable)"`, "exit 126", `echo "deno 1.99.0"`]) {
    await inPlace(async ({ bin, run }) => {
      await writeProgram(join(bin, "deno"), fake);
      assertMatch((await run(["where"])).stderr, /^seed: needs Deno /);
    });
  }
});

Deno.test(
  "./seed runs a task from any folder, with its arguments, and looks at the machine once",
  options,
  async () => {
    await inPlace(async ({ root, bin, run }) => {
      await Deno.symlink(Deno.execPath(), join(bin, "deno"));
      const first = await run(["where"], { cwd: bin });
      assertEquals(first, { code: 0, stdout: `${root} ${bin}\n`, stderr: "" });
      const stamp = join(root, ".deno", "adapter");
      assertStringIncludes(await Deno.readTextFile(stamp), Deno.hostname());

      // Nothing that could look for an adapter is left, so only the stamp can let this pass.
      await Deno.remove(join(root, "cli"), { recursive: true });
      const second = await run(["args", "--flag=a b", "-x", "*"]);
      assertEquals(second, { code: 0, stdout: '["--flag=a b","-x","*"]\n', stderr: "" });

      // Another machine, or other drivers: it looks again, and says that it cannot.
      await Deno.writeTextFile(stamp, "elsewhere\n");
      const { code, stderr } = await run(["where"]);
      assertEquals(code, 1);
      assertMatch(stderr, /has_adapter\.ts[\s\S]*\nseed: could not ask for a WebGPU adapter\n$/);
    });
  },
);

Deno.test(
  "./seed --deno prints the Deno in use; a failing task's code is its own; links lead home",
  options,
  async () => {
    await inPlace(async ({ root, bin, run }) => {
      await Deno.symlink(Deno.execPath(), join(bin, "deno"));
      assertEquals((await run(["--deno"])).stdout, `${join(bin, "deno")}\n`);
      assertEquals((await run(["fail"])).code, 7);
      const unknown = await run(["wher"]);
      assertEquals([unknown.code, unknown.stdout], [2, ""]);
      assertMatch(
        unknown.stderr,
        /^seed: there is no task wher\nUsage: [\s\S]*\n {2}where +Where it runs\n/,
      );
      await Deno.symlink(join(root, "seed"), join(bin, "launch"));
      const { stdout } = await new Deno.Command(join(bin, "launch"), {
        args: ["where"],
        cwd: bin,
        env: { PATH: bin },
      }).output();
      assertEquals(new TextDecoder().decode(stdout), `${root} ${bin}\n`);
    });
  },
);

Deno.test(
  "./seed begins in the folder that the system is in, by whatever link one came there",
  options,
  async () => {
    await inPlace(async ({ root, bin, run }) => {
      await Deno.symlink(Deno.execPath(), join(bin, "deno"));
      const [folder, link] = [join(root, "deep", "images"), join(root, "link")];
      await Deno.mkdir(folder, { recursive: true });
      await Deno.symlink(folder, link);
      // As a shell has it after `cd link`.
      const { stdout } = await run(["where"], { cwd: link, env: { PWD: link } });
      assertEquals(stdout, `${root} ${folder}\n`);
    });
  },
);

Deno.test("./seed asks for an adapter only where a task computes", options, async () => {
  await inPlace(async ({ root, bin, run }) => {
    await Deno.symlink(Deno.execPath(), join(bin, "deno"));
    await Deno.writeTextFile(join(root, "cli/commands/has_adapter.ts"), "Deno.exit(4);");
    const { code, stderr } = await run(["args"]);
    assertEquals(code, 1);
    assertMatch(stderr, /^seed: no WebGPU adapter: install your GPU's Vulkan driver/);
    assertEquals(await run(["doctor"]), { code: 9, stdout: "", stderr: "" });
    for (const asked of [["-h"], ["--help"], ["--help=all"], ["--data", "x", "--help", "all"]]) {
      const stdout = `${JSON.stringify(asked)}\n`;
      assertEquals(await run(["args", ...asked]), { code: 0, stdout, stderr: "" });
    }
    assertEquals(await run(["help", "args"]), { code: 0, stdout: '["--help"]\n', stderr: "" });
  });
});
