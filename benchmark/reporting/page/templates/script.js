"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  document.addEventListener("DOMContentLoaded", () => {
    const title = document.title;
    const named = (name) => {
      try {
        return document.getElementById(name) || document.getElementById(decodeURIComponent(name));
      } catch {
        return null; // no address of this page
      }
    };
    const run = () => {
      const place = named(location.hash.slice(1));
      return place && place.classList.contains("run") ? place : null;
    };

    // a run's page takes the report's place (the style sheet does that); title and focus follow
    const arrive = () => {
      const page = run();
      document.title = page ? page.dataset.title + " · " + title : title;
      if (!page) return;
      window.scrollTo(0, 0);
      page.querySelector("h2").focus({ preventScroll: true });
    };
    window.addEventListener("hashchange", arrive);
    window.addEventListener("load", arrive); // not before: going to the address takes the focus away
    document.querySelector(".skip").addEventListener("click", (event) => {
      const page = run();
      if (!page) return;
      event.preventDefault(); // the address must stay the run's
      page.querySelector("h2").focus();
    });

    // sorting: a button in each head of a leaderboard
    const value = (row, column, text) => {
      const cell = row.cells[column];
      if (text) return cell.textContent.trim().toLowerCase();
      return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
    };
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    for (const table of document.querySelectorAll("table.board")) {
      const heads = [...table.tHead.rows[0].cells];
      heads.forEach((head, column) => {
        const text = head.classList.contains("text");
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent.trim();
        head.replaceChildren(button);
        button.addEventListener("click", () => {
          const before = head.getAttribute("aria-sort");
          const up = before ? before === "descending" : text;
          for (const other of heads) other.removeAttribute("aria-sort");
          head.setAttribute("aria-sort", up ? "ascending" : "descending");
          const rows = [...table.tBodies[0].rows].map((row) => [value(row, column, text), row]);
          rows.sort(([a], [b]) => {
            if (a === null || b === null) return (a === null) - (b === null); // unknown ones last
            return up ? compare(a, b) : compare(b, a);
          });
          table.tBodies[0].append(...rows.map(([, row]) => row));
        });
      });
      const first = heads.find((head) => head.dataset.first !== undefined);
      if (first) first.setAttribute("aria-sort", "descending");
    }

    // an address inside a folded part opens it
    const unfold = () => {
      const place = named(location.hash.slice(1));
      for (let part = place && place.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    };
    window.addEventListener("hashchange", unfold);
    unfold();

    // filters: rows that do not fit go, and tables without rows with them
    const form = document.querySelector(".filters");
    if (!form) return;
    form.hidden = false;
    const apply = () => {
      const wanted = Object.fromEntries(new FormData(form));
      const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0, all = 0;
      const asked = words.length || Object.values(wanted).some(Boolean);
      for (const board of document.querySelectorAll(".boards > details")) {
        const fits = !wanted.protocol || board.dataset.protocol === wanted.protocol;
        let left = 0;
        for (const row of board.querySelectorAll("tbody tr")) {
          const same = ["method", "kind", "comparable"].every((name) => !wanted[name] || row.dataset[name] === wanted[name]);
          row.hidden = !(fits && same && words.every((word) => row.dataset.words.includes(word)));
          left += !row.hidden;
          all += 1;
        }
        board.hidden = left === 0;
        if (asked && left) board.open = true;
        shown += left;
      }
      form.querySelector("output").textContent = shown + " of " + all + " rows";
    };
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  });
})();
