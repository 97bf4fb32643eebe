// Accounts for an admin; how reviewers do for approvers and auditors; one's own password for everybody who has one.

import { ask } from "./dialogs.js";
import { byId, el, fill, visible } from "./dom.js";
import { Refusal, address, get, post } from "./net.js";
import { pages, progress, toast } from "./top.js";
import { count, percent, some } from "./words.js";

const DOES = {
  viewer: "looks",
  reviewer: "looks and decides",
  approver: "decides, agrees with others, sees how they do",
  auditor: "looks, sees how reviewers do, exports; decides nothing",
  admin: "makes accounts; decides nothing",
};

async function load() {
  try {
    const found = await get("people");
    progress(found.progress);
    pages({ waiting: found.progress.waiting });
    fill(byId("main"), el("h1", {}, "People"), ...(found.accounts ? accounts(found) : []), ...(found.measures ? measures(found) : []), ...own(found.me));
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  byId("main").setAttribute("aria-busy", "false");
  document.documentElement.dataset.ready = "true";
}

async function does(path, body, words) {
  try {
    await post(path, body);
    toast(words, { tone: "good" });
    await load();
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    toast(error.message, { tone: "bad" });
    return false;
  }
}

const field = (label, name, given = {}) => el("label.field", {}, label, el("input", { name, autocomplete: "off", ...given }));
const roles = (names, chosen) => {
  const box = el("select", { name: "role" }, ...names.map((name) => el("option", { value: name }, `${name}: ${DOES[name]}`)));
  box.value = chosen;
  return el("label.field", {}, "role", box);
};
const listed = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

function accounts({ accounts: all, roles: known, me }) {
  const names = Object.keys(known);
  const form = el(
    "form.people.card",
    {
      on: {
        submit: async (event) => {
          event.preventDefault();
          const data = new FormData(form);
          await does("people", { name: data.get("name"), role: data.get("role"), password: data.get("password") || null, sources: listed(data.get("sources")) }, `made the account ${data.get("name")}`);
        },
      },
    },
    field("name", "name", { required: true, maxlength: 64, pattern: "[a-z0-9][a-z0-9._@\\-]*", title: "lower-case letters, digits, . _ @ -" }),
    roles(names, "reviewer"),
    field("first password", "password", { type: "password", minlength: 12, autocomplete: "new-password" }),
    field("sources this person is, or works for", "sources", { placeholder: "vendor-a, clinic-c" }),
    el("button.primary", { type: "submit" }, "Make the account"),
  );
  const row = (one) =>
    el("tr", {}, el("td", {}, el("b", {}, visible(one.name))), el("td", {}, one.role), el("td", {}, one.sources.length ? visible(one.sources.join(", ")) : el("span.soft", {}, "—")), el("td", {}, one.active ? (one.has_password ? "password" : el("span.soft", {}, "no password")) : el("span.pill", {}, "closed")), el("td", {}, el("button", { type: "button", "aria-label": `change ${one.name}`, on: { click: () => change(one, names, me) } }, "Change")));
  return [
    el("div.card.scroll", { tabindex: "0", role: "region", "aria-label": "accounts" }, el("table", {}, el("thead", {}, el("tr", {}, ...["name", "role", "sources", "signs in", ""].map((name) => (name ? el("th", { scope: "col" }, name) : el("td"))))), el("tbody", {}, all.map(row)))),
    el("h2", {}, "New account"),
    form,
  ];
}

function change(one, names, me) {
  return ask(`Change ${one.name}`, (done) => {
    const form = el(
      "form",
      {
        method: "dialog",
        on: {
          submit: async (event) => {
            event.preventDefault();
            const data = new FormData(form);
            const wanted = { sources: listed(data.get("sources")), active: data.get("active") === "on" };
            if (one.name !== me.name) wanted.role = data.get("role");
            if (data.get("password")) wanted.password = data.get("password");
            if (await does(`people/${encodeURIComponent(one.name)}`, wanted, `changed ${one.name}`)) done(true);
          },
        },
      },
      one.name === me.name ? el("p.soft", {}, "Nobody changes their own role: another admin can.") : roles(names, one.role),
      field("sources this person is, or works for", "sources", { value: one.sources.join(", ") }),
      field("new password", "password", { type: "password", minlength: 12, autocomplete: "new-password" }),
      el("label.check", {}, el("input", { type: "checkbox", name: "active", checked: one.active }), "may sign in"),
      el("p.small.soft", {}, "A new role or password ends every session of this account at once."),
      el("footer", {}, el("button.primary", { type: "submit" }, "Change"), el("button", { type: "button", on: { click: () => done(null) } }, "Cancel")),
    );
    return form;
  });
}

function measures({ measures: rows, agreement }) {
  const head = ["who", "decisions", "samples", "dropped", "released", "relabelled", "taken back", "others agreed", "agreed with others", "seconds each"];
  const table = rows.length
    ? el("div.card.scroll", { tabindex: "0", role: "region", "aria-label": "how reviewers do" }, el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name, i) => el("th", { scope: "col", class: i ? "n" : "" }, name)))), el("tbody", {}, rows.map((one) => el("tr", {}, el("td", {}, el("b", {}, visible(one.reviewer))), ...[one.events, one.samples, one.drop, one.release, one.relabel, one.taken_back, one.agreed, one.agreements].map((n) => el("td.n", {}, count(n))), el("td.n", {}, one.seconds === null ? "—" : one.seconds.toFixed(1)))))))
    : el("p.card.soft", {}, "Nobody decided anything yet.");
  const pairs = agreement.length
    ? el("div.card.scroll", { tabindex: "0", role: "region", "aria-label": "agreement" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "who"), ...["same samples", "said the same", "kappa"].map((name) => el("th.n", { scope: "col" }, name)))), el("tbody", {}, agreement.map((one) => el("tr", {}, el("td", {}, visible(one.reviewers.join(" and "))), el("td.n", {}, count(one.samples)), el("td.n", {}, percent(one.same / one.samples)), el("td.n", {}, one.kappa === null ? "—" : one.kappa.toFixed(2)))))))
    : el("p.card.soft", {}, "No two people judged the same sample yet: agreement beyond chance (Cohen's kappa) stands here once they did.");
  return [el("h2", {}, "How reviewers do"), table, el("h2", {}, "Agreement"), pairs];
}

function own(me) {
  const out = [el("h2", { id: "password" }, "You"), el("p.card", {}, el("b", {}, visible(me.name)), ` · ${me.role}: ${DOES[me.role]}`, me.sources.length ? el("span.soft", {}, ` · cannot decide on samples of ${me.sources.join(", ")}`) : null)];
  if (!me.has_password) return out;
  const form = el(
    "form.people.card",
    {
      on: {
        submit: async (event) => {
          event.preventDefault();
          const data = new FormData(form);
          try {
            await post("password", { old: data.get("old"), new: data.get("new") });
            location.assign(address("/login"));
          } catch (error) {
            toast(error.message, { tone: "bad" });
          }
        },
      },
    },
    el("input", { type: "text", name: "username", autocomplete: "username", value: me.name, hidden: true, readonly: true }),
    field("old password", "old", { type: "password", required: true, autocomplete: "current-password" }),
    field("new password, 12 characters or more", "new", { type: "password", required: true, minlength: 12, autocomplete: "new-password" }),
    el("button", { type: "submit" }, "Change the password"),
  );
  out.push(form, el("p.small.soft", {}, "Every session of yours ends; you sign in anew."));
  return out;
}

load();
