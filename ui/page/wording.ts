/** What the encoders of a run are called, by its task. Knows no document, so that it can be tested without one. */

/** The words for a run. */
export interface Wording {
  /** The encoder that the run is about. */
  noun: "student" | "encoder";
  /** Whether there is a teacher, whose neighbours and maps are shown beside those of the encoder. */
  hasTeacher: boolean;
  /** The two whose similarities to the queue a snapshot shows: the one that makes the keys, and the one that is trained. */
  keys: string;
  trained: string;
  /** Heading of both. */
  both: string;
}

const DISTILLATION: Wording = {
  noun: "student",
  hasTeacher: true,
  keys: "teacher",
  trained: "student",
  both: "Teacher and student",
};

const PRETRAINING: Wording = {
  noun: "encoder",
  hasTeacher: false,
  keys: "key encoder",
  trained: "query encoder",
  both: "Key and query encoder",
};

/** Returns the words for the runs of a task: those of a distillation where it is not known. */
export function wordingOf(task: string | undefined): Wording {
  if (task === "pretrain") return PRETRAINING;
  return task === "lincls" ? { ...DISTILLATION, noun: "encoder" } : DISTILLATION;
}
