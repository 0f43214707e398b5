/** The teacher of a distillation that a recipe is used for. */
import { UserError } from "../../errors.ts";
import { recipeFor, RECIPES } from "../../methods/seed/recipes.ts";
import { findEncoder } from "../../models/registry.ts";
import { resolveTeacher, type Teacher, type TeacherRequest } from "../../models/teacher.ts";

/**
 * Finds out which encoder the teacher's checkpoint holds. Where a recipe says which it should be, another one of the same
 * method whose embedding is its feature is taken with a warning, since all of these have the same settings.
 *
 * @param recipe its name, where one is used
 * @param asked the recipe's teacher, but for what flags say of it
 * @throws {UserError} for a teacher that the recipe is not for, and as `resolveTeacher` does
 */
export async function resolveTeacherOf(
  recipe: string | undefined,
  path: string,
  asked: TeacherRequest,
  warn: (text: string) => void,
): Promise<Teacher> {
  const expected = recipe === undefined ? undefined : RECIPES[recipe];
  if (expected === undefined || expected.teacherSsl !== asked.ssl) return await resolveTeacher(path, asked);
  const { teacherArch, teacherSsl } = expected;
  try {
    return await resolveTeacher(path, asked);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const isExpected = teacherArch === asked.arch;
    const open = { ...asked, ...isExpected && { arch: null }, ssl: null };
    const found = await resolveTeacher(path, open).catch((other) => {
      throw isExpected ? error : other; // the file is wrong, or the encoder that a flag names
    });
    const mismatch = `--recipe ${recipe} is for ${teacherArch}, but ${path} holds a ${found.arch}`;
    const own = recipeFor(found.arch);
    if (found.ssl !== teacherSsl || findEncoder(teacherArch).head !== "none") {
      throw new UserError(
        `${mismatch}; ${own === undefined ? "leave --recipe out" : `use --recipe ${own}, or leave it out`}`,
        { cause: error },
      );
    }
    warn(`${mismatch}; its settings are used all the same`);
    return found;
  }
}
