// @ts-check
/** `{{name}}` in a message: which there are, which columns they mean, and what one contact hears. */

const VARIABLE = /\{\{([^{}|]*)(?:\|([^{}]*))?\}\}/g;

/** A name without case, spaces and punctuation, as the service compares names. */
export const plain = (/** @type {string} */ name) =>
  name.normalize("NFKC").toLowerCase().normalize("NFC").replace(/[^\p{L}\p{M}\p{N}\p{So}]/gu, "");

/** @returns {{name: string, fallback: string | null}[]} */
export const variablesOf = (/** @type {string} */ message) =>
  [...message.matchAll(VARIABLE)].map((found) => ({ name: (found[1] ?? "").trim(), fallback: found[2] === undefined ? null : found[2].trim() }));

/** Variables that no column is named by and for which nothing else is said. */
export const withoutColumn = (/** @type {string} */ message, /** @type {string[]} */ columns) => {
  const known = new Set(columns.map(plain));
  return [...new Set(variablesOf(message).filter((one) => one.fallback === null && !known.has(plain(one.name))).map((one) => one.name))];
};

function valueOf(/** @type {string} */ name, /** @type {string[]} */ columns, /** @type {string[]} */ cells) {
  const wanted = plain(name);
  for (const [i, column] of columns.entries()) {
    const said = (cells[i] ?? "").trim();
    if (said && plain(column) === wanted) return said;
  }
  return null;
}

/**
 * A message in pieces: text, and what stands for a variable (null: nothing does, the contact is skipped).
 *
 * @param {string} message
 * @param {string[]} columns
 * @param {string[]} cells of one contact
 * @returns {{text: string | null, name?: string}[]}
 */
export function rendered(message, columns, cells) {
  const found = [];
  let at = 0;
  for (const match of message.matchAll(VARIABLE)) {
    if (match.index > at) found.push({ text: message.slice(at, match.index) });
    const name = (match[1] ?? "").trim();
    found.push({ name, text: valueOf(name, columns, cells) ?? (match[2] === undefined ? null : match[2].trim()) });
    at = match.index + match[0].length;
  }
  if (at < message.length) found.push({ text: message.slice(at) });
  return found;
}

/** Of these rows those whose contact would be skipped, by variable. */
export function blanksIn(/** @type {string} */ message, /** @type {string[]} */ columns, /** @type {string[][]} */ rows) {
  return variablesOf(message)
    .filter((one, i, all) => one.fallback === null && all.findIndex((other) => plain(other.name) === plain(one.name)) === i)
    .map((one) => ({ name: one.name, count: rows.filter((cells) => valueOf(one.name, columns, cells) === null).length }))
    .filter((one) => one.count > 0);
}
