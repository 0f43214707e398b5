/**
 * Environment of a test process in which Mesa's software drivers compile kernels without optimizing them. Most of a first run is
 * compilation, and a test runs each kernel only a few times. Other drivers do not read the variable; what is set already stays.
 * `deno task test:long` goes without it, so kernels are also tested as users have them.
 */
export const UNOPTIMIZED_KERNELS: Record<string, string> = {
  GALLIVM_PERF: Deno.env.get("GALLIVM_PERF") ?? "nopt",
};
