import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { ENCODERS, encodersNamed, findEncoder, studentNames, teacherNames } from "../../models/registry.ts";

Deno.test("encoders have names of their own, and all may teach", () => {
  assertEquals(new Set(ENCODERS.map(({ name }) => name)).size, ENCODERS.length);
  for (const encoder of ENCODERS) {
    assertEquals(findEncoder(encoder.name), encoder);
    assert(encoder.roles.includes("teacher"), encoder.name);
  }
  assertThrows(
    () => findEncoder("resnet51"),
    UserError,
    'there is no encoder "resnet51"; known are resnet18, ',
  );
});

Deno.test("encodersNamed() knows the original's names, which need --teacher-ssl beside them", () => {
  const named = (name: string) => encodersNamed(name).map((encoder) => [encoder.name, encoder.ssl]);
  assertEquals(named("resnet50"), [
    ["resnet50", "moco"],
    ["resnet50_cifar", "moco"],
    ["simclr_resnet50", "simclr"],
    ["swav_resnet50", "swav"],
  ]);
  assertEquals(named("resnet50w2"), [["moco_resnet50w2", "moco"], ["swav_resnet50w2", "swav"]]);
  assertEquals(named("swav_resnet50w5"), [["swav_resnet50w5", "swav"]]);
  assertEquals(named("resnet51"), []);
});

Deno.test("students are chosen by their own names alone, teachers also by the original's", () => {
  for (const name of studentNames()) assert(findEncoder(name).roles.includes("student"));
  const teachers = teacherNames();
  assertEquals(new Set(teachers).size, teachers.length);
  for (const name of teachers) assert(encodersNamed(name).length > 0, name);
  for (const name of ["resnet50", "swav_resnet50w4", "resnet50w4"]) assert(teachers.includes(name), name);
  for (const name of ["resnet50w4", "swav_resnet50w4"]) assertEquals(studentNames().includes(name), false);
});
