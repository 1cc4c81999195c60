
"use strict";
// A click on the head of a column sorts its table: numbers by value, unknown ones last, and text by its letters.
const compare = (one, other) => {
  const [a, b] = [one, other].map((row) => row.dataset.key ?? row.textContent);
  const [x, y] = [Number(a.replace("inf", "Infinity")), Number(b.replace("inf", "Infinity"))];
  if (one.dataset.key === undefined) return a.localeCompare(b);
  return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : x < y ? -1 : Number(x > y);
};
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => compare(one.cells[column], other.cells[column]) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
}
