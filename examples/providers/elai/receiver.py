#!/usr/bin/env python3
"""Receives Elai's webhooks, as posthaste sends them with the profile `elai`: python3 receiver.py [PORT]

The secret is the example's; WEBHOOK_SECRET in the environment replaces it.
"""

import hashlib
import hmac
import json
import os
import queue
import re
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("WEBHOOK_SECRET", "pN3wQz7rTt1yUe5kXm9vBd2hJs6aLc8f").encode()
WINDOW = 300  # seconds
ACCEPTED = "OK"
LARGEST = 1 << 20  # bytes of a body
REMEMBERED = 100_000  # deliveries


class Refused(Exception):
    """The status that is answered in place of 200, and why."""


def read(headers, body):
    """The delivery and its event, if the request is what it should be."""
    timestamp = headers.get("elai-timestamp", "")
    if not re.fullmatch("[0-9]{1,15}", timestamp) or abs(time.time() - int(timestamp) / 1000) > WINDOW:
        raise Refused(401, "the timestamp is missing, or not of these 5 minutes")
    signed = timestamp.encode() + b"." + body
    expected = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), headers.get("elai-signature", "").encode()):
        raise Refused(401, "the signature is another")
    return headers["delivery-id"], json.loads(body)


def handle(delivery, event):
    """What the event is for."""
    video = event["video"]
    say(f"handled {delivery} {event['event']} {video['_id']} {event.get('error') or video.get('url')}")


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
    PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8492
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    say(f"listening on http://127.0.0.1:{server.server_port}/hooks")
    server.serve_forever()
