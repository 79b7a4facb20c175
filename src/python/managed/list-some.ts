/** `a, b, c and 5 more`. */
export function listSome(names: readonly string[], count = 3): string {
  const more = names.length - count;
  return more > 0 ? `${names.slice(0, count).join(", ")} and ${more} more` : names.join(", ");
}
