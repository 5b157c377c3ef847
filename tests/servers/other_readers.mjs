// Reads a file of messages, each after its length in four bytes. Writes a JSON line for each message, with the results of
// mailparser and postal-mime: node other_readers.mjs FILE
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { simpleParser } from "mailparser";
import PostalMime from "postal-mime";

function sha256(content) {
  return createHash("sha256").update(Buffer.from(content)).digest("hex");
}

// Members of a group are listed without the group, as Mailroom lists them.
function flat(addresses) {
  return (addresses ?? []).flatMap((entry) => (entry.group ? flat(entry.group) : [[entry.name ?? "", entry.address ?? ""]]));
}

function list(field) {
  return [field ?? []].flat().flatMap((header) => flat(header.value));
}

async function mailparser(mail) {
  const read = await simpleParser(mail, { checksumAlgo: "sha256", keepCidLinks: true, skipTextToHtml: true, keepDeliveryStatus: true });
  return {
    subject: read.subject ?? "",
    from: list(read.from),
    to: list(read.to),
    cc: list(read.cc),
    date: read.date ? read.date.toISOString() : null,
    text: read.text ?? "",
    html: Boolean(read.html),
    attachments: read.attachments.map((file) => [file.filename ?? "", file.size, file.checksum]),
  };
}

async function postalMime(mail) {
  const read = await PostalMime.parse(mail, { forceRfc822Attachments: true });
  return {
    subject: read.subject ?? "",
    from: flat(read.from ? [read.from] : []),
    to: flat(read.to),
    cc: flat(read.cc),
    date: read.date ?? null,
    text: read.text ?? "",
    html: Boolean(read.html),
    attachments: read.attachments.map((file) => [file.filename ?? "", file.content.byteLength, sha256(file.content)]),
  };
}

async function attempt(read, mail) {
  try {
    return await read(mail);
  } catch (error) {
    return { error: String(error) };
  }
}

const data = readFileSync(process.argv[2]);
for (let at = 0; at < data.length; ) {
  const size = data.readUInt32BE(at);
  const mail = data.subarray(at + 4, at + 4 + size);
  at += 4 + size;
  const read = { mailparser: await attempt(mailparser, mail), "postal-mime": await attempt(postalMime, mail) };
  process.stdout.write(JSON.stringify(read) + "\n");
}
