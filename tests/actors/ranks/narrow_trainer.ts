/** A student_trainer whose adapter binds no more than 8 KiB at once, so that its weights lie in more pieces than elsewhere. */
Object.defineProperty(GPUSupportedLimits.prototype, "maxStorageBufferBindingSize", { get: () => 8192 });

export { default } from "../../../methods/seed/student_trainer.ts";
