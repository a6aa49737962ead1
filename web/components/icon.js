// @ts-check
/** Icons: drawn as lines in the colour of the text; they say nothing that words do not say. */

import { html } from "../core/html.js";

/** @type {Record<string, string[]>} */
const PATHS = {
  home: ["M3 10.5 12 3l9 7.5V20a1 1 0 0 1-1 1h-5v-6H9v6H4a1 1 0 0 1-1-1z"],
  phone: ["M5 3h4l2 5-2.5 1.5a11 11 0 0 0 6 6L16 13l5 2v4a2 2 0 0 1-2 2A16 16 0 0 1 3 5a2 2 0 0 1 2-2z"],
  mega: ["M3 11v3a1 1 0 0 0 1 1h3l5 4V6L7 10H4a1 1 0 0 0-1 1z", "M16 9a5 5 0 0 1 0 7", "M19 6a9 9 0 0 1 0 13"],
  list: ["M4 6h16M4 12h16M4 18h10"],
  card: ["M5 5h14a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2z", "M3 10h18M7 15h4"],
  chart: ["M4 20V10M10 20V4M16 20v-7M21 20H3"],
  users: ["M9 4.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7z", "M2.5 20a6.5 6.5 0 0 1 13 0M16 5a3.5 3.5 0 0 1 0 6.5M18 14a6.5 6.5 0 0 1 3.5 6"],
  scale: ["M12 4v16M7 20h10M5 7h14M5 7l-3 7h6zM19 7l-3 7h6z"],
  tag: ["M3 12V4h8l10 10-8 8z", "M7.5 7.3a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4z"],
  bell: ["M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4"],
  plus: ["M12 5v14M5 12h14"],
  down: ["M12 4v11M7 11l5 5 5-5M5 20h14"],
  pause: ["M8 5v14M16 5v14"],
  play: ["M7 4v16l13-8z"],
  stop: ["M6 6h12v12H6z"],
  warn: ["M12 3 2 20h20z", "M12 10v4M12 17.5v.1"],
  search: ["M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14z", "M16 16l5 5"],
  block: ["M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18z", "M6 6l12 12"],
  key: ["M8 10a5 5 0 1 1 0 4 5 5 0 0 1 0-4z", "M12.5 12H22M18 12v4M21 12v3"],
  check: ["M4 12l5 5L20 6"],
  close: ["M6 6l12 12M18 6 6 18"],
  more: ["M5 12h.01M12 12h.01M19 12h.01"],
  user: ["M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "M4 21a8 8 0 0 1 16 0"],
  refresh: ["M20 12a8 8 0 1 1-2.5-5.8M20 3v4h-4"],
};

/** @param {{name: string}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    ${(PATHS[name] ?? []).map((d) => html`<path key=${d} d=${d} />`)}
  </svg>`;
}

/** The mark of the product. */
export function Logo() {
  return html`<svg viewBox="0 0 24 24" aria-hidden="true"><rect class="logo-body" x="1" y="4" width="22" height="16" rx="4" /><path class="logo-line" d="M15 12h8" stroke-width="2" /><circle class="logo-dot" cx="16.5" cy="12" r="1.8" /></svg>`;
}
