// The parameter fields: a slider beside each number, the dice for the seed, and
// limits that follow the chosen model.

const GREATEST_SEED = 9_999_999_999;

const fieldNames = ["temperature", "max_tokens", "top_p", "top_k", "repetition_penalty", "seed"];
const field = (name) => document.getElementById(name);
const slider = (name) => document.querySelector(`[data-for=${name}]`);

function moveSlider(name) {
  const range = slider(name);
  if (range) range.value = field(name).value || range.dataset.atRest;
}

/** The system prompt and the parameters, as texts. */
export const readParameters = () => Object.fromEntries(["system", ...fieldNames].map((name) => [name, field(name).value]));

/** Puts these texts into the fields they are named after. */
export function writeParameters(values) {
  for (const name of ["system", ...fieldNames]) {
    if (typeof values[name] !== "string") continue;
    field(name).value = values[name];
    field(name).dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** Holds the parameters to what the model of this card allows. */
export function limitTo(card) {
  const maxTokens = field("max_tokens");
  const limit = Number(card.dataset.sequenceLength);
  maxTokens.max = slider("max_tokens").max = limit;
  if (Number(maxTokens.value) > limit) maxTokens.value = limit;
  moveSlider("max_tokens");
}

export function watchParameters() {
  for (const name of fieldNames) {
    field(name).addEventListener("input", () => moveSlider(name));
    slider(name)?.addEventListener("input", (event) => {
      field(name).value = event.target.value;
      field(name).dispatchEvent(new Event("input", { bubbles: true }));
    });
    moveSlider(name);
  }
  document.getElementById("dice").addEventListener("click", () => {
    field("seed").value = 1 + Math.floor(Math.random() * GREATEST_SEED);
  });
  document.getElementById("reset-parameters").addEventListener("click", () => {
    const defaults = fieldNames.map((name) => [name, field(name).dataset.default]);
    writeParameters({ system: "", ...Object.fromEntries(defaults) });
  });
}
