/** Keys that work everywhere on the page. */

/** @param {import("./page.js").Page} page */
export function listenToKeys(page) {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
    const { input } = page.searchBar;
    const inDialog = document.querySelector("dialog[open]") !== null;
    const { activeElement } = document;
    const typing = activeElement?.matches("input, select, textarea") === true;
    if (activeElement === input && event.key === "ArrowDown") firstResult()?.focus();
    else if (inDialog || typing) return;
    else if (event.key === "/") input.select();
    else if (event.key === "?") page.help.open();
    else return;
    event.preventDefault();
  });
}

/** @returns {HTMLElement | null} */
function firstResult() {
  return document.querySelector("#clipgpt .view:not([hidden]) .open[tabindex='0']");
}
