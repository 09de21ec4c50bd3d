// A receiver that believes the Standard Webhooks library for JavaScript: 204 for what it verifies, 400 for what it does not.
//
// The secret is in $SECRET, the library is found by $NODE_PATH; the port is the first line of standard output.

const http = require("node:http");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const webhook = new Webhook(process.env.SECRET);

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    try {
      webhook.verify(Buffer.concat(chunks), request.headers);
      response.writeHead(204).end();
    } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
      response.writeHead(400).end(error.message);
    }
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
