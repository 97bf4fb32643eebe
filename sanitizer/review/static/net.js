// Talking to the server: one place that knows its address, its token, and what its refusals look like.

const root = document.documentElement;
const base = root.dataset.base ?? "";
const csrf = root.dataset.csrf ?? "";

/** Whether the page is on its way to the login: then nothing asks whether to stay. */
export let leaving = false;
export const leave = (on = true) => (leaving = on);

/** What the server refused, in its own words. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "internal";
  }
}

/** The server could not be reached, or could not do its work now: worth another try. */
export class Unreachable extends Error {}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(`${base}/api/${path}`, { credentials: "same-origin", redirect: "error", cache: "no-store", ...options });
  } catch (error) {
    throw new Unreachable("the server cannot be reached");
  }
  let body = null;
  try {
    body = await answer.json();
  } catch (error) {
    if (answer.ok) throw new Unreachable("the answer was cut off");
  }
  if (answer.status === 401 && !leaving) {
    leaving = true;
    const here = location.pathname.slice(base.length) + location.search;
    location.assign(`${base}/login?ended=1&next=${encodeURIComponent(here)}`);
  }
  if (answer.status >= 500) throw new Unreachable(body?.message ?? "the server is in trouble");
  if (!answer.ok) throw new Refusal(answer.status, body);
  return body;
}

export function get(path, query = {}) {
  const terms = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "" && value !== false) terms.set(key, value);
  const text = terms.toString();
  return ask(text ? `${path}?${text}` : path, {});
}

export function post(path, body, { keepalive = false } = {}) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body),
    keepalive,
  });
}

/** A token under which a request is carried out once, however often it is sent. */
export function token() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

export const address = (path) => `${base}${path}`;
