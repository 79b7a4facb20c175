import { ZiparError } from "../errors.ts";

/** Up to so many classes are listed in a message. */
const LISTED_CLASSES = 40;

interface Classes {
  readonly classCount: number;
  readonly classNames: readonly string[] | null;
}

/**
 * The index of the class that a label means: a number, or a name. Names are compared as they are, then without regard to
 * case, to spaces around them and to how Unicode composes them; what is no name but a number is an index.
 * @throws ZiparError `invalid-options`
 */
export function resolveClass(label: number | string | undefined, model: string, classes: Classes): number {
  const { classCount, classNames } = classes;
  if (label === undefined)
    throw invalid(`${model} is class-conditional: give \`classLabel\`, ${expected(classes)}`);
  const indices = typeof label === "number" ? [label] : indicesOf(label, classNames ?? []);
  if (indices.length > 1) {
    const listed = indices.map((index) => `${index} ${classNames?.[index]}`).join(", ");
    throw invalid(
      `${model} has ${indices.length} classes called ${JSON.stringify(label)}: ${listed}; give the index of one`,
    );
  }
  const [index] = indices;
  if (index === undefined || index >= classCount) {
    throw invalid(`${model} has no class ${JSON.stringify(label)}; expected ${expected(classes)}`);
  }
  return index;
}

function indicesOf(label: string, names: readonly string[]): readonly number[] {
  const same = (key: (text: string) => string) =>
    names.flatMap((name, index) => (key(name) === key(label) ? [index] : []));
  const exact = same((text) => text);
  if (exact.length > 0) return exact;
  const alike = same(folded);
  if (alike.length > 0) return alike;
  return /^\d{1,9}$/.test(label.trim()) ? [Number(label)] : [];
}

/** Upper case first: some letters have a lower case of their own for that of several. */
function folded(text: string): string {
  return text.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC").replace(/\s+/gu, " ").trim();
}

function expected({ classCount, classNames }: Classes): string {
  if (classNames === null) {
    return `a class from 0 to ${classCount - 1} (the checkpoint has no names of classes; CLI \`--class 0\`)`;
  }
  const listed = classNames.slice(0, LISTED_CLASSES).map((name, index) => `${index} ${name}`);
  const more = classNames.length - listed.length;
  return `one of ${listed.join(", ")}${more > 0 ? ` and ${more} more, which \`zipar info\` lists` : ""}`;
}

function invalid(message: string): ZiparError {
  return new ZiparError({ code: "invalid-options", message });
}
