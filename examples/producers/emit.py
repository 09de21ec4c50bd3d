#!/usr/bin/env python3
"""Hands events to posthaste, with nothing but the standard library.

    python3 emit.py post TYPE ID [DATA]     one event over HTTP; DATA is JSON, from standard input where it is left out
    python3 emit.py lines [FILE]            an event a line over a stream, many on their way at once

POSTHASTE_SOCKET says where the socket is.

- An event is taken when it is answered with its id, not before.
- Give each event an id of your own, and hand it in again, unchanged, when in doubt: it is taken once. "duplicate" in the
  answer says that it was known, which is as good. Where a line has no id one is made here; for a run that can be
  repeated as a whole the ids must be in the file.
- 409 (id_conflict) says that you gave this id to another event: an error of yours, like all without Retry-After.
- 408, 429, 503 and 507 with Retry-After, and error lines with "retry_after", say: not now, but in so many seconds. Keep the event.

Exit codes: 0 taken, 64 wrong usage, 65 refused for good (lines: some were), 74 the input cannot be read, 75 not now (run it
again), 77 not allowed.
"""

import collections
import http.client
import json
import os
import select
import socket
import sys
import time
import uuid

PATIENCE = 60  # seconds without any success after which it gives up
IN_FLIGHT = 500  # lines without an answer; the daemon has 640 on their way at most


class NotNow(Exception):
    """Nothing is wrong with the event; keep it, and hand it in later."""


class Unreadable(Exception):
    """The input cannot be read."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def post(path, event):
    """Hands in one event, bytes that carry an id. Gives back status and answer, when that is the last word."""
    give_up = time.monotonic() + PATIENCE
    while True:
        pause, connection = 0.5, UnixConnection(path)
        try:
            connection.request("POST", "/v1/events", event, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status not in (408, 429, 503, 507):
                return response.status, answer
            reason, pause = answer["detail"], float(response.headers.get("retry-after", 1))
        except (OSError, http.client.HTTPException) as error:
            reason = error  # Was it taken? Nobody knows; handed in again with its id it is taken once.
        finally:
            connection.close()
        if time.monotonic() + pause > give_up:
            raise NotNow(reason)
        time.sleep(pause)


class Source:
    """The events of an open file, as its lines come, each with an id."""

    def __init__(self, file):
        self.file, self.lines, self.rest, self.more = file, collections.deque(), b"", True

    def fileno(self):
        return self.file.fileno()

    def read(self):
        """Takes what has come, and waits if nothing has: past Python's buffer, of which select() knows nothing."""
        try:
            chunk = os.read(self.fileno(), 65536)
        except OSError as error:
            raise Unreadable(error) from error
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        if not chunk:
            lines, self.more = [self.rest], False
        self.lines.extend(with_id(line) for line in map(bytes.strip, lines) if line)


def hand_in(path, source):
    """Hands in the lines of a Source; yields (line, answer) as each is settled.

    One loop reads the input, writes and reads answers, whichever is possible: who writes all before reading is stopped,
    in the middle, by full buffers on both sides, and who waits for the next line holds back those before it. After a
    lost connection what has no answer goes out again, first and in its order.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        while source.more and not source.lines:
            # However long that takes: it is no want of success.
            source.read()
            give_up = time.monotonic() + PATIENCE
        if not source.lines:
            return
        flying, refused, pause, reason = collections.deque(), [], 0.2, "the connection broke"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.setblocking(False)
                # The first line goes alone: the connection as a whole may be refused.
                out, rest, most, heard = b"", b"", 1, time.monotonic()
                while True:
                    # After a refusal for now nothing new goes out; what is on its way is waited for.
                    while source.lines and not refused and len(flying) < most and len(out) < 65536:
                        flying.append(source.lines.popleft())
                        out += flying[-1]
                    if not flying and (refused or not source.more):
                        break
                    wanted = [connection, source] if source.more and not source.lines and not refused else [connection]
                    silence = max(0, heard + 60 - time.monotonic()) if flying else None
                    readable, writable, _ = select.select(wanted, [connection] if out else [], [], silence)
                    if not readable and not writable:
                        raise TimeoutError("the daemon says nothing")
                    if connection in readable:
                        chunk, heard = connection.recv(65536), time.monotonic()
                        if not chunk and not flying:
                            break
                        if not chunk:
                            raise ConnectionResetError("the daemon has hung up")
                        *answers, rest = (rest + chunk).split(b"\n")
                        for answer in map(json.loads, answers):
                            line, error, most = flying.popleft(), answer.get("error", {}), IN_FLIGHT
                            if "retry_after" in error:
                                refused.append(line)
                                reason, pause = error["message"], max(pause, error["retry_after"])
                            else:
                                give_up = time.monotonic() + PATIENCE
                                yield line, answer
                    if connection in writable:
                        out = out[connection.send(out) :]
                    if source in readable:
                        source.read()
                        if not flying:
                            heard = time.monotonic()
                            give_up = heard + PATIENCE
        except OSError as error:
            reason = error
        again = refused + list(flying)
        source.lines.extendleft(reversed(again))
        if again or source.lines:
            if time.monotonic() + pause > give_up:
                raise NotNow(reason)
            time.sleep(pause)


def with_id(line):
    """The event with an id. What there is stays as it is, to the byte."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None  # The daemon says what is wrong with it.
    if isinstance(event, dict) and event and "id" not in event:
        line = b'{"id":"%s",' % str(uuid.uuid4()).encode() + line[1:]
    # The first byte of a connection says what is spoken; a space says lines, whatever stands in them.
    return b" " + line + b"\n"


def main(arguments):
    path = os.environ.get("POSTHASTE_SOCKET", "/run/posthaste/posthaste.sock")
    if arguments[:1] == ["post"] and len(arguments) in (3, 4):
        data = arguments[3] if len(arguments) == 4 else sys.stdin.buffer.read().decode()
        head = json.dumps({"type": arguments[1], "id": arguments[2]})
        status, answer = post(path, f'{head[:-1]}, "data": {data}}}'.encode())
        print(json.dumps(answer), file=sys.stdout if status < 300 else sys.stderr)
        return 0 if status < 300 else 77 if status in (401, 403) else 65
    if arguments[:1] == ["lines"] and len(arguments) in (1, 2):
        code = 0
        try:
            file = open(arguments[1], "rb", buffering=0) if len(arguments) == 2 else sys.stdin
        except OSError as error:
            raise Unreadable(error) from error
        for line, answer in hand_in(path, Source(file)):
            if "error" in answer:
                print(json.dumps(answer["error"]), file=sys.stderr)
                if answer["error"]["code"] == "not_allowed":
                    return 77  # so is the next one
                code = 65
        return code
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NotNow as error:
        print(f"not now: {error}", file=sys.stderr)
        sys.exit(75)
    except Unreadable as error:
        print(f"the input cannot be read: {error}", file=sys.stderr)
        sys.exit(74)
