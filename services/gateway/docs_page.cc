#include "services/gateway/docs_page.h"

#include <fmt/format.h>
#include <openssl/evp.h>

namespace weft::gateway {
namespace {

constexpr std::string_view kPage = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Weft API</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886; }
details { border: 1px solid #8886; border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow: auto; max-height: 24rem; background: #8881; padding: .6rem; border-radius: 4px; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
.lock { opacity: .7; float: right; }
table { border-collapse: collapse; }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
</style>
</head>
<body>
<h1>Weft API <small id="version"></small></h1>
<p>Made from <a href="/openapi.json">/openapi.json</a>. Send a key as <code>Authorization: Bearer KEY</code> or
<code>X-API-Key: KEY</code>.</p>
<main id="main">Loading …</main>
<script>
"use strict";
const make = (tag, attributes, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
const json = value => make("pre", {}, JSON.stringify(value, null, 2));
const content = part => Object.entries(part.content || {}).flatMap(([type, body]) => {
  const name = ((body.schema || {}).$ref || "").split("/").pop();
  const out = [make("p", {}, make("code", {}, type), name ? " " : "",
                    name ? make("a", {href: "#schema-" + name}, name) : "")];
  for (const example of Object.values(body.examples || {})) out.push(json(example.value));
  return out;
});
const operation = (path, method, op) => {
  const box = make("details", {id: op.operationId});
  box.append(make("summary", {}, make("span", {className: "method"}, method.toUpperCase()),
    make("code", {}, path), " ", op.summary || "",
    make("span", {className: "lock"}, (op.security || []).length ? "key" : "public")));
  if (op.description) box.append(make("p", {}, op.description));
  const rows = (op.parameters || []).map(p => make("tr", {}, make("td", {}, make("code", {}, p.name)),
    make("td", {}, p.in + (p.required ? ", required" : "")), make("td", {}, p.description || "")));
  if (rows.length) box.append(make("h4", {}, "Parameters"), make("table", {}, ...rows));
  if (op.requestBody) box.append(make("h4", {}, "Body"), ...content(op.requestBody));
  for (const [status, answer] of Object.entries(op.responses || {}))
    box.append(make("h4", {}, status + " " + answer.description), ...content(answer));
  return box;
};
fetch("/openapi.json").then(answer => answer.json()).then(doc => {
  const main = document.getElementById("main");
  main.replaceChildren();
  document.getElementById("version").textContent = doc.info.version;
  const tags = new Map();
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, op] of Object.entries(methods)) {
      const tag = (op.tags || ["Other"])[0];
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(operation(path, method, op));
    }
  for (const [tag, operations] of tags) main.append(make("h2", {}, tag), ...operations);
  main.append(make("h2", {}, "Schemas"));
  for (const [name, schema] of Object.entries(doc.components.schemas))
    main.append(make("details", {id: "schema-" + name}, make("summary", {}, make("code", {}, name)), json(schema)));
}).catch(error => { document.getElementById("main").textContent = "The document could not be read: " + error; });
</script>
</body>
</html>
)html";

// CSP level 3, section 2.3.1: 'sha256-' and the base64 of the element's text.
std::string HashOf(std::string_view open, std::string_view close) {
  const size_t begin = kPage.find(open) + open.size();
  const std::string_view text = kPage.substr(begin, kPage.find(close) - begin);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  unsigned char encoded[64];
  const int length = EVP_EncodeBlock(encoded, digest, static_cast<int>(size));
  return fmt::format("'sha256-{}'",
                     std::string_view(reinterpret_cast<const char*>(encoded), length));
}

}  // namespace

std::string_view DocsPage() { return kPage; }

const std::string& DocsPagePolicy() {
  static const std::string policy = fmt::format(
      "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; "
      "form-action 'none'; frame-ancestors 'none'",
      HashOf("<script>", "</script>"), HashOf("<style>", "</style>"));
  return policy;
}

}  // namespace weft::gateway
