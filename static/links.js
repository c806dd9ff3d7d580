// The page of one's own links: copies them, and says how long they last.

import { copyText } from "./clipboard.js";
import { language, say } from "./words.js";

const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const SAYS = {
  live: say("The link expires at another time now."),
  revoked: say("The link is revoked."),
};

function fromNow(date) {
  const seconds = (date - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
  return relative.format(Math.round(seconds / size), unit);
}

function sayRests(within) {
  for (const element of within.querySelectorAll("[data-until]")) {
    element.textContent = ` · ${fromNow(new Date(element.dataset.until))}`;
  }
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) copyText(button.dataset.copy, button);
});

let changing = null;
document.addEventListener("submit", ({ target }) => {
  changing = target.closest(".own-link")?.id ?? null;
});
document.addEventListener("htmx:after:swap", () => {
  const row = changing && document.getElementById(changing);
  changing = null;
  if (!row) return;
  sayRests(row);
  // What had the focus is no longer there.
  row.focus({ preventScroll: true });
  const sentence = SAYS[row.dataset.state];
  if (sentence) document.getElementById("announcer").textContent = sentence;
});

sayRests(document);
