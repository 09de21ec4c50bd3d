// Says whether a webhook is genuine: WEBHOOK_SECRET=whsec_… node verify.mjs ID TIMESTAMP SIGNATURES < body
//
// The three are the headers webhook-id, webhook-timestamp and webhook-signature.

import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const TOLERANCE = 300; // seconds, either way

/** Throws if the request is not genuine. `body` is a Buffer of the bytes that came, before anything reads them. */
export function verify(secret, delivery, timestamp, signatures, body) {
  if (!/^[0-9]{1,15}$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) {
    throw new Error("the timestamp is missing, or too far from now");
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const hmac = createHmac("sha256", key).update(`${delivery}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${hmac.digest("base64")}`);
  // While a rotation of secrets overlaps there are several: one of them is enough. Lengths are no secret.
  const genuine = signatures.split(" ").some((one) => {
    const given = Buffer.from(one);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!genuine) {
    throw new Error("the signature is another");
  }
}

const [delivery, timestamp, signatures] = process.argv.slice(2);
try {
  verify(process.env.WEBHOOK_SECRET, delivery, timestamp, signatures, readFileSync(0));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
