"""What schemathesis must know of posthaste that the document cannot say: which ids there are, and how MessagePack is written.

A format of the document whose values only the store knows has them from the environment.
"""

import json
import os
import struct

import schemathesis
from hypothesis import strategies as st

KNOWN = json.loads(os.environ["POSTHASTE_KNOWN"])

for name in ("event-id", "delivery-id", "endpoint-id", "job-id", "key-id", "account", "event-cursor", "delivery-cursor", "endpoint-cursor", "job-cursor", "key-cursor", "account-cursor", "uri", "profile", "secret"):
    schemathesis.openapi.format(name, st.sampled_from(KNOWN[name]))

# What hypothesis makes of these on its own is right by the pattern, and out of what a day or a year has.
schemathesis.openapi.format("period", st.builds("{}{}".format, st.integers(0, 300), st.sampled_from(["ms", "s", "m", "h", "d"])))
schemathesis.openapi.format("overlap", st.builds("{}{}".format, st.integers(0, 100), st.sampled_from(["ms", "s", "m", "h"])))
schemathesis.openapi.format("kept", st.builds("{}{}".format, st.integers(1, 300), st.sampled_from(["s", "m", "h", "d"])))
schemathesis.openapi.format("expiry", st.sampled_from(["1h", "90d", "2h30m", "2099-01-01T00:00:00Z", "2098-12-31t23:59:59.5+14:00"]))
schemathesis.openapi.format("since", st.sampled_from(["1970-01-01T00:00:00Z", "2024-02-28T17:15:42+01:00"]))
schemathesis.openapi.format("until", st.sampled_from(["2025-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]))
schemathesis.openapi.format("path", st.sampled_from(["/nowhere/outbox.redb"]))
schemathesis.openapi.format("network", st.sampled_from(["10.0.0.0/8", "203.0.113.7", "fd00::/8"]))
schemathesis.openapi.format("allowed", st.sampled_from(["127.0.0.0/8", "127.0.0.1/32"]))
schemathesis.openapi.format("media-type", st.sampled_from(["image/png", "text/plain; charset=utf-8", "application/octet-stream"]))
schemathesis.openapi.format("idempotency-key", st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40))
schemathesis.openapi.format("note", st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" \n"), max_size=200))
schemathesis.openapi.format("etag", st.sampled_from(['"x"', 'W/"y"', "*"]))
schemathesis.openapi.format("base64", st.sampled_from(["", "AQID", "/+8="]))
schemathesis.openapi.format("date-time", st.sampled_from(["1970-01-01T00:00:00Z", "2024-02-28T17:15:42.123456789+01:00", "2026-11-22T02:57:00-11:30", "2026-11-22t02:57:00z"]))


def packed(value):
    """`value` as MessagePack, in the widest form of each kind."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return b"\xd3" + struct.pack(">q", value)
        return b"\xcf" + struct.pack(">Q", value) if 0 <= value < 2**64 else packed(float(value))
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"\xdb" + struct.pack(">I", len(text)) + text
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))
    pairs = (packed(key) + packed(entry) for key, entry in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + b"".join(pairs)


@schemathesis.serializer("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
def msgpack(ctx, value):
    # A content type is for a payload of bytes, which JSON's schemas have no word for.
    if isinstance(value, dict) and "content_type" in value:
        value = {**value, "data": json.dumps(value.get("data")).encode()}
    return packed(value)


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def filter_case(ctx, case):
    """What a schema cannot say, and that its own key is left.

    `Idempotency-Key` is for one event that has no other id, every text is lines, a CloudEvent's integers have no point, its data is
    a text where it is no JSON, and a time ends after it has begun.
    """
    if case.method == "DELETE" and (case.path_parameters or {}).get("id") == KNOWN["own-key"]:
        return False
    key = (case.headers or {}).get("Idempotency-Key")
    if key is not None and (not isinstance(case.body, dict) or case.body.keys() & {"id", "specversion"}):
        return False
    body = case.body if isinstance(case.body, dict) else {}
    if case.path.endswith("/recover") and str(body.get("until", "~")) <= str(body.get("since", "")):
        return False
    # It takes a list that holds nothing for one with something wrong in it.
    if case.path.startswith("/v1/accounts") and case.method != "GET" and any(body.get(name, "") in (None, []) for name in ("allow", "deny", "event_types")):
        return case.meta is None or not case.meta.generation.mode.is_negative
    if case.media_type == "application/x-ndjson":
        return isinstance(case.body, str)
    events = case.body if isinstance(case.body, list) else [case.body]
    if any(isinstance(event, dict) and "specversion" in event and "datacontenttype" in event and not isinstance(event.get("data", ""), str) for event in events):
        return False
    extensions = [value for event in events if isinstance(event, dict) and "specversion" in event for name, value in event.items() if name != "data"]
    return not any(isinstance(value, float) for value in extensions)
