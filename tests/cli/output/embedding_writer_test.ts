import { assertEquals } from "@std/assert";
import { openEmbeddingWriter, openNamesWriter } from "../../../cli/output/embedding_writer.ts";
import { TestFolder } from "../../data/folder.ts";

const ROWS = {
  rows: [0, 1, 2, 3],
  names: ["=1+2", "-a.png", '@x,"y"', "plain.png"],
  labels: [0, -1, 2, 3],
  embeddings: Float32Array.of(-1.5, 2, 3, 4),
};

Deno.test("CSV files of embeddings hold no name that a spreadsheet takes for a formula, and numbers as numbers", () => {
  using folder = new TestFolder();
  const written = (open: (file: Deno.FsFile) => ReturnType<typeof openNamesWriter>) => {
    const path = folder.write("rows.csv", "");
    {
      using file = Deno.openSync(path, { write: true });
      const writer = open(file);
      writer.add(ROWS as never);
      writer.finish();
    }
    return Deno.readTextFileSync(path);
  };
  assertEquals(
    written(openNamesWriter),
    `row,name,label\n0,'=1+2,0\n1,'-a.png,-1\n2,"'@x,""y""",2\n3,plain.png,3\n`,
  );
  assertEquals(
    written((file) => openEmbeddingWriter(file, ".csv", 1)),
    `row,name,label,0\n0,'=1+2,0,-1.5\n1,'-a.png,-1,2\n2,"'@x,""y""",2,3\n3,plain.png,3,4\n`,
  );
});
