// Loaded into Azurite (node --require). `POST /SECONDS` on AZURITE_CLOCK_PORT sets its time that far ahead of the real time.
"use strict";
const http = require("node:http");

const RealDate = Date;
let ahead = 0;
const now = () => RealDate.now() + ahead;

globalThis.Date = new Proxy(RealDate, {
  apply: () => new RealDate(now()).toString(),
  construct: (target, args, newTarget) => Reflect.construct(target, args.length ? args : [now()], newTarget),
  get: (target, name) => (name === "now" ? now : Reflect.get(target, name)),
});

http
  .createServer((request, response) => {
    ahead = Number(request.url.slice(1)) * 1000;
    response.end();
  })
  .listen(Number(process.env.AZURITE_CLOCK_PORT), "127.0.0.1")
  .unref(); // It does not keep the process alive.
