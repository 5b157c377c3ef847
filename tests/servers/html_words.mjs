// Reads JSON lines with HTML pages. Writes JSON lines with the text of each page, taken from the tree that the HTML
// standard defines (parse5). Each block is on a separate line. Hidden elements, pictures, rules and list items are treated
// as in docs/reference/parsing.md.
import { createInterface } from "node:readline";
import { parse } from "parse5";

const HIDDEN = new Set(["iframe", "noembed", "noframes", "script", "style", "template", "title"]);
const BLOCKS = new Set(
  ("address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption figure " +
    "footer form frameset h1 h2 h3 h4 h5 h6 header hgroup html legend li listing main menu nav ol optgroup option p plaintext " +
    "pre search section select summary table tbody textarea tfoot thead tr ul xmp").split(" "),
);

function attribute(node, name) {
  return node.attrs.find((one) => one.name === name)?.value ?? "";
}

function write(root, out) {
  const waiting = [root];
  while (waiting.length > 0) {
    const node = waiting.pop();
    if (typeof node === "string") {
      out.push(node);
    } else if (node.nodeName === "#text") {
      out.push(node.value);
    } else if (node.childNodes && !HIDDEN.has(node.tagName)) {
      const name = node.tagName;
      const block = BLOCKS.has(name);
      if (block || name === "br") out.push("\n");
      if (name === "li") out.push("* ");
      if (name === "hr") out.push("\n" + "-".repeat(20) + "\n");
      if (name === "td" || name === "th") out.push(" ");
      if (name === "img" || name === "area") {
        const alt = attribute(node, "alt");
        if (alt.length <= 500) out.push(alt);
      }
      if (block) waiting.push("\n");
      for (let at = node.childNodes.length - 1; at >= 0; at--) waiting.push(node.childNodes[at]);
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const out = [];
  write(parse(JSON.parse(line), { scriptingEnabled: false }), out);
  process.stdout.write(JSON.stringify(out.join("")) + "\n");
}
