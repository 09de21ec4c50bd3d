#!/usr/bin/env python3
"""Receives Cloudglue's webhooks, as posthaste sends them with the profile `cloudglue`: python3 receiver.py [PORT]

Every request carries the endpoint's secret itself; WEBHOOK_SECRET in the environment replaces the example's. There is no
signature and no timestamp, so nothing tells a recorded request from a new one: let it come over https only.
"""

import hmac
import json
import os
import queue
import re
import sys
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("WEBHOOK_SECRET", "fYb1Tq8fNwmZLcKxRZc0lJ4wVnD3uQ7s")
ACCEPTED = "OK"
LARGEST = 1 << 20  # bytes of a body
REMEMBERED = 100_000  # deliveries


class Refused(Exception):
    """The status that is answered in place of 200, and why."""


def read(headers, body):
    """The delivery and its event, if the request is what it should be."""
    secret = headers.get("x-webhook-secret", "")
    if not hmac.compare_digest(secret.encode(), SECRET.encode()):  # in constant time
        raise Refused(401, "the secret is another")
    return headers["x-webhook-delivery-id"], (headers["x-webhook-event"], json.loads(body))


def handle(delivery, event):
    """What the event is for. The whole object is had from the provider's API."""
    event_type, data = event
    say(f"handled {delivery} {event_type} {data.get('job_id')}")


class Inbox:
    """Takes each delivery once; another thread handles it, so that the answer need not wait for that.

    What waits here is lost when the program ends: a real receiver puts delivery and event into its database, in one
    transaction, before it answers.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.known = OrderedDict()
        self.waiting = queue.Queue(maxsize=1000)
        threading.Thread(target=self.work, daemon=True).start()

    def take(self, delivery, event):
        """Whether it is the first time; queue.Full if there is no room."""
        with self.lock:
            if delivery in self.known:
                return False
            self.waiting.put_nowait((delivery, event))
            self.known[delivery] = None
            if len(self.known) > REMEMBERED:
                self.known.popitem(last=False)
            return True

    def work(self):
        while True:
            delivery, event = self.waiting.get()
            try:
                handle(delivery, event)
            except Exception as error:  # one event that cannot be handled does not stop the others
                say(f"failed {delivery}: {error!r}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are used again
    timeout = 30  # seconds that a connection may be silent

    def do_POST(self):
        try:
            delivery, event = read(self.headers, self.body())
            if not delivery:
                raise Refused(400, "no delivery is named")
            fresh = INBOX.take(delivery, event)
            if not fresh:
                say(f"repeated {delivery}")
            self.answer(200, ACCEPTED if fresh else "Already processed")
        except Refused as refused:
            status, reason = refused.args
            say(f"refused: {reason}")
            self.answer(status, reason)
        except (ValueError, KeyError, TypeError) as error:
            say(f"not understood: {error!r}")
            self.answer(400, "Not understood")
        except queue.Full:
            self.answer(503, "Busy")  # it comes again

    def body(self):
        length = self.headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > LARGEST:
            self.close_connection = True
            raise Refused(413, "the body's length is not said, or too much")
        return self.rfile.read(int(length))

    def answer(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def say(line):
    sys.stdout.write(line + "\n")  # in one piece: two threads print
    sys.stdout.flush()


if __name__ == "__main__":
    INBOX = Inbox()
    PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8491
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    say(f"listening on http://127.0.0.1:{server.server_port}/hooks")
    server.serve_forever()
