#!/bin/sh
# Wait for the outcome of a job and print it: one JSON object.
#
#     result.sh JOB_ID [SECONDS]
set -eu
id=$1
tries=$((${2:-10} * 10))
tag=$(printf %s "$id" | cut -c 1-4)
prefix="{${LARGESSE_NAMESPACE:-largesse}:$((0x$tag % ${LARGESSE_SHARDS:-1}))}:"

ask() { redis-cli -c -u "${LARGESSE_REDIS_URL:?set it to the URL of Redis}" "$@"; }

# With encryption at rest the outcome is a JWE.
open() {
    if [ -n "${LARGESSE_ENCRYPTION_KEYS:-}" ]; then
        tr -d '\n' | node "$(dirname "$0")/jwe.mjs" decrypt "$id" outcome && echo
    else
        cat
    fi
}

while [ "$tries" -gt 0 ]; do
    outcome=$(ask GET "${prefix}out:$id")
    [ -n "$outcome" ] && printf '%s\n' "$outcome" | open && exit 0
    [ "$(ask EXISTS "${prefix}job:$id")" = 0 ] && echo "no such job" >&2 && exit 6
    sleep 0.1
    tries=$((tries - 1))
done
echo "no outcome yet: the job is $(ask HGET "${prefix}job:$id" state)" >&2
exit 5
