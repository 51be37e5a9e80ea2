// sayci: everything here only adds comfort; every page works without it. No inline code, no dependencies.
(() => {
  "use strict";

  // Copy buttons: shown only where they can work.
  if (navigator.clipboard) {
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        await navigator.clipboard.writeText(source.value ?? source.textContent);
        button.append(" ✓");
        setTimeout(() => button.lastChild.remove(), 1500);
      });
    }
  }
})();
