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
      const shown = row.cells[column].textContent.trim();
      if (text) return shown.toLowerCase();
      const number = parseFloat(shown);
      return Number.isNaN(number) ? null : number;
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

    // copying: what a table shows, as CSV or LaTeX, by the rules of the writers of files
    const tex = JSON.parse(document.body.dataset.tex);
    const formula = new RegExp("^(" + document.body.dataset.formula + ")");
    const said = (cell) =>
      cell.dataset.copy ?? [...cell.childNodes].map((part) => part.textContent.trim()).filter(Boolean).join(" ");
    const cells = (row) => [...row.cells].filter((cell) => !cell.querySelector("svg"));
    const harmless = (text) => (formula.test(text) && Number.isNaN(Number(text)) ? "'" : "") + text;
    const quoted = (text) => (/[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
    const escaped = (text) =>
      [...text.replace(/(^|[\s(\[])"/g, "$1\u0001").replace(/-(?=-)/g, "-\0")]
        .map((character) => tex[character] ?? character).join("").replaceAll("\0", "{}").replaceAll("\u0001", "``");
    const forms = {
      CSV: (rows) => rows.map((row) => row.map((cell) => quoted(harmless(said(cell)))).join(",")).join("\n") + "\n",
      LaTeX: ([head, ...rows]) => {
        const line = (row) => "  " + row.map((cell) => {
          const text = escaped(said(cell));
          return cell.classList.contains("best") ? "\\textbf{" + text + "}" : text;
        }).join(" & ") + " \\\\";
        const sides = head.map((cell) => (cell.classList.contains("num") ? "r" : "l")).join("");
        return ["\\begin{tabular}{" + sides + "}", "  \\toprule", line(head), "  \\midrule", ...rows.map(line),
          "  \\bottomrule", "\\end{tabular}"].join("\n") + "\n";
      },
    };
    for (const box of document.querySelectorAll(".scroll")) {
      const table = box.querySelector("table"), place = document.createElement("p");
      place.className = "copy";
      const told = document.createElement("output");
      for (const [name, form] of Object.entries(forms)) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = "Copy " + name;
        button.setAttribute("aria-label", "Copy as " + name + ": " + box.getAttribute("aria-label"));
        button.addEventListener("click", async () => {
          const text = form([...table.rows].filter((row) => !row.hidden).map(cells));
          place.querySelector("textarea")?.remove();
          try {
            await navigator.clipboard.writeText(text);
            told.textContent = "copied";
          } catch {
            const field = document.createElement("textarea"); // no clipboard here: to copy by hand
            field.value = text;
            field.readOnly = true;
            field.setAttribute("aria-label", name);
            place.append(field);
            field.select();
            told.textContent = "to copy by hand";
          }
        });
        place.append(button);
      }
      place.append(told);
      box.after(place);
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
