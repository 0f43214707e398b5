/**
 * What actors and runs tell: one vocabulary of typed events, from the actor that notices something to the program that
 * iterates over a run.
 */
import type { ViewSample } from "./messages.ts";
import type { ActorSystem, Message, TraceSpan } from "./runtime/mod.ts";

/** Something a person should know; nothing is wrong. */
export type NoteEvent = {
  type: "note";
  text: string;
};

/** Something is not as expected, and the run goes on. */
export type WarningEvent = {
  type: "warning";
  text: string;
};

/** What every run may tell. */
export type NoticeEvent = NoteEvent | WarningEvent;

/** The actors are spawned; they are the run's own, and may be asked for their `stats()`. */
export type ActorsEvent = {
  type: "actors";
  actors: ActorSystem["actors"];
};

/** What an actor did, some of it at a time; where this is asked for. */
export type TraceEvents = {
  type: "trace";
  actor: string;
  spans: readonly TraceSpan[];
};

/** Some views of the first batch. */
export type ViewsEvent = { type: "views" } & ViewSample;

/** A row, from 0, could not be used, and was skipped or replaced; `text` names it too, and says why. */
export type BrokenRowEvent = {
  type: "broken-row";
  file: string;
  row: number;
  text: string;
};

/** What readers tell the run. */
export type ReaderEvent = WarningEvent | BrokenRowEvent;

/** Takes events. */
export type Emit<Event> = (event: Event) => void;

/** Who is told of events by actors: the run, on the main thread. */
export type Monitor<Event = ReaderEvent> = {
  event: Message<Event>;
};
