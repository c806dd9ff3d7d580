// Single letters for what the page can do, while no field has the focus. They can be
// switched off (WCAG 2.1.4); what a letter does is always a button's own click.

const KEY = "jeton.letter-keys";
const FIELDS = "input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]";
const OPEN = "dialog:modal, [popover]:not([popover=manual]):popover-open";

const element = (id) => document.getElementById(id);

function clickLast(action) {
  const turn = document.querySelector("#turns > .turn:last-child");
  const button = turn?.querySelector(`[data-action=${action}]`);
  if (button?.checkVisibility()) button.click();
}

function choosePicker() {
  element("model").focus();
  element("model").showPicker?.();
}

// A panel beside the page has the focus moved into it; below the page it opens first.
function showParameters() {
  const panel = element("panel");
  if (!panel.checkVisibility()) panel.showPopover();
  element("system").focus();
}

const ACTIONS = {
  "/": () => element("prompt").focus(),
  "?": () => element("keys").togglePopover(),
  c: () => clickLast("copy"),
  e: () => clickLast("edit"),
  g: () => element("get-code")?.click(),
  j: () => !element("jump").hidden && element("jump").click(),
  m: choosePicker,
  n: () => element("new-conversation").click(),
  o: () => element("more").click(),
  p: showParameters,
  r: () => clickLast("retry"),
  s: () => clickLast("share"),
  v: () => clickLast("raw"),
  w: () => element("show-wire")?.click(),
};

export function watchKeys() {
  const toggle = element("has-letter-keys");
  toggle.checked = isOn();
  toggle.addEventListener("change", () => keep(toggle.checked));
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest?.(FIELDS)) return;
    const isHelp = key === "?" && element("keys").matches(":popover-open");
    if (!toggle.checked || (document.querySelector(OPEN) && !isHelp)) return;
    const action = Object.hasOwn(ACTIONS, key) ? ACTIONS[key] : null;
    if (!action || event.repeat) return;
    // The letter must not land in the field that it leads to.
    event.preventDefault();
    action();
  });
}

function isOn() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

function keep(isSwitchedOn) {
  try {
    if (isSwitchedOn) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "off");
  } catch {
    // Without storage it holds for this page.
  }
}
