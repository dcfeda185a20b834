"use strict";
(() => {
  const said = document.getElementById("said");

  const byHand = (text) => { // where the page isn't a secure context
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };

  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return byHand(text);
    }
  };

  const copy = async (button) => {
    const code = button.parentElement.querySelector("code");
    const done = await copied(code.textContent);
    button.focus();
    if (!done) getSelection().selectAllChildren(code);
    const label = button.firstElementChild;
    label.textContent = said.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { label.textContent = "Copy"; said.textContent = ""; }, 2500);
  };

  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }

  const folded = () => [...document.querySelectorAll("details:not([open])")];
  const set = (all, open) => { for (const one of all) one.open = open; };

  const unfold = document.getElementById("unfold");
  let shown = [];
  if (unfold) {
    unfold.hidden = false;
    unfold.addEventListener("click", () => {
      const open = unfold.getAttribute("aria-pressed") === "false";
      if (open) shown = folded();
      set(shown, open);
      unfold.setAttribute("aria-pressed", String(open));
    });
  }

  let printed = []; // browsers that don't know ::details-content
  addEventListener("beforeprint", () => set(printed = folded(), true));
  addEventListener("afterprint", () => set(printed, false));
})();
