// The model picker and the card of the chosen model. While a model loads, the
// server is asked again; an open picker is left alone.

const REFRESH_MILLISECONDS = 2500;

const picker = () => document.getElementById("model");
const cards = () => [...document.querySelectorAll("#model-cards .card")];

// Not every browser knows :open on a select; there a focused picker counts as open.
function isOpen() {
  try {
    return picker().matches(":open");
  } catch {
    return picker() === document.activeElement;
  }
}

/** The card of the chosen model, or undefined. */
export const chosenCard = () => cards().find((card) => card.dataset.model === picker().value);

/** Chooses a model, if it is here and can be chosen. */
export function chooseModel(name) {
  if (![...picker().options].some((option) => option.value === name && !option.disabled)) return;
  picker().value = name;
  picker().dispatchEvent(new Event("change", { bubbles: true }));
}

/** Shows the chosen model's card; `onChange` gets it, now and at every change. */
export function watchModels(onChange) {
  const show = () => {
    const chosen = chosenCard();
    for (const card of cards()) card.hidden = card !== chosen;
    if (chosen) onChange(chosen);
  };
  picker().addEventListener("change", show);
  picker().addEventListener("htmx:after:swap", show);
  picker().addEventListener("htmx:config:request", ({ detail }) => {
    const { body } = detail.ctx.request;
    body.delete("model");
    body.set("selected", picker().value);
  });
  // A picker that was opened meanwhile keeps its options until the next time, and
  // an error page is no list of models.
  picker().addEventListener("htmx:before:swap", (event) => {
    if (isOpen() || event.detail.ctx.response.status !== 200) event.preventDefault();
  });
  setInterval(() => {
    if (!document.hidden && !isOpen() && cards().some((card) => card.dataset.state === "loading")) refreshModels();
  }, REFRESH_MILLISECONDS);
  // A model may have been unloaded while nobody looked.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refreshModels();
  });
  show();
}

/** Asks the server for the models' present states. */
export function refreshModels() {
  picker().dispatchEvent(new CustomEvent("models:refresh"));
}
