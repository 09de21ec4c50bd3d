#!/bin/sh
# Says whether a webhook is genuine: WEBHOOK_SECRET=whsec_… sh verify.sh ID TIMESTAMP SIGNATURES < body
#
# The three are the headers webhook-id, webhook-timestamp and webhook-signature. To look into one webhook, not for a
# receiver: while openssl runs, others on the machine can see the key among its arguments.
set -euf
id=$1 timestamp=$2 signatures=$3

case $timestamp in
'' | 0* | *[!0-9]* | ????????????*) echo "the timestamp is missing, or no number" >&2 && exit 1 ;;
esac
age=$(($(date +%s) - timestamp))
if [ "${age#-}" -gt 300 ]; then echo "the timestamp is too far from now" >&2 && exit 1; fi

key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
expected=v1,$({ printf '%s.%s.' "$id" "$timestamp" && cat; } |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)

# A shell compares in no constant time; with digests of both it gives nothing away.
digest() { printf %s "$1" | openssl dgst -sha256; }
for one in $signatures; do
    if [ "$(digest "$one")" = "$(digest "$expected")" ]; then exit 0; fi
done
echo "the signature is another" >&2 && exit 1
