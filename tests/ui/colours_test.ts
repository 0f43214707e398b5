import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { COLOURS, contrast, faded, LEAST_CONTRAST, type Theme } from "../../ui/page/colours.ts";
import STYLE from "../../ui/page/page.css" with { type: "text" };

const THEMES: readonly Theme[] = ["light", "dark"];

/** What the page is painted on. */
const BACKGROUNDS = ["back", "panel"];

/** What each colour of the style sheet is for; `line` separates what is apart without it, and needs no contrast. */
const USES: Record<string, "background" | "text" | "line" | "ornament"> = {
  back: "background",
  panel: "background",
  text: "text",
  faint: "text",
  teacher: "text",
  student: "text",
  bad: "text",
  busy: "line",
  waiting: "line",
  line: "ornament",
};

/** The style sheet's colours by their names. */
function paletteOf(theme: Theme): Record<string, string> {
  const pairs = STYLE.matchAll(/--(\w+): light-dark\((#\w+), (#\w+)\);/g);
  return Object.fromEntries(
    [...pairs].map(([, name, light, dark]) => [name, theme === "light" ? light : dark]),
  );
}

Deno.test("contrast is WCAG's", () => {
  assertEquals([contrast("#000000", "#ffffff"), contrast("#336699", "rgb(51, 102, 153)")], [21, 1]);
  assertAlmostEquals(contrast("#777777", "#ffffff"), 4.478, 0.001);
  assertThrows(() => contrast("red", "#ffffff"), Error, "expected #rrggbb or rgb(r, g, b), found red");
});

Deno.test("every colour of the style sheet can be seen on the page and its panels, in both themes", () => {
  for (const theme of THEMES) {
    const palette = paletteOf(theme);
    assertEquals(Object.keys(palette).toSorted(), Object.keys(USES).toSorted(), "a colour without a use");
    for (const [name, use] of Object.entries(USES)) {
      if (use !== "text" && use !== "line") continue;
      for (const background of BACKGROUNDS) {
        const found = contrast(palette[name], palette[background]);
        assert(found >= LEAST_CONTRAST[use], `${theme}: ${name} on ${background} has ${found.toFixed(2)}`);
      }
    }
  }
  const elsewhere = STYLE.replace(/--\w+: light-dark\(.*?\);/g, "").match(/#[\da-f]{3,8}\b(?=[^{}]*;)/gi);
  assertEquals(elsewhere, null, "colours have names");
});

Deno.test("lines are seen on the panels, raw ones fainter than smoothed ones, in both themes", () => {
  for (const theme of THEMES) {
    const { panel, back } = paletteOf(theme);
    for (const colour of COLOURS[theme]) {
      for (const background of [panel, back]) {
        const found = contrast(colour, background);
        assert(found >= LEAST_CONTRAST.text, `${theme}: ${colour} has ${found.toFixed(2)}`);
      }
      const raw = contrast(faded(colour, panel), panel);
      assert(raw >= LEAST_CONTRAST.line, `${theme}: the raw line of ${colour} has ${raw.toFixed(2)}`);
      assert(contrast(colour, panel) > 1.8 * raw, `${theme}: ${colour} is no stronger than its raw line`);
    }
  }
  assertEquals(COLOURS.light.length, COLOURS.dark.length);
  assertEquals(faded("#808080", "#7f7f7f"), "#808080");
});
