// The page /api: copies and colours its code, and opens the route an address names.

import { watchSnippets } from "./snippets.js";

watchSnippets(document);

document.getElementById("snippet-model").addEventListener("change", (event) => event.target.form.requestSubmit());

function openNamedRoute() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) named.open = true;
}

addEventListener("hashchange", openNamedRoute);
openNamedRoute();
