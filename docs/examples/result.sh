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

while [ "$tries" -gt 0 ]; do
    outcome=$(ask GET "${prefix}out:$id")
    [ -n "$outcome" ] && echo "$outcome" && exit 0
    [ "$(ask EXISTS "${prefix}job:$id")" = 0 ] && echo "no such job" >&2 && exit 6
    sleep 0.1
    tries=$((tries - 1))
done
echo "no outcome yet: the job is $(ask HGET "${prefix}job:$id" state)" >&2
exit 5
