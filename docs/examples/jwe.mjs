// Encryption at rest for producers and readers that are not Python, with Node's own crypto alone.
//
//     jwe.mjs encrypt JOB_ID PART < text        prints the JWE; PART is message, key or outcome
//     jwe.mjs decrypt JOB_ID PART < jwe         prints the text; a plain text as it is
//     jwe.mjs mark < digest                     prints the mark of a digest
//     jwe.mjs same MARK < digest                exit 0 when the stored mark is this digest's
//
// LARGESSE_ENCRYPTION_KEYS has the keys, id:base64 each, separated by commas; the first one encrypts.
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

const keys = new Map(
  (process.env.LARGESSE_ENCRYPTION_KEYS ?? "").split(",").map((item) => {
    const [id, secret] = item.trim().split(":");
    return [id, Buffer.from(secret ?? "", "base64")];
  }),
);
const [first] = keys.keys();

function keyOf(id) {
  if (keys.has(id)) return keys.get(id);
  console.error(`encrypted with key ${id}: add it to LARGESSE_ENCRYPTION_KEYS`);
  process.exit(3);
}

function encrypt(text, job, part) {
  const header = { alg: "dir", enc: "A256GCM", kid: first, part, job };
  const encoded = Buffer.from(JSON.stringify(header)).toString("base64url");
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", keyOf(first), nonce).setAAD(Buffer.from(encoded));
  const body = Buffer.concat([cipher.update(text), cipher.final()]);
  const pieces = [nonce, body, cipher.getAuthTag()].map((one) => one.toString("base64url"));
  return `${encoded}..${pieces.join(".")}`;
}

function decrypt(jwe, job, part) {
  if (!jwe.startsWith("eyJ")) return jwe; // of before there were keys, or written by a script
  const [encoded, , nonce, body, tag] = jwe.split(".");
  const header = JSON.parse(Buffer.from(encoded, "base64url"));
  if (header.alg !== "dir" || header.enc !== "A256GCM" || header.job !== job || header.part !== part) {
    throw new Error("not a text of this job and part");
  }
  const cipher = createDecipheriv("aes-256-gcm", keyOf(header.kid), Buffer.from(nonce, "base64url"));
  cipher.setAAD(Buffer.from(encoded)).setAuthTag(Buffer.from(tag, "base64url"));
  return Buffer.concat([cipher.update(body, "base64url"), cipher.final()]);
}

function markUnder(id, digest) {
  const key = Buffer.from(hkdfSync("sha256", keyOf(id), "", "largesse digest", 32));
  return `${id}:${createHmac("sha256", key).update(digest).digest("hex")}`;
}

const [action, ...args] = process.argv.slice(2);
const given = readFileSync(0);
if (action === "encrypt") process.stdout.write(encrypt(given, ...args));
else if (action === "decrypt") process.stdout.write(decrypt(given.toString(), ...args));
else if (action === "mark") process.stdout.write(markUnder(first, given));
else {
  const [id, rest] = args[0].split(":");
  process.exit(args[0] === (rest ? markUnder(id, given) : given.toString()) ? 0 : 1);
}
