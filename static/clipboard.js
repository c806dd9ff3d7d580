// Copies text and says that it did, on the button and to screen readers.

const SAID_FOR_MILLISECONDS = 1500;

/** Copies `text`; `button` shows for a moment whether that worked. */
export async function copyText(text, button) {
  let outcome = "copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard without HTTPS or permission: the old way still works on a click.
    outcome = copyBySelection(text) ? "copied" : "refused";
  }
  button.dataset.outcome = outcome;
  document.getElementById("announcer").textContent = outcome === "copied" ? "Copied." : "Copying is not allowed here.";
  setTimeout(() => delete button.dataset.outcome, SAID_FOR_MILLISECONDS);
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  const focused = document.activeElement;
  area.value = text;
  area.className = "sr";
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return isCopied;
}
