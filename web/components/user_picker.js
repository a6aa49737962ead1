// @ts-check
/** Choosing a user, for those who see everybody's: by id, e-mail or name; who is chosen stands in the URL. */

import { get, Problem } from "../core/api.js";
import { useData } from "../core/data.js";
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Field } from "./field.js";
import { explain } from "./states.js";

/** Who is chosen, as their e-mail address. @param {{id: string}} props */
export function UserName({ id }) {
  const of = useData(`/api/admin/users/${encodeURIComponent(id)}`);
  return html`<bdi>${of.data?.email ?? id}</bdi>`;
}

/** @param {{onChoose: (user_id: string) => void}} props */
export function UserPicker({ onChoose }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState(/** @type {any[] | null} */ (null));
  const [wrong, setWrong] = useState("");
  const choose = (/** @type {string} */ id) => {
    setText("");
    setFound(null);
    onChoose(id);
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const sought = text.trim();
    setWrong("");
    if (!sought) return;
    if (/^usr_\w+$/.test(sought)) return choose(sought);
    try {
      const { users } = await get("/api/admin/users", { search: sought, limit: 8 });
      if (users.length === 1) choose(users[0].id);
      else setFound(users);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      setWrong(explain(problem));
    }
  };
  return html`<form class="user-picker" onSubmit=${send}>
    <${Field} label=${t("transactions.user")} value=${text} onInput=${(/** @type {string} */ value) => { setText(value); setFound(null); }} placeholder=${t("transactions.user_hint")} autocomplete="off" error=${wrong || (found?.length === 0 ? t("transactions.user_none") : null)} />
    ${found?.length ? html`<ul class="plain found" aria-label=${t("transactions.user_found")}>${found.map((user) => html`<li key=${user.id}><button class="btn quiet" type="button" onClick=${() => choose(user.id)}><bdi>${user.email}</bdi></button></li>`)}</ul>` : null}
  </form>`;
}
