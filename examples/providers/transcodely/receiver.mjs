// Receives Transcodely's webhooks, as posthaste sends them with the profile `transcodely`: node receiver.mjs [PORT]
//
// The secret is the example's; WEBHOOK_SECRET in the environment replaces it.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const SECRET = process.env.WEBHOOK_SECRET ?? "whsec_kT9vRm3xZp7wQd5n"; // the text as it is
const WINDOW = 300; // seconds
const LARGEST = 1 << 20; // bytes of a body
const REMEMBERED = 100_000; // deliveries

const say = (line) => console.log(line);

/** Why the request is not to be trusted; undefined if it is. The body is the bytes that came. */
function refusal(headers, body) {
  const timestamp = headers["x-transcodely-timestamp"] ?? "";
  if (!/^[0-9]{1,15}$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > WINDOW) {
    return "the timestamp is missing, or not of these 5 minutes";
  }
  const hmac = createHmac("sha256", SECRET).update(`${timestamp}.`).update(body);
  const expected = Buffer.from(`sha256=${hmac.digest("hex")}`);
  const given = Buffer.from(headers["x-transcodely-signature"] ?? "");
  // timingSafeEqual throws where the lengths differ; these are no secret.
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    return "the signature is another";
  }
}

/** What the event is for. */
function handle(delivery, { event, job }) {
  say(`handled ${delivery} ${event} ${job.id}`);
  if (event === "job.completed" || event === "job.partial") {
    for (const output of job.outputs) {
      say(`  ${output.id} ${output.status} ${output.output_url}`);
    }
  }
}

/** Deliveries that were taken, the oldest first. A real receiver asks its database, and puts the event there, too. */
const known = new Set();

function take(delivery, event) {
  if (known.has(delivery)) {
    say(`repeated ${delivery}`);
    return false;
  }
  known.add(delivery);
  if (known.size > REMEMBERED) {
    known.delete(known.values().next().value);
  }
  // After the answer: the sender need not wait for it.
  setImmediate(() => {
    try {
      handle(delivery, event);
    } catch (error) {
      say(`failed ${delivery}: ${error}`);
    }
  });
  return true;
}

/** The status and text that answer the request. */
function answer(headers, body) {
  const reason = refusal(headers, body);
  if (reason !== undefined) {
    say(`refused: ${reason}`);
    return [401, "Invalid signature"];
  }
  const delivery = headers["x-transcodely-delivery-id"];
  if (!delivery) {
    return [400, "no delivery is named"];
  }
  let event;
  try {
    event = JSON.parse(body.toString("utf8"));
  } catch (error) {
    say(`not understood: ${error}`);
    return [400, "Not understood"];
  }
  return [200, take(delivery, event) ? "OK" : "Already processed"];
}

const server = createServer((request, response) => {
  const chunks = [];
  let length = 0;
  request.on("error", () => {}); // the sender has gone: it comes again
  request.on("data", (chunk) => {
    length += chunk.length;
    if (length > LARGEST) {
      response.writeHead(413, { connection: "close" }).end("too much\n");
      request.destroy();
      return;
    }
    chunks.push(chunk);
  });
  request.on("end", () => {
    const [status, text] = answer(request.headers, Buffer.concat(chunks));
    const headers = { "content-type": "text/plain; charset=utf-8", "content-length": text.length + 1 };
    response.writeHead(status, headers).end(`${text}\n`);
  });
});

server.listen(Number(process.argv[2] ?? 8495), "127.0.0.1", () => {
  say(`listening on http://127.0.0.1:${server.address().port}/webhooks/transcodely`);
});
