/** Whether the tests that take long are to run, as in `deno task test:long`. */
export const IS_LONG: boolean = Deno.env.get("SEED_LONG") === "1";
