/** Whether what a module registers is an encoder: a plugin need not have been compiled with types. */
import { type Encoder, type EncoderRole, SSL_TITLES } from "./encoder.ts";
import { HEAD_KINDS } from "./heads.ts";

const ROLES: readonly EncoderRole[] = ["teacher", "student"];

/** A part of the names of files, such as checkpoints and exports. */
const NAME = /^[\w.+-]+$/;

/**
 * Checks the fields of an encoder that every use of it reads.
 *
 * @throws {Error} that names the field, what was expected, and what was found
 */
export function checkEncoder(encoder: Encoder): void {
  const { name, family, roles, ssl, head, features, headDropout = 0, trace } = encoder;
  const isText = (value: unknown): value is string => typeof value === "string";
  const listed = (values: readonly string[]) => values.map((value) => JSON.stringify(value)).join(", ");
  const require = (isRight: boolean, field: keyof Encoder, expected: string) => {
    if (isRight) return;
    const whose = isText(name) ? `the encoder ${JSON.stringify(name)}` : "an encoder";
    throw new Error(
      `expected \`${field}\` of ${whose} to be ${expected}, found ${
        Deno.inspect(encoder[field], { compact: true })
      }`,
    );
  };
  require(
    isText(name) && NAME.test(name),
    "name",
    "letters, digits and the signs . _ + -, since files are called by it",
  );
  require(isText(family) && family !== "", "family", "a text, by which tables group it");
  require(
    Array.isArray(roles) && roles.every((role) => ROLES.includes(role)),
    "roles",
    `an array of ${listed(ROLES)}`,
  );
  require(isText(ssl) && Object.hasOwn(SSL_TITLES, ssl), "ssl", `one of ${listed(Object.keys(SSL_TITLES))}`);
  require(HEAD_KINDS.includes(head), "head", `one of ${listed(HEAD_KINDS)}`);
  require(
    Number.isSafeInteger(features) && features > 0,
    "features",
    "the length of its feature, a whole number from 1 on",
  );
  require(
    typeof headDropout === "number" && headDropout >= 0 && headDropout < 1,
    "headDropout",
    "the share of values that are dropped, from 0 to below 1",
  );
  require(typeof trace === "function", "trace", "a function");
}
