#!/bin/sh
# Hands events to posthaste from a shell:
#
#   sh emit.sh post TYPE ID < DATA          one event over HTTP, with curl; DATA is JSON
#   sh emit.sh lines FILE                   an event a line over a stream, with socat or nc; each with an id of its own
#   sh emit.sh spool DIRECTORY NAME < EVENT one event as a file, with nothing but mv
#
# POSTHASTE_SOCKET says where the socket is.
#
# - An event is taken when it is answered with its id, not before; a file when it has been renamed and synced.
# - Give each event an id of your own, and hand it in again, unchanged, when in doubt: it is taken once. "duplicate" in
#   the answer says that it was known, which is as good.
# - 409 (id_conflict) says that you gave this id to another event: an error of yours, like the others of 4xx.
# - 408, 429, 503 and 507, and error lines with "retry_after", say: not now, but in so many seconds. Keep the event.
#
# Exit codes: 0 taken, 64 wrong usage, 65 refused for good, 69 no daemon, 74 FILE cannot be read, 75 not now (run it again),
# 77 not allowed.
set -eu
export LC_ALL=C # lines are bytes
socket=${POSTHASTE_SOCKET:-/run/posthaste/posthaste.sock}

usage() {
    sed -n '4,6s/^# *//p' "$0" >&2
    exit 64
}

fail() {
    echo "$2" >&2
    exit "$1"
}

# Nothing that would have to be escaped in JSON, or would lead out of a directory.
plain() {
    case $1 in '' | .* | *[!A-Za-z0-9._:-]*) fail 64 "only A-Z a-z 0-9 . _ : - here, please: $1" ;; esac
}

# curl and socat do not say why they cannot connect; who may not is not helped by waiting.
permitted() {
    directory=$(dirname "$socket")
    if [ -e "$directory" ] && [ ! -x "$directory" ]; then fail 77 "you may not enter $directory"; fi
    if [ -e "$socket" ] && [ ! -w "$socket" ]; then fail 77 "you may not use $socket"; fi
}

post() {
    plain "$1" && plain "$2"
    permitted
    # curl waits as Retry-After says. All errors may be retried, lost answers too: that is what the id is for.
    status=$({ printf '{"type":"%s","id":"%s","data":' "$1" "$2" && cat && printf '}'; } |
        curl --silent --show-error --unix-socket "$socket" --max-time 60 \
            --retry 8 --retry-all-errors --retry-max-time 60 \
            --header 'content-type: application/json' --data-binary @- \
            --output "$work/answer" --write-out '%{http_code}' http://localhost/v1/events) || {
        if [ $? -eq 7 ]; then fail 69 "nobody listens on $socket"; fi
        fail 75 "the connection broke: hand the event in again, with the same id"
    }
    case $status in
    2??) cat "$work/answer" && echo ;;
    401 | 403) fail 77 "$(cat "$work/answer")" ;;
    408 | 429 | 5??) fail 75 "$(cat "$work/answer")" ;;
    *) fail 65 "$(cat "$work/answer")" ;;
    esac
}

lines() {
    if [ -d "$1" ] || [ ! -r "$1" ]; then fail 74 "it is not there, or cannot be read: $1"; fi
    permitted
    [ -S "$socket" ] || fail 69 "there is no socket $socket"
    # Both close their side at the end of the input and read on to the end of the answers. They write and read at the
    # same time: who sends all before he reads an answer is stopped, in the middle, by full buffers on both sides.
    if command -v socat >/dev/null; then
        set -- "$1" socat -t 3600 - "UNIX-CONNECT:$socket"
    else
        set -- "$1" nc -N -U "$socket"
    fi
    file=$1 && shift
    # The first byte says what is spoken. A space says lines, also where the first one is bad.
    # So is an empty line at the end no event, and ends one that has no end.
    { printf ' ' && cat "$file" && echo; } | "$@" >"$work/answers" || true
    sent=$(grep -c '[^[:space:]]' "$file" || true)
    answered=$(wc -l <"$work/answers")
    # An answer that was cut short is none.
    head -n "$answered" "$work/answers" | tee "$work/whole" | grep '^{"error"' >&2 || true
    if grep -q '^{"error":{"code":"not_allowed"' "$work/whole"; then exit 77; fi
    [ "$answered" -ge "$sent" ] ||
        fail 75 "$answered of $sent lines were answered: hand the same file in again, what was taken is known by its id"
    if grep -q '^{"error".*"retry_after":' "$work/whole"; then exit 75; fi
    if grep -q '^{"error"' "$work/whole"; then exit 65; fi
}

spool() {
    plain "$2"
    [ -d "$1" ] || fail 64 "there is no directory $1"
    [ ! -e "$1/$2.json" ] || fail 75 "$1/$2.json still waits to be taken: give each event a NAME of its own"
    # Under a name with a dot it is not looked at. On the same file system, so that mv is a rename: all or nothing.
    part=$1/.$2.$$.part
    trap 'rm -f "$part"; rm -rf "$work"' EXIT
    # Never through a link that somebody has put there.
    set -C
    cat >"$part" || fail 74 "$part cannot be written"
    set +C
    sync "$part" 2>/dev/null || sync
    mv "$part" "$1/$2.json"
    # From here on it outlives a power cut. It disappears when it is taken; what is refused is in failed/, with a .reason.
    sync "$1" 2>/dev/null || sync
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case ${1:-}:$# in
post:3) post "$2" "$3" ;;
lines:2) lines "$2" ;;
spool:3) spool "$2" "$3" ;;
*) usage ;;
esac
