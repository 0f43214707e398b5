/// <reference lib="dom" />
/**
 * The page: takes news in and shows them. News come by server-sent events, or lie in the page itself, which is then a
 * report.
 */
import { drawAbout, prepareCopy } from "page/about.ts";
import { Actors } from "page/actors.ts";
import { Neighbours } from "page/neighbours.ts";
import { Curves } from "page/curves.ts";
import { find } from "page/elements.ts";
import { drawHeader } from "page/header.ts";
import { Runs } from "page/runs.ts";
import { Snapshot } from "page/snapshot.ts";
import { EVERYTHING, State, type Topic } from "page/state.ts";
import { followTheme } from "page/theme.ts";
import { prepareViewer } from "page/viewer.ts";
import type { PageMessage } from "../records.ts";

/** Between two drawings: more often is more than one can follow. */
const DRAW_EVERY_MS = 400;

/** Between two tries of a page that was refused. */
const CONNECT_EVERY_MS = 3_000;

/** For so long a hidden page goes on to take news: a browser has six connections to one address, for all its pages. */
const HIDDEN_MS = 10_000;

const state = new State();
const runs = new Runs(() => redrawNow("runs", "curves"), lookInto);
const curves = new Curves(() => redrawNow("curves"));
const actors = new Actors(() => redrawNow("actors"));
const snapshot = new Snapshot();
const neighbours = new Neighbours(() => redrawNow("neighbours"));
/** How each part of the page is drawn. */
const PARTS: readonly (readonly [topic: Topic, draw: () => void])[] = [
  ["runs", () => runs.draw(state)],
  ["runs", () => drawHeader(state)],
  ["curves", () => curves.draw(state)],
  ["actors", () => actors.draw(state)],
  ["snapshot", () => snapshot.draw(state)],
  ["neighbours", () => neighbours.draw(state)],
  ["about", () => drawAbout(state)],
];
const stale = new Set<Topic>();
let timer: ReturnType<typeof setTimeout> | undefined;
let frame: number | undefined;
/** Where the news come from; nowhere while the page is hidden. */
let news: EventSource | undefined;
let pause: ReturnType<typeof setTimeout> | undefined;

function draw(): void {
  timer = frame = undefined;
  const topics = [...stale];
  stale.clear();
  for (const [topic, drawPart] of PARTS) {
    if (!topics.includes(topic)) continue;
    try {
      drawPart();
    } catch (error) {
      reportError(error); // a bug: the browser's console has it, and the other parts are drawn
    }
  }
  // Only what is there can be gone to.
  for (const link of document.querySelectorAll<HTMLAnchorElement>("nav a")) {
    link.hidden = find(link.hash.slice(1)).hidden;
  }
}

function redraw(...topics: Topic[]): void {
  for (const topic of topics) stale.add(topic);
  if (timer !== undefined || frame !== undefined) return;
  timer = setTimeout(() => redrawNow(), document.hidden ? DRAW_EVERY_MS * 5 : DRAW_EVERY_MS);
}

/** Draws what somebody is waiting for, in the next frame. */
function redrawNow(...topics: Topic[]): void {
  for (const topic of topics) stale.add(topic);
  clearTimeout(timer);
  frame ??= requestAnimationFrame(draw);
}

/** Shows all of another run. */
function lookInto(index: number): void {
  state.focus = index;
  redrawNow(...EVERYTHING);
  if (!state.isLive) return;
  news?.close();
  connect();
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
  const asked = state.focus;
  const source = news = new EventSource(`events?run=${asked}`);
  source.addEventListener("message", ({ data }) => {
    take(JSON.parse(data));
    // The program was started again with other runs.
    if (source === news && state.focus !== asked) lookInto(state.focus);
  });
  source.addEventListener("open", () => {
    state.isConnected = true;
    state.refusal = undefined;
    redraw("runs");
  });
  source.addEventListener("error", async () => {
    if (source !== news) return;
    state.isConnected = false;
    redraw("runs");
    // The browser tries again by itself where it was not refused, and is then told everything once more.
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => source === news && connect(), CONNECT_EVERY_MS);
    state.refusal = await whyRefused();
    redraw("runs");
  });
}

/** Takes in the news while the page can be seen, and a little longer. */
function followVisibility(): void {
  clearTimeout(pause);
  if (!document.hidden) {
    if (news === undefined) connect();
    return;
  }
  pause = setTimeout(() => {
    news?.close();
    news = undefined;
    state.isPaused = true;
  }, HIDDEN_MS);
}

followTheme(() => redrawNow(...EVERYTHING));
prepareViewer();
prepareCopy();
const report = document.getElementById("report");
if (report !== null) {
  for (const message of JSON.parse(report.textContent!) as PageMessage[]) take(message);
} else {
  connect();
  followVisibility(); // it may be opened behind another one
  document.addEventListener("visibilitychange", followVisibility);
  setInterval(() => redraw("runs"), 5_000); // a run that falls silent sends no news of it
}
