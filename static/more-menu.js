// The menu of what is done less often: export, import, the conversation before, a link to this setup, the keys.

import { copyText } from "./clipboard.js";
import { allTurns } from "./conversation.js";
import { setupLink } from "./setup-link.js";
import { isAnySetAside } from "./tab-memory.js";

const menu = document.getElementById("more-menu");
const file = document.getElementById("import-file");
const item = (name) => menu.querySelector(`[data-more=${name}]`);

/** `onImport` gets a file to open as the conversation; `onBringBack` opens the one that was set aside. */
export function watchMoreMenu({ onImport, onBringBack }) {
  const click = (name, action) => item(name).addEventListener("click", action);
  // Written by hand and seldom used: loaded at the first use.
  const transcript = () => import("./transcript.js");
  click("markdown", async () => {
    menu.hidePopover();
    (await transcript()).saveMarkdown();
  });
  click("json", async () => {
    menu.hidePopover();
    (await transcript()).saveJson();
  });
  click("import", () => {
    menu.hidePopover();
    file.click();
  });
  click("before", () => {
    menu.hidePopover();
    onBringBack();
  });
  click("link", () => copyText(setupLink(), item("link")));
  click("keys", () => {
    menu.hidePopover();
    document.getElementById("keys").showPopover();
  });
  file.addEventListener("change", () => {
    if (file.files[0]) onImport(file.files[0]);
    // So that the same file can be opened again.
    file.value = "";
  });
  menu.addEventListener("toggle", ({ newState }) => {
    if (newState !== "open") return;
    const isEmpty = !allTurns().length;
    item("markdown").disabled = item("json").disabled = isEmpty;
    item("before").hidden = !isAnySetAside();
    menu.querySelector("button:enabled").focus();
  });
}
