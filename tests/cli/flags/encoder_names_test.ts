// Flags take the encoders that files and messages name, of which no list has all: vision transformers by their shape.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseDistillFlags } from "../../../cli/flags/distill_flags.ts";
import { parseDoctorFlags } from "../../../cli/flags/doctor_flags.ts";
import { parseEmbedFlags } from "../../../cli/flags/embed_flags.ts";
import { parseExportFlags } from "../../../cli/flags/export_flags.ts";
import { UsageError } from "../../../cli/flags/flags.ts";
import { parseKnnFlags } from "../../../cli/flags/knn_flags.ts";
import { parseLinclsFlags } from "../../../cli/flags/lincls_flags.ts";
import { parsePretrainFlags } from "../../../cli/flags/pretrain_flags.ts";
import { encoderNames, findEncoder, studentNames, teacherNames } from "../../../models/registry.ts";

/** Every flag that names an encoder, with what its command is given besides. */
const FLAGS: Record<string, (name: string) => unknown> = {
  "lincls --arch": (name) =>
    parseLinclsFlags(["--finetune", "--resume", "a.pth", "--arch", name, "."], { encoders: encoderNames() }),
  "knn --arch": (name) => parseKnnFlags(["--arch", name, "."], { encoders: encoderNames() }),
  "embed --arch": (name) =>
    parseEmbedFlags(["--pretrained", "a.pth", "-o", "a.npy", "--arch", name, "."], {
      encoders: encoderNames(),
    }),
  "export --arch": (name) => parseExportFlags(["a.pth", "--arch", name], { encoders: encoderNames() }),
  "pretrain --arch": (name) =>
    parsePretrainFlags(["--data", ".", "--output", "a", "--arch", name], { encoders: encoderNames() }),
  "distill --teacher-arch": (name) =>
    parseDistillFlags(["--teacher-arch", name], { encoders: studentNames(), teachers: teacherNames() }),
  "distill --student-arch": (name) =>
    parseDistillFlags(["--student-arch", name], { encoders: studentNames(), teachers: teacherNames() }),
  "doctor --teacher-arch": (name) =>
    parseDoctorFlags(["--teacher-arch", name], { encoders: studentNames(), teachers: teacherNames() }),
};

const STUDENTS = ["vit_tiny", "vit_tiny_96", "vit_small_64_cifar", "vit_tiny_mean"];
const TEACHERS = ["dino_vit_p16_w192_b12_h3_f768_r0_g14", "dinov2_vits14_mean", "dinov2_vits14"];

for (const [flag, parse] of Object.entries(FLAGS)) {
  Deno.test(`${flag} takes vision transformers that are not listed, and no other names`, () => {
    const isStudent = flag === "distill --student-arch";
    for (const name of [...STUDENTS, ...isStudent ? [] : TEACHERS]) {
      const parsed = parse(name);
      assert(JSON.stringify(parsed).includes(`"${name}"`), `${flag} ${name} gave ${JSON.stringify(parsed)}`);
      assertEquals(findEncoder(name).name, name);
    }
    for (const name of ["vit_tiny_97", "dino_vit_p16_w192", "resnet19", ...isStudent ? TEACHERS : []]) {
      const { message } = assertThrows(() => parse(name), UsageError);
      assert(/-arch: expected one of .*vit_tiny, .*, found "/.test(message), message);
    }
  });
}
