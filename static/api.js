// The page /api: copies and colours its code, and opens the route an address names.

import { copyText } from "./clipboard.js";
import { colourCode } from "./code-figure.js";

for (const figure of document.querySelectorAll(".snippet figure")) {
  const button = figure.querySelector(".copy");
  button.addEventListener("click", () => copyText(figure.querySelector("code").textContent, button));
  colourCode(figure);
}

document.getElementById("snippet-model").addEventListener("change", (event) => event.target.form.requestSubmit());

function openNamedRoute() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) named.open = true;
}

addEventListener("hashchange", openNamedRoute);
openNamedRoute();
