#!/bin/sh
# Enqueue a job without Python, with a shell, sha256sum and redis-cli (or valkey-cli).
#
#     enqueue.sh KIND KEY < payload.json        prints the id of the job, and "new" or "known"
#
# KIND is gift_checkout or personalized_offer, KEY is your name for the request. The payload is
# canonical JSON: members sorted, no blanks, ASCII, tables as rows, no nulls. `jq -ajcS .` writes it.
set -eu
kind=$1
key=$2
given=$key
payload=$(cat)
site=${CHARGEBEE_SITE:?set it to the name of the site}
lua=${LARGESSE_LUA:-worker/engine/lua} # the folder of the scripts

sha256() { sha256sum | cut -d ' ' -f 1; }

# The same site, kind and key give the same id, and so the same job.
tag=$(printf %s "$site" | sha256 | cut -c 1-4)
id=$tag$(printf 'largesse job\037%s\037%s\037%s' "$site" "$kind" "$key" | sha256 | cut -c 1-28)
prefix="{${LARGESSE_NAMESPACE:-largesse}:$((0x$tag % ${LARGESSE_SHARDS:-1}))}:"

# Another digest under the same id is a conflict.
request=$(printf '{"kind":"%s","options":{},"payload":%s,"site":"%s"}' "$kind" "$payload" "$site")
digest=$(printf %s "$request" | sha256)

message=$(
    printf '{"queue_name":"chargebee","actor_name":"%s","args":[],' "$kind"
    printf '"kwargs":{"payload":%s,"options":{}},' "$payload"
    printf '"options":{"digest":"%s","site":"%s","lane":"interactive"},' "$digest" "$site"
    printf '"message_id":"%s","message_timestamp":%s000}' "$id" "$(date +%s)"
)

# With encryption at rest, message, key and digest are hidden from everybody who reads Redis.
mark=$digest
jwe=
if [ -n "${LARGESSE_ENCRYPTION_KEYS:-}" ]; then
    jwe=$(dirname "$0")/jwe.mjs
    message=$(printf %s "$message" | node "$jwe" encrypt "$id" message)
    mark=$(printf %s "$digest" | node "$jwe" mark)
    key=$(printf %s "$key" | node "$jwe" encrypt "$id" key)
fi

# -x takes the last argument, the message, from standard input: no process list shows what it holds.
script=$(cat "$lua/keys.lua" "$lua/site.lua" "$lua/job.lua" "$lua/enqueue.lua")
reply=$(
    printf %s "$message" |
        redis-cli -c -u "${LARGESSE_REDIS_URL:?set it to the URL of Redis}" -x EVAL "$script" 1 "$prefix" \
            "$id" job "$mark" chargebee "$kind" "$site" interactive "$key" 0 0
)

# After a rotation of keys the same request has another mark: it is compared under the old key.
same() {
    [ -n "$jwe" ] && printf %s "$digest" | node "$jwe" same "$(printf '%s\n' "$reply" | sed -n 3p)"
}

case $reply in
    new* | known*) echo "$id ${reply%% *}" | head -n 1 ;;
    conflict*)
        if ! same; then
            echo "the key $given belongs to another payload" >&2
            exit 2
        fi
        echo "$id known"
        ;;
    *) echo "Redis did not take it; try again: $reply" >&2 && exit 4 ;;
esac
