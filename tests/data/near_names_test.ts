import { assertEquals } from "@std/assert";
import { findNearNames } from "../../data/near_names.ts";

Deno.test("findNearNames() puts the nearest first, without regard to case", () => {
  const names = ["test.tsv", "train.tsv", "Trains.tsv", "notes.txt"];
  assertEquals(findNearNames("tran.tsv", names), ["train.tsv", "Trains.tsv"]);
  assertEquals(findNearNames("TRAIN.TSV", names)[0], "train.tsv");
});

Deno.test("findNearNames() leaves out what is far, and keeps to its limit", () => {
  assertEquals(findNearNames("weights", ["train.tsv", "a", ""]), []);
  assertEquals(findNearNames("a1", ["a2", "a3", "a4", "a5"]), ["a2", "a3", "a4"]);
});
