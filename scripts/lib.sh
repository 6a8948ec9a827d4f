# Shared by demo.sh and bench.sh: a temporary world, its API, and JSON.

# The built programs. Set PROFILE=release before for the optimised ones.
BIN="${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}"

# Reads JSON from the standard input and prints what an expression after it says: json .cluster.id
json() {
    node -e '
        const value = eval("input => input" + process.argv[1])(JSON.parse(require("fs").readFileSync(0, "utf8")));
        console.log(typeof value === "object" ? JSON.stringify(value) : String(value));' "$1"
}

# Waits until a command succeeds: wait_for SECONDS COMMAND…
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "timed out waiting for: $*"
            return 1
        fi
        sleep 0.1
    done
}

# Starts `craton dev --temporary` in the background and sets WORLD (its process), READY (its ready file), BASE_URL and
# WORLD_DIR. $1 is a folder for its files.
start_world() {
    READY=$1/ready.json
    WORLD_LOG=$1/world.log
    "$BIN/craton" dev --temporary --ready-file "$READY" >"$WORLD_LOG" 2>&1 &
    WORLD=$!
    wait_for 120 world_is_ready
    BASE_URL=$(json .base_url <"$READY")
    WORLD_DIR=$(json .data_dir <"$READY")
}

world_is_ready() {
    if ! kill -0 "$WORLD" 2>/dev/null; then
        echo "craton dev ended; it said:"
        cat "$WORLD_LOG"
        exit 1
    fi
    [ -s "$READY" ]
}

# Ends the world with everything in it. Harmless when there is none.
stop_world() {
    if [ -n "${WORLD:-}" ]; then
        kill -TERM "$WORLD" 2>/dev/null || true
        wait "$WORLD" 2>/dev/null || true
        WORLD=
    fi
}

# Signs up in a headless browser and sets ORG and API_KEY. $1 is a folder for its files.
sign_up() {
    node web/e2e/signup.mjs --base-url="$BASE_URL" >"$1/signup.json"
    ORG=$(json .org.id <"$1/signup.json")
    API_KEY=$(json .api_key <"$1/signup.json")
}

# Calls the API: api METHOD PATH [BODY]. A refusal is shown and is a failure.
api() {
    curl --silent --show-error --fail-with-body --max-time 60 --request "$1" \
        --header "Authorization: Bearer $API_KEY" ${3:+--header "Content-Type: application/json" --data "$3"} \
        "$BASE_URL/api/v1/orgs/$ORG$2"
}

# Waits until an operation has ended; fails unless it succeeded.
await_operation() {
    local answer state deadline=$((SECONDS + 180))
    while [ "$SECONDS" -lt "$deadline" ]; do
        answer=$(api GET "/operations/$1?wait=30s")
        state=$(json .state <<<"$answer")
        case $state in
            succeeded) return ;;
            queued | running) ;;
            *)
                echo "the operation has $state: $answer"
                return 1
                ;;
        esac
    done
    echo "the operation has not ended: $answer"
    return 1
}
