/**
 * What actors and runs tell: one vocabulary of typed events, from the actor that notices something to the program that
 * iterates over a run.
 */
import type { ViewSample } from "./messages.ts";
import type { ActorSystem, Message, TraceSpan } from "./runtime/mod.ts";

/** Something a person should know; nothing is wrong. */
export interface NoteEvent {
  /** Tells events apart. */
  type: "note";
  /** A sentence. */
  text: string;
}

/** Something is not as expected, and the run goes on. */
export interface WarningEvent {
  /** Tells events apart. */
  type: "warning";
  /** A sentence or more. */
  text: string;
}

/** A checkpoint is written; a run that resumes from it goes on where this one was. */
export interface CheckpointEvent {
  /** Tells events apart. */
  type: "checkpoint";
  /** Its file. */
  path: string;
}

/** What a run does besides its steps, as far as it is. */
export interface ProgressEvent {
  /** Tells events apart. */
  type: "progress";
  /** Data is looked through, images are embedded once for all epochs, or an encoder is evaluated. */
  phase: "reading" | "features" | "evaluation";
  /** Of an evaluation in a distillation: whose. */
  of?: "teacher" | "student";
  /** Bytes of a file that is read, or images. */
  done: number;
  /** What `done` becomes. */
  total: number;
}

/** What every run may tell. */
export type NoticeEvent = NoteEvent | WarningEvent;

/** The actors are spawned; they are the run's own, and may be asked for their `stats()`. */
export interface ActorsEvent {
  /** Tells events apart. */
  type: "actors";
  /** By their names. */
  actors: ActorSystem["actors"];
}

/** What an actor did, some of it at a time; where this is asked for. */
export interface TraceEvents {
  /** Tells events apart. */
  type: "trace";
  /** Its name. */
  actor: string;
  /** In their order. */
  spans: readonly TraceSpan[];
}

/** Some views of the first batch. */
export interface ViewsEvent extends ViewSample {
  /** Tells events apart. */
  type: "views";
}

/** A row, from 0, could not be used, and was skipped or replaced; `text` names it too, and says why. */
export interface BrokenRowEvent {
  /** Tells events apart. */
  type: "broken-row";
  /** File or folder of the data. */
  file: string;
  /** Number of the row, from 0. */
  row: number;
  /** File, row and reason, for people. */
  text: string;
}

/** What readers tell the run. */
export type ReaderEvent = WarningEvent | BrokenRowEvent;

/** Takes events. */
export type Emit<Event> = (event: Event) => void;

/** Who is told of events by actors: the run, on the main thread. */
export type Monitor<Event = ReaderEvent> = {
  event: Message<Event>;
};
