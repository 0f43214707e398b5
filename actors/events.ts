/**
 * What actors and runs tell: one vocabulary of typed events, from the actor that notices something to the program that
 * iterates over a run.
 */
import type { ViewSample } from "./messages.ts";
import type { ActorSystem, Message, TraceSpan } from "./runtime/mod.ts";

/** Information for the user; nothing is wrong. */
export interface NoteEvent {
  /** Type of the event. */
  type: "note";
  /** The message. */
  text: string;
}

/** Something is not as expected, and the run continues. */
export interface WarningEvent {
  /** Type of the event. */
  type: "warning";
  /** The message. */
  text: string;
  /** Whether every rank of a run tells the same: what follows from results that all have. Default: false. */
  isCommon?: boolean;
}

/** A checkpoint has been written, from which a run can resume. */
export interface CheckpointEvent {
  /** Type of the event. */
  type: "checkpoint";
  /** Path of the checkpoint. */
  path: string;
}

/** Progress of what a run does besides its steps. */
export interface ProgressEvent {
  /** Type of the event. */
  type: "progress";
  /**
   * `reading`: scanning the data, or its labels; `features`: embedding the images once for all epochs; `evaluation`: evaluating an
   * encoder.
   */
  phase: "reading" | "features" | "evaluation";
  /** Name of the encoder that is evaluated, if there are several: `teacher` or `student`. */
  of?: string;
  /** Bytes of the file or images processed so far. */
  done: number;
  /** Final value of `done`. */
  total: number;
}

/** Events that every run may emit. */
export type NoticeEvent = NoteEvent | WarningEvent;

/** The run has spawned its actors, whose `stats()` may be called. */
export interface ActorsEvent {
  /** Type of the event. */
  type: "actors";
  /** Actors by name. */
  actors: ActorSystem["actors"];
}

/** Events of every run that trains. */
export type TrainingEvents = NoticeEvent | ActorsEvent | CheckpointEvent | ProgressEvent;

/** Part of an actor's trace, emitted if requested. */
export interface TraceEvents {
  /** Type of the event. */
  type: "trace";
  /** Name of the actor. */
  actor: string;
  /** Spans in order. */
  spans: readonly TraceSpan[];
}

/** Some views of the first batch. */
export interface ViewsEvent extends ViewSample {
  /** Type of the event. */
  type: "views";
}

/** A row could not be used, and was skipped or replaced. */
export interface BrokenRowEvent {
  /** Type of the event. */
  type: "broken-row";
  /** File or folder of the data. */
  file: string;
  /** Number of the row, from 0. */
  row: number;
  /** Message with file, row and reason. */
  text: string;
}

/** Events of readers. */
export type ReaderEvent = WarningEvent | BrokenRowEvent;

/** Receives events. Those that can wait for it await what it returns, if that is a promise, before they tell more. */
export type Emit<Event> = (event: Event) => unknown;

/** Receives events from actors: the run, on the main thread. */
export type Monitor<Event = ReaderEvent> = {
  event: Message<Event>;
};
