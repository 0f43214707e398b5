/// <reference lib="dom" />
/** The actors: how busy each is, what waits where, and who holds the others up. */
import { formatNumber } from "page/charts.ts";
import { find, make } from "page/elements.ts";
import type { ActorRecord, ActorsRecord, RankActorsRecord } from "../records.ts";
import type { Run, State } from "page/state.ts";

/** Roles of actors that do the same side by side. */
type Stage = readonly string[];

/** The ways of a batch in trainings and linear evaluations, stage by stage. */
const TRAINING: readonly Stage[] = [
  ["tsv_reader", "train_reader"],
  ["augmenter", "train_augmenter"],
  ["teacher_encoder"],
  ["queue_keeper"],
  ["student_trainer", "moco_trainer"],
  ["feature_encoder"],
  ["linear_trainer"],
  ["finetune_trainer"],
];
const EVALUATION: readonly Stage[] = [
  ["bank_reader", "query_reader", "probe_reader", "test_reader"],
  ["evaluation_augmenter", "test_augmenter"],
  ["evaluator"],
];

/** Who waits for other processes. */
const EXCHANGE = "gradient_exchange";

function roleOf(name: string): string {
  return name.replace(/ \d+$/, "");
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

/** Words that a line is not broken between. */
function together(text: string): string {
  return text.replaceAll(" ", "\u00a0");
}

/** A name that a line may be broken in. */
function breakable(name: string): HTMLElement {
  const parts = name.split(/(?<=_)/);
  return make("strong", {}, ...parts.flatMap((part, i) => i === 0 ? [part] : [make("wbr"), part]));
}

/** Whether shares are of the last seconds, or of the whole run. */
function sharesOf(actor: ActorRecord, isRunning: boolean): { busy: number; waiting: number } {
  return isRunning
    ? { busy: actor.busy, waiting: actor.waiting }
    : { busy: actor.busyOverall, waiting: actor.waitingOverall };
}

function card(actor: ActorRecord, isRunning: boolean, isBottleneck: boolean): HTMLElement {
  const { busy, waiting } = sharesOf(actor, isRunning);
  const bar = make("div", { className: "bar" });
  bar.setAttribute("aria-hidden", "true");
  for (const [className, share] of [["busy", busy], ["waiting", waiting]] as const) {
    const part = make("span", { className });
    part.style.width = `${100 * share}%`;
    bar.append(part);
  }
  // Buffers that go back to readers are no part of a batch's way.
  const links = actor.links.filter(({ to }) => !to.includes("reader")).map(({ to, credits, queued }) =>
    `to ${to}: ${together(`${credits} credit${credits === 1 ? "" : "s"}`)}${
      queued > 0 ? `, ${together(`${queued} queued`)}` : ""
    }`
  );
  const lines = [
    `${together(`busy ${percent(busy)}`)}, ${together(`waiting ${percent(waiting)}`)}`,
    `${together(`mailbox ${actor.mailbox}`)}, ${together(`handled ${actor.handled}`)}`,
    ...links,
  ];
  return make(
    "div",
    { className: isBottleneck ? "actor bottleneck" : "actor" },
    breakable(actor.name),
    bar,
    ...lines.map((textContent) => make("small", { textContent })),
  );
}

/** Actors by the stages that they work in; stages without one are left out. */
function staged(actors: readonly ActorRecord[], stages: readonly Stage[]): ActorRecord[][] {
  return stages.map((roles) => actors.filter(({ name }) => roles.includes(roleOf(name))))
    .filter((stage) => stage.length > 0);
}

/** Seconds and messages of each actor in the ring from which on the busiest one is named. */
const ENOUGH = { seconds: 5, messages: 10 };

/** Who holds the others up, and from how much that is known. */
function describeBottleneck(ring: readonly ActorRecord[], busiest: ActorRecord, isRunning: boolean): string {
  const seconds = Math.min(...ring.map((actor) => actor.seconds ?? 0));
  const messages = Math.min(...ring.map((actor) => actor.handled));
  const from = `${together(`${Math.round(seconds)} s`)} and ${together(`${messages} messages`)} per actor`;
  if (seconds < ENOUGH.seconds || messages < ENOUGH.messages) {
    return `Bottleneck not known yet: measured over ${from}, at least ${ENOUGH.seconds} s and ${ENOUGH.messages} messages are needed.`;
  }
  const share = percent(sharesOf(busiest, isRunning).busy);
  return `Bottleneck: ${busiest.name}, busy ${share} of the ${
    isRunning ? "last seconds" : "run"
  } (measured over ${from}).`;
}

/** Share of its time that a rank waits for the others to come to an exchange; nothing where it is not known. */
function waitOf({ actors }: ActorsRecord, isRunning: boolean): number | undefined {
  const exchange = actors.find(({ name }) => name === EXCHANGE);
  return exchange && sharesOf(exchange, isRunning).waiting;
}

/** Which rank the others wait for. */
function describeWaits(ranks: readonly RankActorsRecord[], isRunning: boolean): string {
  const waits = ranks.flatMap((record) => {
    const wait = waitOf(record, isRunning);
    return wait === undefined ? [] : [{ rank: record.rank.rank, wait }];
  }).toSorted((a, b) => a.wait - b.wait);
  if (waits.length < 2) return "";
  const [least, most] = [waits[0], waits.at(-1)!];
  return `Rank ${least.rank} waits least for the others, ${
    together(percent(least.wait))
  } of its time; rank ${most.rank} waits most, ${together(percent(most.wait))}.`;
}

/** Busy share of the actors of a role, the mean of several. */
function busyOf(actors: readonly ActorRecord[], role: string, isRunning: boolean): string {
  const own = actors.filter(({ name }) => roleOf(name) === role);
  const sum = own.reduce((total, actor) => total + sharesOf(actor, isRunning).busy, 0);
  return own.length === 0 ? "" : percent(sum / own.length);
}

/** The section. */
export class Actors {
  readonly #rank = find<HTMLSelectElement>("rank");

  /** @param onChoice is told that another rank is to be shown */
  constructor(onChoice: () => void) {
    this.#rank.addEventListener("change", onChoice);
  }

  /** Shows them. */
  draw({ run }: State): void {
    const isRunning = run?.record?.status === "running";
    const ranks = ranksOf(run);
    this.#drawRanks(ranks, isRunning);
    const chosen = ranks.find(({ rank }) => String(rank.rank) === this.#rank.value) ?? run?.actors;
    drawPipeline(chosen?.actors ?? [], isRunning, run?.record !== undefined);
  }

  /** Shows all ranks side by side. */
  #drawRanks(ranks: readonly RankActorsRecord[], isRunning: boolean): void {
    find("ranks").hidden = ranks.length === 0;
    const [first] = ranks;
    if (first === undefined) return this.#rank.replaceChildren();
    const { size } = first.rank;
    const numbers = ranks.map(({ rank }) => String(rank.rank));
    // Drawn anew, it would lose its focus.
    if (numbers.join() !== Array.from(this.#rank.options, ({ value }) => value).join()) {
      const before = this.#rank.value;
      this.#rank.replaceChildren(...numbers.map((textContent) => make("option", { textContent })));
      this.#rank.value = numbers.includes(before) ? before : numbers[0];
    }
    const missing = size - ranks.length;
    find("ranks-said").textContent = [
      describeWaits(ranks, isRunning),
      missing > 0 ? `Of ${missing} of ${size} ranks there are no records.` : "",
    ].filter((text) => text !== "").join(" ");
    const all = ranks.flatMap(({ actors }) => actors.map(({ name }) => roleOf(name)));
    const roles = [...TRAINING.flat(), EXCHANGE].filter((role) => all.includes(role));
    const headings = ["rank", "host", "device", "images per second", "waiting for other ranks"].concat(
      roles.map((role) => `${role} busy`),
    );
    const rows = ranks.map((record) => {
      const { rank: { rank, host, adapter, images_per_second: rate }, actors } = record;
      const wait = waitOf(record, isRunning);
      const cells = [
        host,
        adapter,
        rate === null ? "" : formatNumber(rate, 3),
        wait === undefined ? "" : percent(wait),
        ...roles.map((role) => busyOf(actors, role, isRunning)),
      ];
      const head = make("th", { textContent: String(rank) });
      head.scope = "row";
      return make("tr", {}, head, ...cells.map((textContent) => make("td", { textContent })));
    });
    const heads = headings.map((name) => {
      const head = make("th", {}, breakable(name));
      head.scope = "col";
      return head;
    });
    find("ranks-list").replaceChildren(
      make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...rows),
    );
  }
}

/** The ranks that there are records of, by their numbers; none where the run is one process. Of an earlier start may be more. */
function ranksOf(run: Run | undefined): RankActorsRecord[] {
  const { rank, ...record } = run?.actors ?? {};
  if (run === undefined || rank === undefined) return [];
  const others = run.ranks.values().filter((other) => other.rank.rank < rank.size);
  return [{ ...record as ActorsRecord, rank }, ...others].toSorted((a, b) => a.rank.rank - b.rank.rank);
}

/** Shows the actors of one process. */
function drawPipeline(all: readonly ActorRecord[], isRunning: boolean, hasRecord: boolean): void {
  const training = staged(all, TRAINING);
  const evaluation = staged(all, EVALUATION);
  const known = new Set([...training, ...evaluation].flat());
  const others = all.filter((actor) => !known.has(actor)).map((actor) => [actor]);
  const busyShare = (actor: ActorRecord) => sharesOf(actor, isRunning).busy;
  const busiest = training.flat().toSorted((a, b) => busyShare(b) - busyShare(a))[0];
  find("bottleneck").textContent = busiest !== undefined
    ? `${
      describeBottleneck(training.flat(), busiest, isRunning)
    } Green: busy. Yellow stripes: waiting for another actor. Batches follow the arrows; their buffers return to the readers.`
    : isRunning || !hasRecord
    ? "No data from the actors yet."
    : "The run recorded no data about its actors.";
  const draw = (id: string, stages: readonly ActorRecord[][]) => {
    find(id).replaceChildren(
      ...stages.map((stage) =>
        make("li", {}, ...stage.map((actor) => card(actor, isRunning, actor === busiest)))
      ),
    );
    const title = document.getElementById(`${id}-title`);
    if (title !== null) title.hidden = stages.length === 0;
  };
  draw("ring", training);
  draw("evaluation", evaluation);
  draw("aside", others);
}
