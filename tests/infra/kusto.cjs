// Check queries with Kusto's own language service, which runs without a network.
//
// usage: node kusto.cjs FOLDER, where FOLDER contains node_modules. Standard input is JSON: {tables: {NAME: SCHEMA},
// queries: {NAME: TEXT}}. Standard output is JSON: {NAME: {problems: [TEXT], columns: {NAME: TYPE}}}.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const library = path.join(process.argv[2], "node_modules/@kusto/language-service-next");
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  // The files declare globals: they are scripts for a browser.
  vm.runInThisContext(fs.readFileSync(path.join(library, file), "utf8"), { filename: file });
}
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

const list = (items) => Array.from({ length: items.Count }, (_, index) => items.getItem(index));

const { tables, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, schema]) => Symbols.TableSymbol.From(schema).WithName(name));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));

const results = {};
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const problems = list(code.GetDiagnostics()).map((problem) => {
    const line = text.slice(0, problem.Start).split("\n").length;
    return `line ${line}: ${problem.Message}`;
  });
  const columns = code.ResultType && code.ResultType.Columns ? list(code.ResultType.Columns) : [];
  results[name] = {
    problems,
    columns: Object.fromEntries(columns.map((column) => [column.Name, column.Type.Name])),
  };
}
process.stdout.write(JSON.stringify(results));
