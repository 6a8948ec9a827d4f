#!/usr/bin/env bash
# Walks through every page of the built console in a real browser, against the mock of the API.
set -euo pipefail
cd "$(dirname "$0")/../web"

WAIT_SECONDS_MAX=30

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')
log=$(mktemp)
node node_modules/vite/bin/vite.js preview --port "$port" >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; rm -f "$log"' EXIT

export BASE_URL="http://localhost:$port"
deadline=$((SECONDS + WAIT_SECONDS_MAX))
until curl --silent --fail --output /dev/null "$BASE_URL"; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$server" 2>/dev/null; then
        echo "test-console: the console does not answer at $BASE_URL; its server said:" >&2
        cat "$log" >&2
        exit 1
    fi
    sleep 0.1
done
if ! node e2e/console.mjs; then
    echo "test-console: repeat with scripts/test-console.sh, or SCREENSHOT_DIR=… scripts/test-console.sh to look" >&2
    exit 1
fi
