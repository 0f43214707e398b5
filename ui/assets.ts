/**
 * The page's files: its modules as browsers want them, its style, and the chart library. Nothing is fetched from
 * elsewhere, and there is nothing to build.
 */
import module from "node:module"; // as a whole: an older Deno, which lacks what is used of it, is to say so itself
import ECHARTS from "echarts/dist/echarts.common.min.js" with { type: "text" };
import ABOUT from "./page/about.ts" with { type: "text" };
import ACTORS from "./page/actors.ts" with { type: "text" };
import NEIGHBOURS from "./page/neighbours.ts" with { type: "text" };
import CHARTS from "./page/charts.ts" with { type: "text" };
import COLOURS from "./page/colours.ts" with { type: "text" };
import CSV from "./page/csv.ts" with { type: "text" };
import CURVES from "./page/curves.ts" with { type: "text" };
import ELEMENTS from "./page/elements.ts" with { type: "text" };
import HEADER from "./page/header.ts" with { type: "text" };
import HEALTH from "./page/health.ts" with { type: "text" };
import INDEX from "./page/index.html" with { type: "text" };
import LINE_CHART from "./page/line_chart.ts" with { type: "text" };
import NAMES from "./page/names.ts" with { type: "text" };
import RUNS from "./page/runs.ts" with { type: "text" };
import RUN_TIMES from "./page/run_times.ts" with { type: "text" };
import SAVING from "./page/saving.ts" with { type: "text" };
import SETTINGS from "./page/settings.ts" with { type: "text" };
import SHOWN_RUNS from "./page/shown_runs.ts" with { type: "text" };
import SMOOTHING from "./page/smoothing.ts" with { type: "text" };
import THEME from "./page/theme.ts" with { type: "text" };
import VIEWER from "./page/viewer.ts" with { type: "text" };
import WORDING from "./page/wording.ts" with { type: "text" };
import SNAPSHOT from "./page/snapshot.ts" with { type: "text" };
import MAIN from "./page/main.ts" with { type: "text" };
import RESULTS from "./page/results.ts" with { type: "text" };
import STATE from "./page/state.ts" with { type: "text" };
import STYLE from "./page/page.css" with { type: "text" };
import type { PageMessage } from "./records.ts";

const SOURCES: Readonly<Record<string, string>> = {
  "about.ts": ABOUT,
  "actors.ts": ACTORS,
  "neighbours.ts": NEIGHBOURS,
  "charts.ts": CHARTS,
  "colours.ts": COLOURS,
  "csv.ts": CSV,
  "curves.ts": CURVES,
  "elements.ts": ELEMENTS,
  "header.ts": HEADER,
  "health.ts": HEALTH,
  "line_chart.ts": LINE_CHART,
  "names.ts": NAMES,
  "runs.ts": RUNS,
  "run_times.ts": RUN_TIMES,
  "saving.ts": SAVING,
  "settings.ts": SETTINGS,
  "shown_runs.ts": SHOWN_RUNS,
  "smoothing.ts": SMOOTHING,
  "theme.ts": THEME,
  "viewer.ts": VIEWER,
  "wording.ts": WORDING,
  "snapshot.ts": SNAPSHOT,
  "main.ts": MAIN,
  "results.ts": RESULTS,
  "state.ts": STATE,
};

const ENTRY = "main.ts";

let modules: Map<string, string> | undefined;

/** The modules by file name, as JavaScript. */
function pageModules(): Map<string, string> {
  return modules ??= new Map(
    Object.entries(SOURCES).map(([name, source]) => [name, module.stripTypeScriptTypes(source)]),
  );
}

/** A file that the page asks for by its path, without the slash. */
export function findAsset(path: string): { type: string; text: string } | undefined {
  if (path === "page.css") return { type: "text/css", text: STYLE };
  if (path === "echarts.js") return { type: "text/javascript", text: ECHARTS };
  const name = path.startsWith("page/") ? path.slice("page/".length) : undefined;
  const text = name === undefined ? undefined : pageModules().get(name);
  return text === undefined ? undefined : { type: "text/javascript", text };
}

function fill(style: string, scripts: string): string {
  return INDEX.replace("<!-- style -->", () => style).replace("<!-- scripts -->", () => scripts);
}

/** Where the modules that the page's modules name are. */
function importMap(urlOf: (name: string) => string): string {
  const imports = Object.fromEntries([...pageModules().keys()].map((name) => [`page/${name}`, urlOf(name)]));
  return JSON.stringify({ imports });
}

/** The live page; only scripts with the nonce may run in it. */
export function livePage(nonce: string): string {
  return fill(
    `<link rel="stylesheet" href="page.css">`,
    `<script nonce="${nonce}" type="importmap">${importMap((name) => `./page/${name}`)}</script>
    <script nonce="${nonce}" src="echarts.js"></script>
    <script nonce="${nonce}" type="module" src="page/${ENTRY}"></script>`,
  );
}

/** Text as it may stand in a script element. */
function inScript(text: string): string {
  return text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
}

/** The same page as one file that holds all it shows. */
export function reportPage(messages: readonly PageMessage[]): string {
  const data = JSON.stringify(messages).replaceAll("<", "\\u003c");
  const urlOf = (name: string) =>
    `data:text/javascript;base64,${new TextEncoder().encode(pageModules().get(name)!).toBase64()}`;
  return fill(
    `<style>${STYLE}</style>`,
    `<script type="importmap">${importMap(urlOf)}</script>
    <script id="report" type="application/json">${data}</script>
    <script>${inScript(ECHARTS)}</script>
    <script type="module">import "page/${ENTRY}";</script>`,
  );
}
