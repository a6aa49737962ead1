// @ts-check
/** QR codes (ISO/IEC 18004) for short texts: bytes, error correction L, versions 1 to 9, drawn as SVG. */

import { html, useMemo } from "../core/html.js";

/** Of each version: codewords of data and of error correction in a block, and the blocks. @type {[number, number, number][]} */
const VERSIONS = [[19, 7, 1], [34, 10, 1], [55, 15, 1], [80, 20, 1], [108, 26, 1], [68, 18, 2], [78, 20, 2], [97, 24, 2], [116, 30, 2]];
const ALIGNMENTS = [[], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46]];
const FORMAT_L_MASK_0 = 0b111011111000100;
const QUIET = 4;

// The field GF(256) with the polynomial 0x11d.
const EXPONENTS = new Uint8Array(512);
const LOGARITHMS = new Uint8Array(256);
for (let i = 0, value = 1; i < 255; i += 1) {
  EXPONENTS[i] = EXPONENTS[i + 255] = value;
  LOGARITHMS[value] = i;
  value = value & 128 ? (value << 1) ^ 0x11d : value << 1;
}
const times = (/** @type {number} */ a, /** @type {number} */ b) => (a && b ? (EXPONENTS[(LOGARITHMS[a] ?? 0) + (LOGARITHMS[b] ?? 0)] ?? 0) : 0);

/** The codewords that correct errors in a block: the remainder of its division by the generator. */
function correction(/** @type {number[]} */ data, /** @type {number} */ length) {
  let generator = [1];
  for (let i = 0; i < length; i += 1) {
    const next = [...generator, 0];
    generator.forEach((factor, at) => { next[at + 1] = (next[at + 1] ?? 0) ^ times(factor, EXPONENTS[i] ?? 0); });
    generator = next;
  }
  const rest = [...data, ...Array(length).fill(0)];
  for (let i = 0; i < data.length; i += 1) {
    const lead = rest[i];
    generator.forEach((factor, at) => { rest[i + at] ^= times(factor, lead); });
  }
  return rest.slice(data.length);
}

/** All codewords of a text in a version: data and correction, of all blocks in turn. */
function codewords(/** @type {Uint8Array} */ bytes, /** @type {[number, number, number]} */ [perBlock, corrections, blocks]) {
  const bits = [0, 1, 0, 0];
  const put = (/** @type {number} */ value, /** @type {number} */ length) => {
    for (let i = length - 1; i >= 0; i -= 1) bits.push((value >> i) & 1);
  };
  put(bytes.length, 8);
  for (const byte of bytes) put(byte, 8);
  const room = perBlock * blocks * 8;
  put(0, Math.min(4, room - bits.length));
  while (bits.length % 8) bits.push(0);
  /** @type {number[]} */
  const data = [];
  for (let i = 0; i < bits.length; i += 8) data.push(parseInt(bits.slice(i, i + 8).join(""), 2));
  for (let pad = 0; data.length < perBlock * blocks; pad += 1) data.push(pad % 2 ? 0x11 : 0xec);
  const parts = Array.from({ length: blocks }, (_, i) => data.slice(i * perBlock, (i + 1) * perBlock));
  const checks = parts.map((part) => correction(part, corrections));
  const woven = [];
  for (let i = 0; i < perBlock; i += 1) for (const part of parts) woven.push(part[i] ?? 0);
  for (let i = 0; i < corrections; i += 1) for (const check of checks) woven.push(check[i] ?? 0);
  return woven;
}

/** What every code of a version has: finders, timing, alignment, format and version; null where data goes. */
function frame(/** @type {number} */ version) {
  const size = version * 4 + 17;
  /** @type {(number | null)[][]} */
  const grid = Array.from({ length: size }, () => Array(size).fill(null));
  const set = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ dark) => {
    const row = grid[y];
    if (row && x >= 0 && x < size) row[x] = dark ? 1 : 0;
  };
  const square = (/** @type {number} */ cx, /** @type {number} */ cy, /** @type {number} */ reach, /** @type {number} */ light) => {
    for (let dy = -reach; dy <= reach; dy += 1) {
      for (let dx = -reach; dx <= reach; dx += 1) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, ring !== light && ring !== 4);
      }
    }
  };
  for (let i = 0; i < size; i += 1) { set(6, i, i % 2 === 0); set(i, 6, i % 2 === 0); }
  const centres = ALIGNMENTS[version - 1] ?? [];
  const last = centres.length - 1;
  centres.forEach((x, i) => centres.forEach((y, j) => {
    if (!((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0))) square(x, y, 2, 1);
  }));
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(/** @type {number} */ (x), /** @type {number} */ (y), 4, 2);
  for (let i = 0; i < 15; i += 1) {
    const dark = Boolean((FORMAT_L_MASK_0 >> i) & 1);
    if (i < 6) set(8, i, dark); else if (i < 8) set(8, i + 1, dark); else set(8, size - 15 + i, dark);
    if (i < 8) set(size - 1 - i, 8, dark); else if (i === 8) set(7, 8, dark); else set(14 - i, 8, dark);
  }
  set(8, size - 8, true);
  if (version >= 7) {
    let rest = version;
    for (let i = 0; i < 12; i += 1) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
    const bits = (version << 12) | rest;
    for (let i = 0; i < 18; i += 1) {
      const dark = Boolean((bits >> i) & 1);
      set(size - 11 + (i % 3), Math.floor(i / 3), dark);
      set(Math.floor(i / 3), size - 11 + (i % 3), dark);
    }
  }
  return grid;
}

/** The squares of a text, row by row; null when it is too long. */
export function squares(/** @type {string} */ text) {
  const bytes = new TextEncoder().encode(text);
  const at = VERSIONS.findIndex(([perBlock, , blocks]) => perBlock * blocks >= bytes.length + 2);
  const kind = VERSIONS[at];
  if (!kind) return null;
  const version = at + 1;
  const words = codewords(bytes, kind);
  const grid = frame(version);
  const size = grid.length;
  let bit = 0;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    const isUp = ((right + 1) & 2) === 0;
    for (let step = 0; step < size; step += 1) {
      const y = isUp ? size - 1 - step : step;
      const row = grid[y] ?? [];
      for (const x of [right, right - 1]) {
        if (row[x] !== null) continue;
        const dark = ((words[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
        row[x] = dark ^ ((x + y) % 2 === 0 ? 1 : 0);
        bit += 1;
      }
    }
  }
  return grid;
}

/** @param {{text: string, label: string}} props nothing when the text is too long for one */
export function QrCode({ text, label }) {
  const grid = useMemo(() => squares(text), [text]);
  if (!grid) return null;
  const size = grid.length + 2 * QUIET;
  const path = grid.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ""))).join("");
  return html`<svg class="qr" viewBox=${`0 0 ${size} ${size}`} role="img" aria-label=${label} shape-rendering="crispEdges"><rect class="qr-paper" width=${size} height=${size} /><path class="qr-ink" d=${path} /></svg>`;
}
