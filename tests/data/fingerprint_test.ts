import { assertEquals, assertNotEquals } from "@std/assert";
import { fingerprintDataset, fingerprintFile } from "../../data/fingerprint.ts";
import { TsvFile } from "../../data/tsv.ts";
import { ONE_PIXEL, TestFolder } from "./folder.ts";

Deno.test("fingerprintDataset() knows rows again by their number, labels and images", async () => {
  using folder = new TestFolder();
  let files = 0;
  const of = async (rows: [label: number, image: string][]) => {
    const text = rows.map(([label, image], i) => `key${i}\t${label}\t${image}\n`).join("");
    using tsv = await TsvFile.open(folder.write(`${files++}.tsv`, text));
    return await fingerprintDataset(tsv);
  };
  const rows: [number, string][] = [[1, ONE_PIXEL], [2, ONE_PIXEL], [3, "AAAA"]];
  const whole = await of(rows);
  assertEquals(whole.length, 64);
  assertEquals(await of(rows), whole);
  for (
    const others of [rows.with(1, [5, ONE_PIXEL]), rows.with(1, [2, "AAAA"]), rows.slice(0, 2), [
      ...rows,
      rows[0],
    ]]
  ) {
    assertNotEquals(await of(others), whole);
  }
});

Deno.test("fingerprintFile() is the file's SHA-256", async () => {
  using folder = new TestFolder();
  // NIST's example.
  assertEquals(
    await fingerprintFile(folder.write("abc", "abc")),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
  const large = new Uint8Array(3_000_000).map((_, i) => i % 251);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", large));
  assertEquals(await fingerprintFile(folder.write("large", large)), digest.toHex());
});
