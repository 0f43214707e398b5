/// <reference lib="dom" />
/** The actors: how busy each is, what waits where, and who holds the others up. */
import { find, make } from "page/elements.ts";
import type { ActorRecord } from "../records.ts";
import type { State } from "page/state.ts";

/** Roles of actors that do the same side by side. */
type Stage = readonly string[];

/** The ways of a batch in a distillation, a linear evaluation and a fine-tuning, stage by stage. */
const TRAINING: readonly Stage[] = [
  ["tsv_reader", "train_reader"],
  ["augmenter", "train_augmenter"],
  ["teacher_encoder"],
  ["queue_keeper"],
  ["student_trainer"],
  ["feature_encoder"],
  ["linear_trainer"],
  ["finetune_trainer"],
];
const EVALUATION: readonly Stage[] = [
  ["bank_reader", "query_reader", "probe_reader", "test_reader"],
  ["evaluation_augmenter", "test_augmenter"],
  ["evaluator"],
];

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

/** Shows them. */
export function drawActors({ run }: State): void {
  const all = run?.actors?.actors ?? [];
  const isRunning = run?.record?.status === "running";
  const training = staged(all, TRAINING);
  const evaluation = staged(all, EVALUATION);
  const known = new Set([...training, ...evaluation].flat());
  const others = all.filter((actor) => !known.has(actor)).map((actor) => [actor]);
  const busyOf = (actor: ActorRecord) => sharesOf(actor, isRunning).busy;
  const busiest = training.flat().toSorted((a, b) => busyOf(b) - busyOf(a))[0];
  find("bottleneck").textContent = busiest !== undefined
    ? `${
      describeBottleneck(training.flat(), busiest, isRunning)
    } Green: busy. Yellow stripes: waiting for another actor. Batches follow the arrows; their buffers return to the readers.`
    : isRunning || run?.record === undefined
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
