"use strict";
const cards = [...document.querySelectorAll("details.ticket")];
const fold = document.querySelector(".fold");
if (fold && cards.length > 1) {
  for (const [word, open] of [["Open all", true], ["Close all", false]]) {
    const button = document.createElement("button");
    button.textContent = word;
    button.addEventListener("click", () => cards.forEach((card) => { card.open = open; }));
    fold.append(button, " ");
  }
  fold.hidden = false;
}
function follow() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", follow);
follow();
const filter = document.getElementById("filter");
if (filter) {
  const rows = [...document.querySelectorAll("#log-lines tbody tr")];
  filter.hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
