/**
 * A figure of a page as a file that looks the same without its style sheet.
 *
 * @module
 */

/**
 * Writes a figure with its colors and fonts. It also runs by its text alone in the page that notebooks draw in, and so uses
 * nothing from outside.
 *
 * @param figure Element of the page.
 * @returns A whole SVG file.
 */
export function svgText(figure: SVGSVGElement): string {
  const styles = [
    ...["fill", "stroke", "stroke-width", "opacity"],
    ...["font-family", "font-size", "font-weight"],
  ];
  const copy = figure.cloneNode(true) as SVGSVGElement;
  const shown = figure.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, place) => {
    const style = getComputedStyle(shown[place]!);
    for (const name of styles) element.setAttribute(name, style.getPropertyValue(name));
  });
  // What only names things where they are pointed at.
  copy.querySelector(":scope > .titles")?.remove();
  for (const element of copy.querySelectorAll("*")) {
    for (const name of ["class", "tabindex", "role", "aria-pressed"]) element.removeAttribute(name);
  }
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  paper.setAttribute("width", "100%");
  paper.setAttribute("height", "100%");
  paper.setAttribute("fill", getComputedStyle(figure.closest(".card")!).backgroundColor);
  copy.prepend(paper);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.removeAttribute("class");
  return new XMLSerializer().serializeToString(copy);
}
