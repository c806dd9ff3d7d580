// The code of a request in every language: copied by a button, and coloured when it is first seen.

import { copyText } from "./clipboard.js";
import { colourCode } from "./code-figure.js";

/** Makes the snippets within `root` work. */
export function watchSnippets(root) {
  for (const snippet of root.querySelectorAll(".snippet")) {
    const figure = snippet.querySelector("figure");
    const button = figure.querySelector(".copy");
    button.addEventListener("click", () => copyText(figure.querySelector("code").textContent, button));
    if (snippet.open) colourCode(figure);
    else snippet.addEventListener("toggle", () => colourCode(figure), { once: true });
  }
}
