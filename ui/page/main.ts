/// <reference lib="dom" />
/**
 * The page: takes news in and shows them. News come by server-sent events, or lie in the page itself, which is then a
 * report.
 */
import { drawAbout } from "page/about.ts";
import { drawActors } from "page/actors.ts";
import { Neighbours } from "page/neighbours.ts";
import { Curves } from "page/curves.ts";
import { drawHeader, drawPicker } from "page/header.ts";
import { Snapshot } from "page/snapshot.ts";
import { State, type Topic } from "page/state.ts";
import type { PageMessage } from "../records.ts";

/** Between two drawings: more often is more than one can follow. */
const DRAW_EVERY_MS = 400;

/** Between two tries of a page that was refused. */
const CONNECT_EVERY_MS = 3_000;

const EVERYTHING: readonly Topic[] = ["runs", "curves", "actors", "snapshot", "neighbours", "about"];

const state = new State();
const curves = new Curves();
const snapshot = new Snapshot();
const neighbours = new Neighbours(() => redraw("neighbours"));
const stale = new Set<Topic>();
let isScheduled = false;

function draw(): void {
  isScheduled = false;
  const topics = [...stale];
  stale.clear();
  if (topics.includes("runs")) {
    drawPicker(state, (hasFocusChanged) => redraw(...hasFocusChanged ? EVERYTHING : ["curves" as const]));
    drawHeader(state);
  }
  if (topics.includes("curves")) curves.draw(state);
  if (topics.includes("actors")) drawActors(state);
  if (topics.includes("snapshot")) snapshot.draw(state);
  if (topics.includes("neighbours")) neighbours.draw(state);
  if (topics.includes("about")) drawAbout(state);
}

function redraw(...topics: Topic[]): void {
  for (const topic of topics) stale.add(topic);
  if (isScheduled) return;
  isScheduled = true;
  setTimeout(() => requestAnimationFrame(draw), document.hidden ? DRAW_EVERY_MS * 5 : DRAW_EVERY_MS);
}

function take(message: PageMessage): void {
  redraw(...state.apply(message));
}

/** Why the program does not tell this page the news; nothing where it would. */
async function whyRefused(): Promise<string | undefined> {
  try {
    const response = await fetch("events");
    if (!response.ok) return (await response.text()).trim();
    await response.body?.cancel();
  } catch {
    // The program is not there.
  }
}

/** Takes in the news, again and again where the program is gone or refuses this page. */
function connect(): void {
  const news = new EventSource("events");
  news.addEventListener("message", ({ data }) => take(JSON.parse(data)));
  news.addEventListener("open", () => {
    state.isConnected = true;
    state.refusal = undefined;
    redraw("runs");
  });
  news.addEventListener("error", async () => {
    state.isConnected = false;
    redraw("runs");
    // The browser tries again by itself where it was not refused, and is then told everything once more.
    if (news.readyState !== EventSource.CLOSED) return;
    setTimeout(connect, CONNECT_EVERY_MS);
    state.refusal = await whyRefused();
    redraw("runs");
  });
}

redraw(...EVERYTHING);
const report = document.getElementById("report");
if (report !== null) {
  for (const message of JSON.parse(report.textContent!) as PageMessage[]) take(message);
} else {
  connect();
  setInterval(() => redraw("runs"), 5_000); // a run that falls silent sends no news of it
}
