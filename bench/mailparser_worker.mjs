// Does the same as reader_worker.py with mailparser (Node.js): node mailparser_worker.mjs FILE
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { simpleParser } from "mailparser";

const data = readFileSync(process.argv[2]);
const mails = [];
for (let at = 0; at < data.length; ) {
  const size = data.readUInt32BE(at);
  mails.push(data.subarray(at + 4, at + 4 + size));
  at += 4 + size;
}
async function round() {
  for (const mail of mails) {
    const read = await simpleParser(mail);
    JSON.stringify({ ...read, attachments: read.attachments.map((one) => [one.filename, one.checksum, one.size]) });
  }
}
await round();
console.log("ready");
for await (const _ of createInterface({ input: process.stdin })) {
  const before = process.cpuUsage();
  await round();
  const used = process.cpuUsage(before);
  console.log((used.user + used.system) / 1e6);
}
