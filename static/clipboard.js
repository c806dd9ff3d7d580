// Copies text and says that it did, on the button and to screen readers.

import { say } from "./words.js";

const SAID_FOR_MILLISECONDS = 1500;

/** Copies `text`; `button` shows for a moment whether that worked. */
export async function copyText(text, button) {
  // While a dialog is open nothing outside of it can be selected, or is read out.
  const modal = button.closest("dialog:modal");
  let outcome = "copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard without HTTPS or permission: the old way still works on a click.
    outcome = copyBySelection(text, modal ?? document.body) ? "copied" : "refused";
  }
  button.dataset.outcome = outcome;
  const announcer = modal?.querySelector("[role=status]") ?? document.getElementById("announcer");
  announcer.textContent = outcome === "copied" ? say("Copied.") : say("Copying is not allowed here.");
  setTimeout(() => delete button.dataset.outcome, SAID_FOR_MILLISECONDS);
}

function copyBySelection(text, place) {
  const area = document.createElement("textarea");
  const focused = document.activeElement;
  area.value = text;
  area.className = "sr";
  place.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return isCopied;
}
