"use strict";
// Without this script every row is there, in order of name; with it, tables are sorted, filtered and paged.

const PAGE_ROWS = 25;
const names = new Intl.Collator(undefined, { numeric: true });
const byId = (id) => document.getElementById(id);

class Listing {
  constructor(table) {
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows];
    this.shown = this.rows;
    this.texts = new Map(this.rows.map((row) => [row, row.textContent.toLowerCase()]));
    this.headings = [...table.tHead.rows[0].cells];
    this.headings.forEach((heading) => heading.dataset.sort && this.makeSortable(heading));
    this.pager = this.makePager(table);
    this.turnTo(0);
  }

  makeSortable(heading) {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.addEventListener("click", () => this.sort(heading));
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }

  makePager(table) {
    const pager = document.createElement("nav");
    const [back, on] = [["Previous", -1], ["Next", 1]].map(([text, step]) => {
      const button = document.createElement("button");
      button.textContent = text;
      button.addEventListener("click", () => this.turnTo(this.page + step));
      return button;
    });
    const where = document.createElement("span");
    where.setAttribute("role", "status");
    pager.className = "pager";
    pager.setAttribute("aria-label", "Pages of the table");
    pager.append(back, where, on);
    pager.hidden = this.rows.length <= PAGE_ROWS;
    table.parentElement.after(pager);
    return { back, on, where };
  }

  sort(heading) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    this.headings.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const text = (row) => row.cells[heading.cellIndex].textContent;
    const numeric = heading.dataset.sort === "number";
    const keys = new Map(this.rows.map((row) => [row, numeric ? parseFloat(text(row)) : text(row)]));
    const known = this.rows.filter((row) => !Number.isNaN(keys.get(row)));
    const unknown = this.rows.filter((row) => Number.isNaN(keys.get(row)));
    const compare = numeric ? (a, b) => a - b : names.compare;
    known.sort((a, b) => (descending ? -1 : 1) * compare(keys.get(a), keys.get(b)));
    this.rows = [...known, ...unknown];
    this.filter();
  }

  filter() {
    const wanted = byId("filter").value.toLowerCase();
    const outliers = byId("outliers").checked;
    this.shown = this.rows.filter(
      (row) => this.texts.get(row).includes(wanted) && (!outliers || row.querySelector(".outlier")),
    );
    this.turnTo(0);
  }

  turnTo(page) {
    const last = Math.max(Math.ceil(this.shown.length / PAGE_ROWS) - 1, 0);
    this.page = Math.min(Math.max(page, 0), last);
    const first = this.page * PAGE_ROWS;
    const rows = this.shown.slice(first, first + PAGE_ROWS);
    this.body.replaceChildren(...rows);
    const { back, on, where } = this.pager;
    back.disabled = this.page === 0;
    on.disabled = this.page === last;
    const of = this.shown.length < this.rows.length ? `${this.shown.length} found` : `${this.rows.length}`;
    where.textContent = rows.length ? `${first + 1} to ${first + rows.length} of ${of}` : "none found";
  }
}

class Viewer {
  constructor(listing) {
    this.listing = listing;
    this.dialog = byId("viewer");
    listing.rows.forEach((row) => row.querySelector(".thumb").addEventListener("click", (event) => {
      event.preventDefault();
      this.show(row);
      this.dialog.showModal();
    }));
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    this.dialog.addEventListener("keydown", ({ key }) => {
      if (key === "ArrowLeft") this.step(-1);
      if (key === "ArrowRight") this.step(1);
    });
    this.dialog.addEventListener("click", ({ target }) => target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.row.querySelector(".thumb").focus());
  }

  step(by) {
    const { shown } = this.listing;
    const at = shown.indexOf(this.row) + by;
    if (shown[at]) this.show(shown[at]);
  }

  show(row) {
    const { shown } = this.listing;
    const at = shown.indexOf(row);
    this.row = row;
    this.listing.turnTo(Math.floor(at / PAGE_ROWS));
    const link = row.querySelector(".thumb");
    byId("picture").src = byId("original").href = link.href;
    byId("picture").alt = link.firstChild.alt;
    const marked = [...row.querySelectorAll(".outlier")].map(
      (cell) => `${this.listing.headings[cell.cellIndex].textContent} ${cell.textContent}`,
    );
    const name = row.querySelector("th").textContent;
    byId("caption").textContent = [`${name} (${at + 1} of ${shown.length})`, ...marked].join(" · ");
    byId("previous").disabled = at === 0;
    byId("next").disabled = at === shown.length - 1;
  }
}

const listings = [...document.querySelectorAll(".listing")].map((table) => {
  const listing = new Listing(table);
  if (table.classList.contains("subjects")) new Viewer(listing);
  return listing;
});
for (const id of ["filter", "outliers"]) {
  byId(id).addEventListener("input", () => listings.forEach((listing) => listing.filter()));
}
