// Loaded into Azurite (node --require). Azurite evaluates a query on each entity of a table, and searches an entity among
// all of its partition, so that the time of a request grows with the table. The service has an index on both keys. Here
// the keys are compared first: the results are the same.
"use strict";
const Module = require("node:module");

const COMPARISON = /^(PartitionKey|RowKey) (eq|ge|gt|le|lt) '((?:[^']|'')*)'$/;
const OPERATORS = {
  eq: (a, b) => a === b,
  ge: (a, b) => a >= b,
  gt: (a, b) => a > b,
  le: (a, b) => a <= b,
  lt: (a, b) => a < b,
};

// Of a conjunction without parentheses and alternatives, return the comparisons of keys.
function keyComparisons(filter) {
  if (!filter || / or |not |[()]/.test(filter)) return [];
  return filter.split(" and ").flatMap((part) => {
    const match = COMPARISON.exec(part);
    return match ? [[match[1], OPERATORS[match[2]], match[3].replaceAll("''", "'")]] : [];
  });
}

function patchQueries(generator) {
  const generate = generator.generateQueryForPersistenceLayer;
  generator.generateQueryForPersistenceLayer = (options, context) => {
    const matches = generate.call(generator, options, context);
    const comparisons = keyComparisons(options.filter);
    return (entity) => comparisons.every(([key, compare, value]) => compare(entity[key], value)) && matches(entity);
  };
}

function patchCollections(loki) {
  const { Collection } = loki;
  const findOne = Collection.prototype.findOne;
  Collection.prototype.findOne = function (query) {
    const { PartitionKey, RowKey, ...others } = query ?? {};
    // Of several properties, the index of the first one is used.
    return findOne.call(this, RowKey === undefined ? query : { RowKey, PartitionKey, ...others });
  };
}

const load = Module._load;
Module._load = function (request, ...others) {
  const loaded = load.call(this, request, ...others);
  if (loaded && request === "lokijs" && !loaded.isPatched) {
    patchCollections(loaded);
    loaded.isPatched = true;
  } else if (loaded && request.endsWith("LokiTableStoreQueryGenerator") && !loaded.default.isPatched) {
    patchQueries(loaded.default);
    loaded.default.isPatched = true;
  }
  return loaded;
};
