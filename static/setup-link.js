// A setup as a link: model and parameters in the query, which the server reads, and
// what was typed in the fragment, which no server sees. Opening one never runs it.

import { readParameters } from "./parameters.js";

const TEXTS = ["prompt", "system"];
const form = document.getElementById("composer");
const field = (name) => document.getElementById(name);

/** The address that opens the composer as it is now. */
export function setupLink() {
  const query = new URLSearchParams({ model: field("model").value });
  const texts = new URLSearchParams();
  for (const [name, value] of Object.entries(readParameters())) {
    if (name !== "system" && value && value !== field(name).dataset.default) query.set(name, value);
  }
  for (const name of TEXTS) if (field(name).value) texts.set(name, field(name).value);
  const fragment = texts.size ? `#${texts}` : "";
  return new URL(`/?${query}${fragment}`, location.href).href;
}

/** Fills in what the address says, if anything: whether it did. A reload goes on with what was made of it. */
export function openSetup() {
  if (fillIn()) form.dataset.prefilled = "";
  const isPrefilled = "prefilled" in form.dataset;
  if (isPrefilled) tidyAddress();
  // A link that is opened where the page is open already.
  addEventListener("hashchange", () => {
    if (!fillIn()) return;
    tidyAddress();
    field("prompt").dispatchEvent(new Event("input", { bubbles: true }));
  });
  return isPrefilled;
}

function tidyAddress() {
  const language = new URLSearchParams(location.search).get("lang");
  history.replaceState(history.state, "", language ? `/?${new URLSearchParams({ lang: language })}` : "/");
  // The switch of the language comes back to this address, and so to the conversation.
  document.querySelector(".languages [name=back]").value = "/";
}

function fillIn() {
  const texts = new URLSearchParams(location.hash.slice(1));
  const given = TEXTS.filter((name) => texts.has(name));
  for (const name of given) field(name).value = texts.get(name);
  return given.length > 0;
}
