// The buttons that open a dialog. What a dialog does is loaded at its first click.

const OPENERS = {
  code: async (turn) => (await import("./get-code.js")).showCode(turn),
  share: async (turn) => (await import("./share.js")).offerLink(turn),
};

/** Opens Get code and Share, from whichever button; without a turn it is the composer's. */
export function watchDialogs() {
  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("[data-action=code], [data-action=share]");
    if (button) OPENERS[button.dataset.action](button.closest(".turn"));
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    // A click on the backdrop is one on the dialog itself, whose content covers the rest of it.
    // Only one that began there as well: text is selected beyond the edge.
    let isPressed = false;
    dialog.addEventListener("pointerdown", ({ target }) => {
      isPressed = target === dialog;
    });
    dialog.addEventListener("click", ({ target }) => target === dialog && isPressed && dialog.close());
  }
}
