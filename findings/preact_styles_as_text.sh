#!/usr/bin/env bash
# Preact 11: a component gets other styles and SVG attributes as text than in the page, and hydration keeps the difference.
#
# Guess of a good engineer: preact-render-to-string, which accepts Preact 11, writes the HTML that `render` makes of the same
# tree in a page; Preact 11 adds no "px" to numbers any more, so neither does it.
# Seen with preact 11.2.0, preact-render-to-string 6.8.2 and jsdom 26.1.0:
#                                     as text                    in the page
#   style width: 10                   width:10px                 nothing: 10 is no width
#   style aspectRatio: 1.5            aspect-ratio:1.5px         aspect-ratio: 1.5
#   style scale: 2                    scale:2px                  scale: 2
#   <text strokeWidth textAnchor>     stroke-width text-anchor   strokeWidth textAnchor, which SVG does not know
# A page from a server that hydrates has the first column; when the component changes its width to 20, it stays at 10px.
# So a chart that was tested as a static page has other lines and labels once it is drawn in the browser. This project writes
# units as text (views/policy_card.tsx).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund preact@11.2.0 preact-render-to-string@6.8.2 jsdom@26.1.0
cat > run.mjs <<'JS'
import { JSDOM } from "jsdom";
import { h, hydrate, render } from "preact";
import { render as text } from "preact-render-to-string";

globalThis.document = new JSDOM("").window.document;
const trees = {
  width: () => h("p", { style: { width: 10 } }),
  ratio: () => h("p", { style: { aspectRatio: 1.5 } }),
  scale: () => h("p", { style: { scale: 2 } }),
  chart: () => h("svg", null, h("text", { strokeWidth: 2, textAnchor: "middle" })),
};
for (const [name, tree] of Object.entries(trees)) {
  const page = document.createElement("div");
  render(tree(), page);
  console.log(`${name}\n  ${text(tree())}\n  ${page.innerHTML}`);
}
const bar = (width) => h("p", { style: { width } });
for (const [first, second] of [[10, 20], ["10px", "20px"]]) {
  const page = document.createElement("div");
  page.innerHTML = text(bar(first));
  hydrate(bar(first), page);
  render(bar(second), page);
  console.log(`hydrated at ${first}, then ${second}\n  ${page.innerHTML}`);
}
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
width
  <p style="width:10px;"></p>
  <p></p>
ratio
  <p style="aspect-ratio:1.5px;"></p>
  <p style="aspect-ratio: 1.5;"></p>
scale
  <p style="scale:2px;"></p>
  <p style="scale: 2;"></p>
chart
  <svg><text stroke-width="2" text-anchor="middle"></text></svg>
  <svg><text strokeWidth="2" textAnchor="middle"></text></svg>
hydrated at 10, then 20
  <p style="width:10px;"></p>
hydrated at 10px, then 20px
  <p style="width: 20px;"></p>
TXT
echo "as described"
