import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Canvas, type Colour } from "../../../cli/output/canvas.ts";
import { contactSheet } from "../../../cli/output/contact_sheet.ts";
import { decodeImage } from "../../../data/decode.ts";
import { openDataset } from "../../../data/open_dataset.ts";

const [BLUE, ORANGE, WHITE]: Colour[] = [[0, 114, 178], [213, 94, 0], [255, 255, 255]];

/** Side of a tile, of the frame of a thumbnail in it, and width of the gap behind a query, in pixels. */
const [TILE, FRAME, GAP] = [102, 3, 12];

Deno.test("contactSheet() shows each neighbour in its place, in a frame that says whether it has the query's class", async () => {
  const folder = await Deno.makeTempDir({ prefix: "seed_sheet_" });
  try {
    const colours: Colour[] = [[200, 10, 20], [30, 210, 40], [50, 60, 220], [70, 80, 90]];
    const labels = ["a", "a", "b", "b"];
    for (const [row, label] of labels.entries()) {
      await Deno.mkdir(join(folder, label), { recursive: true });
      await Deno.writeFile(join(folder, label, `${row}.png`), await new Canvas(8, 8, colours[row]).toPng());
    }
    using dataset = await openDataset(folder);
    const found = [{ query: 0, rows: [2, 1] }, { query: 3, rows: [0, 2] }];
    const sheet = await decodeImage(
      await contactSheet(dataset, found.map((each) => ({ ...each, similarities: [0.5, 0.4] }))),
    );
    assertEquals([sheet.width, sheet.height], [3 * TILE + GAP, 2 * TILE]);
    const pixel = (x: number, y: number) =>
      [...sheet.pixels.subarray(4 * (y * sheet.width + x))].slice(0, 3) as unknown as Colour;
    for (const [line, { query, rows }] of found.entries()) {
      for (const [column, row] of [query, ...rows].entries()) {
        const [left, top] = [column * TILE + (column > 0 ? GAP : 0), line * TILE];
        assertEquals(pixel(left + TILE / 2, top + TILE / 2), colours[row], `line ${line}, column ${column}`);
        assertEquals(pixel(left + FRAME, top + FRAME), colours[row]);
        const frame = column === 0 ? WHITE : labels[row] === labels[query] ? BLUE : ORANGE;
        for (const end of [0, FRAME - 1, TILE - 1]) {
          assertEquals(pixel(left + end, top + 50), frame, `line ${line}, frame ${column}`);
        }
      }
      assertEquals(pixel(TILE + GAP / 2, line * TILE + 50), WHITE);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
