"use strict";
// Sorts tables by the buttons that it puts into their headers, finds rows by a word, opens what is folded for paper.
// Without it the page tells the same.
const numeric = (row, column) => Number(row.cells[column].dataset.sort ?? NaN);

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button"), numbers = head.classList.contains("number");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = numbers ? "descending" : "ascending", second = numbers ? "ascending" : "descending";
      const order = head.ariaSort === first ? second : first, sign = order === "ascending" ? 1 : -1;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.ariaSort = order;
      // What has no number comes last, whichever way.
      const rows = numbers
        ? [...body.rows].map(row => [row, numeric(row, column)])
            .sort(([, a], [, b]) => isNaN(a) - isNaN(b) || sign * (a - b) || 0).map(([row]) => row)
        : [...body.rows].map(row => [row, row.cells[column].textContent])
            .sort(([, a], [, b]) => sign * a.localeCompare(b)).map(([row]) => row);
      body.append(...rows);
    });
  });
}

for (const every of document.querySelectorAll("details.every")) {
  const rows = [...every.querySelector("tbody").rows], label = document.createElement("label");
  const field = document.createElement("input"), told = document.createElement("output");
  field.type = "search";
  label.append("Find a category ", field);
  every.querySelector("summary").after(label, told);
  field.addEventListener("input", () => {
    const word = field.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(word);
    told.textContent = word ? `${rows.filter(row => !row.hidden).length} found` : "";
  });
}

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open], .every)")];
  for (const each of folded) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of folded) each.open = false;
});
