#!/usr/bin/env python3
"""Says whether a webhook is genuine: WEBHOOK_SECRET=whsec_… python3 verify.py ID TIMESTAMP SIGNATURES < body

The three are the headers webhook-id, webhook-timestamp and webhook-signature.
"""

import base64
import hmac
import os
import re
import sys
import time

TOLERANCE = 300  # seconds, either way


def verify(secret, delivery, timestamp, signatures, body):
    """Raises ValueError if the request is not genuine. `body` is the bytes that came, before anything reads them."""
    if not re.fullmatch("[0-9]{1,15}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE:
        raise ValueError("the timestamp is missing, or too far from now")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{delivery}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    # While a rotation of secrets overlaps there are several: one of them is enough. All are compared, in constant time.
    if not any([hmac.compare_digest(one.encode(), expected.encode()) for one in signatures.split(" ")]):
        raise ValueError("the signature is another")


if __name__ == "__main__":
    try:
        verify(os.environ["WEBHOOK_SECRET"], *sys.argv[1:4], sys.stdin.buffer.read())
    except ValueError as error:
        sys.exit(str(error))
