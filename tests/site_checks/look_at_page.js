// Returns the problems of the page as it is shown now: a list of texts.
const problems = new Set();
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const known = new Map();

function rgba(color) {
  if (!known.has(color)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    known.set(color, [red, green, blue, alpha / 255]);
  }
  return known.get(color);
}

const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];

function luminance([red, green, blue]) {
  const [r, g, b] = [red, green, blue].map((each) => {
    const part = each / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

const backgrounds = new Map();
function backgroundOf(element) {
  if (!element) return rgba(matchMedia("(prefers-color-scheme: dark)").matches ? "black" : "white");
  if (!backgrounds.has(element)) {
    const color = rgba(getComputedStyle(element).backgroundColor);
    backgrounds.set(element, color[3] === 1 ? color : over(color, backgroundOf(element.parentElement)));
  }
  return backgrounds.get(element);
}

const opacities = new Map();
function opacityOf(element) {
  if (!element) return 1;
  if (!opacities.has(element))
    opacities.set(element, Number(getComputedStyle(element).opacity) * opacityOf(element.parentElement));
  return opacities.get(element);
}

function named(element) {
  const path = [];
  for (let each = element; each && each !== document.body && path.length < 3; each = each.parentElement)
    path.unshift(each.localName + (each.className && each.className.baseVal === undefined ? `.${[...each.classList][0]}` : ""));
  return path.join(" > ");
}

const isShown = (element) =>
  element.checkVisibility({ visibilityProperty: true }) &&
  [...element.getClientRects()].some(({ width, height }) => width > 1 && height > 1) &&
  opacityOf(element) > 0.02;

const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || seen.has(element) || element.closest("script, style, svg, noscript")) continue;
  seen.add(element);
  if (!isShown(element)) continue;
  const style = getComputedStyle(element);
  const background = backgroundOf(element);
  const color = rgba(style.color);
  const shown = over([color[0], color[1], color[2], color[3] * opacityOf(element)], background);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const found = contrast(shown, background);
  const needed = isLarge ? 3 : 4.5;
  const text = `"${node.data.trim().slice(0, 30)}" (${named(element)})`;
  if (found < needed) problems.add(`${text} has a contrast of ${found.toFixed(2)} in ${style.color}: ${needed} is needed`);
  if (size < 11) problems.add(`${text} has letters of ${size} px: 11 are needed`);
}

const { scrollWidth, clientWidth } = document.scrollingElement;
if (scrollWidth > clientWidth) {
  const wide = [...document.querySelectorAll(".md-content *")].find(
    (each) => each.getBoundingClientRect().right > clientWidth + 1 && !each.closest(".md-typeset__scrollwrap, pre, .highlight"),
  );
  problems.add(`scrolls sideways, because it is ${scrollWidth} px wide${wide ? `: ${named(wide)} is too wide` : ""}`);
}

for (const each of document.querySelectorAll("a[href], button, input:not([hidden])")) {
  if (!isShown(each) || each.closest("[aria-hidden=true]")) continue;
  const name = each.textContent.trim() || each.getAttribute("aria-label") || each.title || each.labels?.[0]?.title
    || each.labels?.[0]?.textContent.trim() || each.querySelector("img")?.alt || each.placeholder;
  if (!name) problems.add(`a control without a text or an aria-label: ${named(each)}`);
}

for (const image of document.images)
  if (image.complete && !image.naturalWidth) problems.add(`an image that is not shown: ${image.getAttribute("src")}`);

for (const { name } of performance.getEntriesByType("resource"))
  if (!/^(file|data|blob):/.test(name)) problems.add(`a request to ${name}`);

return [...problems];
