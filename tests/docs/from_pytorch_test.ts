import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseDistillFlags } from "../../cli/flags/distill_flags.ts";
import { parseLinclsFlags } from "../../cli/flags/lincls_flags.ts";
import { parsePretrainFlags } from "../../cli/flags/pretrain_flags.ts";
import { ENCODERS, studentNames, teacherNames } from "../../models/registry.ts";

const TEXT = Deno.readTextFileSync(new URL("../../docs/from-pytorch.md", import.meta.url));

/** The flags of the original's scripts, with a value each takes. */
const DISTILL =
  "--data=d --output=o -a=resnet18 --student_arch=resnet18 -k=resnet50 --teacher_arch=resnet50 -s=moco " +
  "--teacher_ssl=moco -j=2 --workers=2 --epochs=3 --start-epoch=1 -b=4 --batch-size=4 --lr=0.1 --learning-rate=0.1 " +
  "--schedule=1,2 --momentum=0.9 --wd=0.1 --weight-decay=0.1 -p=5 --print-freq=5 --resume=r --distill=t --seed=1 " +
  "--info=i --dim=64 --queue=1024 --temp=0.1 --distill-t=0.1 --student_mlp=True --cos=False --local_rank=0 --distributed=True";
const LINCLS = "--output=o -a=resnet50 --arch=resnet50 -j=2 --workers=2 --epochs=3 --start-epoch=1 -b=4 " +
  "--batch-size=4 --lr=30 --learning-rate=30 --schedule=1,2 --momentum=0.9 --wd=0.1 --weight-decay=0.1 -p=5 " +
  "--print-freq=5 --resume=r -e --evaluate --seed=1 --gpu=0 --pretrained=p --local_rank=0";
const MOCO =
  "-a=resnet18 --arch=resnet18 -j=2 --workers=2 --epochs=3 --start-epoch=1 -b=4 --batch-size=4 --lr=0.1 " +
  "--learning-rate=0.1 --schedule=1,2 --momentum=0.9 --wd=0.1 --weight-decay=0.1 -p=5 --print-freq=5 --resume=r " +
  "--world-size=8 --rank=0 --dist-url=tcp://localhost:1 --dist-backend=nccl --seed=1 --gpu=0 " +
  "--multiprocessing-distributed --moco-dim=64 --moco-k=1024 --moco-m=0.99 --moco-t=0.1 --mlp --aug-plus --cos";

const parseDistill = (args: string[]) =>
  parseDistillFlags(args, { encoders: studentNames(), teachers: teacherNames(), folder: "/" });
const parseLincls = (args: string[]) =>
  parseLinclsFlags(args, { encoders: ENCODERS.map(({ name }) => name), folder: "/" });
const parsePretrain = (args: string[]) =>
  parsePretrainFlags(args, { encoders: ENCODERS.map(({ name }) => name), folder: "/" });

/** The rows of the table under a heading: what is in its first cell, and what becomes of it. */
function rowsUnder(heading: string): { names: string[]; here: string }[] {
  const [, section] = TEXT.split(`## ${heading}\n`);
  return [...section.split("\n## ")[0].matchAll(/^\| (`.*?) +\| (\S.*?) +\|/gm)].map(([, cell, here]) => ({
    names: [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
    here,
  }));
}

for (
  const [heading, line, parse, more] of [
    ["Every flag of main.py and main_small-patch.py", DISTILL, parseDistill, ["--data=d", "--distill=t"]],
    ["Every flag of main_lincls.py", LINCLS, parseLincls, ["--pretrained=p", "--resume=r"]],
    ["Every flag of main_moco.py", MOCO, parsePretrain, ["--output=o"]],
  ] as const
) {
  Deno.test(`docs/from-pytorch.md: ${heading} is in its table, and is taken as it says`, () => {
    const flags = line.split(" ");
    const rows = rowsUnder(heading);
    const listed = rows.flatMap(({ names }) => names).filter((name) => name.startsWith("-"));
    assertEquals(listed.toSorted(), flags.map((flag) => flag.split("=")[0]).toSorted());
    for (const flag of flags) {
      const [name] = flag.split("=");
      const { here } = rows.find(({ names }) => names.includes(name))!;
      const command = parse([...more.filter((other) => other.split("=")[0] !== name), flag]);
      assert(command.help === undefined);
      const isRetired = command.warnings.some((warning) => warning.startsWith(`${name} is ignored:`));
      assertEquals(isRetired, here === "not needed", name);
      // There are ranks, and who asks for them by the original's flags is told how they are started.
      const ofProcesses = /^--(world-size|rank|local_rank|dist-\S+|multiprocessing-\S+)$/.test(name);
      if (ofProcesses) assertMatch(command.warnings.join(), /mpirun or srun starts the ranks/);
    }
  });
}

Deno.test("docs/from-pytorch.md's commands are read by the real parsers", () => {
  const commands = [...TEXT.matchAll(/^ {4}\.\/seed (distill|lincls|pretrain) (.*)$/gm)];
  assertEquals(commands.length, 4);
  for (const [, task, line] of commands) {
    const parse = { distill: parseDistill, lincls: parseLincls, pretrain: parsePretrain }[task]!;
    const command = parse(line.split(" "));
    assert(command.help === undefined);
    assertEquals(command.warnings, [], line);
  }
});
