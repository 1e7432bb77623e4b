// Draws the figures and sorts the verdict table of the report.
(() => {
  "use strict";

  const isNarrow = matchMedia("(max-width: 46rem)").matches;

  function layoutFor(layout) {
    if (!isNarrow) return layout;
    return {
      ...layout,
      font: { ...layout.font, size: 11 },
      margin: { ...layout.margin, l: 48, r: 8 },
      xaxis: withShortLines(layout.xaxis, 42),
      yaxis: withShortLines(layout.yaxis, 34),
    };
  }

  /** Breaks the title of an axis into lines that a narrow picture has room for. */
  function withShortLines(axis, width) {
    const lines = [""];
    for (const word of axis.title.text.split(" ")) {
      const longer = `${lines.at(-1)} ${word}`.trim();
      if (lines.at(-1) === "" || longer.length <= width) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return { ...axis, title: { ...axis.title, text: lines.join("<br>") } };
  }

  /** Room for the legend's rows, beside what the plot itself takes. */
  function heightFor(data, layout) {
    if (!layout.showlegend) return isNarrow ? 320 : 400;
    const entries = data.filter((trace) => trace.showlegend !== false).length;
    return isNarrow ? 300 + 19 * entries : 390 + 20 * Math.ceil(entries / 3);
  }

  async function drawFigures() {
    const figures = JSON.parse(document.getElementById("figures").textContent);
    for (const { id, data, layout } of figures) {
      const place = document.getElementById(id);
      place.style.height = `${heightFor(data, layout)}px`;
      await Plotly.newPlot(place, data, layoutFor(layout), {
        responsive: true,
        displaylogo: false,
        displayModeBar: isNarrow ? false : "hover",
      });
    }
    document.body.dataset.drawn = String(figures.length);
  }

  function keyOf(row, column) {
    const text = row.cells[column].dataset.sort;
    return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  }

  function compare(first, second) {
    if (typeof first === "number" && typeof second === "number") return first - second;
    return String(first).localeCompare(String(second), "en", { numeric: true });
  }

  function sortBy(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
    rows.sort((first, second) => {
      // Rows without a value stay at the end, whatever the direction.
      if (first.key === null || second.key === null) {
        return (first.key === null) - (second.key === null);
      }
      return direction * compare(first.key, second.key);
    });
    body.append(...rows.map(({ row }) => row));
  }

  function makeSortable(table) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => {
        const isAscending = heading.getAttribute("aria-sort") === "ascending";
        for (const other of headings) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", isAscending ? "descending" : "ascending");
        sortBy(table, column, isAscending ? -1 : 1);
      });
    });
  }

  makeSortable(document.getElementById("verdicts"));
  drawFigures();
})();
