#!/usr/bin/env bash
# The main job, from sign-up to a verified receipt, on a world of its own. Each step prints its time and what it found.
#
#   scripts/demo.sh           builds, runs every step, cleans up
#   scripts/demo.sh --keep    leaves console and database running at the end, until Ctrl-C
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
source scripts/lib.sh

KEEP=false
for argument in "$@"; do
    case $argument in
        --keep) KEEP=true ;;
        *)
            echo "demo: unknown argument $argument" >&2
            exit 2
            ;;
    esac
done

DATA=examples/wildlife-strikes
# A report whose correction is followed from the table to the proof.
REPORT=20
WORK=$(mktemp -d)
STEP="the preparation"
STEPS=0
# Where a failing step's reason is likely to be found.
RELEVANT_LOG=
BEGIN=$EPOCHREALTIME
exec 3>&1

elapsed() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f", to - from }'; }

finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ]; then
        {
            echo
            echo "demo: FAILED at: $STEP"
            if [ -s "$WORK/step.out" ]; then
                echo "--- what the step wrote"
                tail -n 30 "$WORK/step.out"
            fi
            if [ -n "$RELEVANT_LOG" ] && [ -s "$RELEVANT_LOG" ]; then
                echo "--- the end of $RELEVANT_LOG"
                tail -n 20 "$RELEVANT_LOG"
            fi
        } >&3
    fi
    stop_world
    rm -rf "$WORK"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a step: step TITLE FUNCTION
step() {
    local begin=$EPOCHREALTIME
    STEP=$1
    STEPS=$((STEPS + 1))
    printf '%2d  %-64s' "$STEPS" "$1" >&3
    "$2" >"$WORK/step.out" 2>&1
    printf '%7s s\n' "$(elapsed "$begin")" >&3
    sed 's/^/      /' "$WORK/step.out" >&3
}

build() {
    cargo build --locked --workspace --bins --quiet
}

world() {
    start_world "$WORK"
    RELEVANT_LOG=$WORLD_DIR/logs/platform.log
    echo "a control plane and three agents at $BASE_URL"
}

person() {
    sign_up "$WORK"
    echo "$(json .user.email <"$WORK/signup.json") has the organisation $(json .org.name <"$WORK/signup.json") ($ORG)"
}

create_cluster() {
    api POST /clusters '{"name": "patient-safety", "node_count": 3}' >"$WORK/created.json"
    CLUSTER=$(json .cluster.id <"$WORK/created.json")
    OPERATION=$(json .operation.id <"$WORK/created.json")
    PGPASSWORD=$(json .credentials.password <"$WORK/created.json")
    export PGPASSWORD
    echo "$CLUSTER, recorded at position $(json .receipt.position <"$WORK/created.json") of the control plane's own log"
}

cluster_is_ready() {
    await_operation "$OPERATION"
    api GET "/clusters/$CLUSTER" >"$WORK/cluster.json"
    [ "$(json .state <"$WORK/cluster.json")" = ready ]
    # The first node's files; its log is the one to read when SQL fails.
    INSTANCE=$(instance 1)
    RELEVANT_LOG=$INSTANCE/server.log
    echo "three nodes on three agents; each was probed through its own endpoint: TLS, login, a write, a read"
}

# The directory of a member of the cluster: instance NUMBER
instance() { echo "$WORLD_DIR"/node-*/instances/"$CLUSTER.$1"; }

members() { json '.members.map(member => member.member).join(" ")' <"$WORK/connection.json"; }

sql() { psql "$CONNECTION" --no-psqlrc --set ON_ERROR_STOP=1 --quiet --tuples-only --no-align "$@"; }

connect() {
    api GET "/clusters/$CLUSTER/connection" >"$WORK/connection.json"
    api GET "/clusters/$CLUSTER/ca.pem" >"$WORK/ca.pem"
    # The pasted line as the console shows it, with the certificate in its place.
    CONNECTION=$(json .psql <"$WORK/connection.json" | sed -e 's/^psql "//' -e 's/"$//' \
        -e "s|sslrootcert=[^ ]*|sslrootcert=$WORK/ca.pem|")
    [[ $CONNECTION = *sslmode=verify-full* ]]
    json '.log_keys.find(key => key.database === "main").verifier_key' <"$WORK/connection.json" >"$WORK/log.key"
    sql --command 'SELECT version()'
    psql --version
    if PGPASSWORD=wrong sql --command 'SELECT 1' >"$WORK/wrong" 2>&1; then
        echo "a wrong password was accepted"
        return 1
    fi
    echo "and with a wrong password: $(sed -n 's/.*FATAL:  *//p' "$WORK/wrong" | head -n 1)"
}

create_table() {
    sql --file "$DATA/schema.sql"
}

load() {
    sql --command "\\copy wildlife_strikes from $DATA/wildlife_strikes.csv csv header"
    local rows
    rows=$(sql --command 'SELECT count(*) FROM wildlife_strikes')
    [ "$rows" -eq "$(($(wc -l <"$DATA/wildlife_strikes.csv") - 1))" ]
    echo "$rows reports of aircraft that met wildlife, 1990 to 2002"
    sql --field-separator ', ' --command "
        SELECT species, count(*), sum(cost_total_usd) FROM wildlife_strikes
        WHERE damage = 'Substantial' GROUP BY species ORDER BY 3 DESC LIMIT 3"
}

change() {
    POSITION=$(sql --command 'SELECT craton_position()')
    TIME=$(sql --command 'SELECT now()')
    BEFORE=$(sql --command "SELECT damage, cost_total_usd FROM wildlife_strikes WHERE report = $REPORT")
    sql <<SQL
UPDATE wildlife_strikes SET damage = 'Minor', cost_repair_usd = 1800, cost_total_usd = 1800 WHERE report = $REPORT;
DELETE FROM wildlife_strikes WHERE report = 10000;
BEGIN;
UPDATE wildlife_strikes SET wildlife_size = 'Large' WHERE species = 'Canada goose' AND wildlife_size <> 'Large';
UPDATE wildlife_strikes SET cost_other_usd = cost_other_usd + 250 WHERE airport = 'LAGUARDIA NY' AND damage = 'Substantial';
COMMIT;
SQL
    AFTER=$(sql --command "SELECT damage, cost_total_usd FROM wildlife_strikes WHERE report = $REPORT")
    [ "$BEFORE" != "$AFTER" ]
    echo "report $REPORT: $BEFORE becomes $AFTER"
}

past() {
    local at_position at_time count
    at_position=$(sql --command "
        SELECT damage, cost_total_usd FROM wildlife_strikes AS OF POSITION $POSITION WHERE report = $REPORT")
    at_time=$(sql --command "
        SELECT damage, cost_total_usd FROM wildlife_strikes FOR SYSTEM_TIME AS OF TIMESTAMP '${TIME%+00}' WHERE report = $REPORT")
    count=$(sql --command "SELECT count(*) FROM wildlife_strikes AS OF POSITION $POSITION")
    [ "$at_position" = "$BEFORE" ] && [ "$at_time" = "$BEFORE" ] && [ "$count" -eq 10000 ]
    echo "AS OF POSITION $POSITION: $at_position"
    echo "FOR SYSTEM_TIME AS OF $TIME: $at_time"
}

receipt() {
    sql --command "SELECT craton_receipt('wildlife_strikes', $REPORT)" >"$WORK/receipt.txt"
    head -n 1 "$WORK/receipt.txt"
    echo "$(wc -l <"$WORK/receipt.txt") lines, $(wc -c <"$WORK/receipt.txt") bytes"
}

# Runs a command without any network where that can be done, to show that it needs none.
offline() {
    if unshare --net true 2>/dev/null; then
        unshare --net "$@"
    else
        "$@"
    fi
}

verify_receipt() {
    offline "$BIN/craton" verify receipt "$WORK/receipt.txt" --key "$WORK/log.key"
    offline "$BIN/craton" verify receipt "$WORK/receipt.txt" --key "$WORK/log.key" --json >"$WORK/verified.json"
    [ "$(json .changes[0].after.damage <"$WORK/verified.json")" = Minor ]
}

forge_receipt() {
    # In the disclosure, and still base64 afterwards, so that the change itself would read differently.
    local position=400
    until [[ $(tail -c "+$((position + 1))" "$WORK/receipt.txt" | head -c 1) = [b-yB-Y2-7] ]]; do
        position=$((position + 1))
    done
    flip "$WORK/receipt.txt" "$WORK/forged.txt" "$position"
    expect_refusal receipt "$WORK/forged.txt"
}

copy_log() {
    # The key's name ends with the database's id, which the folder is called after.
    local tenant
    tenant=$(sed -e 's/+.*//' -e 's|.*/||' "$WORK/log.key")
    cp -r "$INSTANCE/data/tenants/$tenant/log" "$WORK/log"
    offline "$BIN/craton" verify log "$WORK/log" --key "$WORK/log.key" --allow-torn-tail
}

forge_log() {
    local segment
    segment=$(find "$WORK/log" -name '*.segment' | sort | head -n 1)
    FLIPPED=100000
    cp "$segment" "$WORK/whole.segment"
    flip "$WORK/whole.segment" "$segment" "$FLIPPED"
    echo "byte $FLIPPED of $(basename "$segment"), one bit"
    expect_refusal log "$WORK/log"
    NAMED=$("$BIN/craton" verify log "$WORK/log" --key "$WORK/log.key" --json | json .record) || true
    [ -n "$NAMED" ]
}

# Copies a file with one bit of one byte flipped: flip FROM TO BYTE
flip() {
    local byte
    byte=$(od -An -tu1 -j "$3" -N 1 "$1")
    # shellcheck disable=SC2059
    {
        head -c "$3" "$1"
        printf "\\x$(printf %02x $((byte ^ 1)))"
        tail -c "+$(($3 + 2))" "$1"
    } >"$2.flipped"
    mv "$2.flipped" "$2"
}

# Verification must say no, with exit status 1 and not 2: expect_refusal receipt|log PATH
expect_refusal() {
    local status=0
    offline "$BIN/craton" verify "$1" "$2" --key "$WORK/log.key" || status=$?
    [ "$status" -eq 1 ]
}

# Whatever went wrong and was survived is said in a log.
quiet_logs() {
    local logs=("$WORLD_DIR"/logs/*.log "$WORLD_DIR"/node-*/instances/*/server.log)
    if grep -hE '"level":"(WARN|ERROR)"| (WARN|ERROR) ' "${logs[@]}"; then
        return 1
    fi
    echo "${#logs[@]} logs of ${#logs[@]} processes"
}

# Writes one row after the other until told to stop, and notes when each was acknowledged: write_rows WRITER
write_rows() {
    local id=$(($1 * 1000000)) error=$WORK/writer.$1.error
    until [ -e "$WORK/enough" ]; do
        id=$((id + 1))
        until sql --command "INSERT INTO ledger VALUES ($id, $1)" 2>"$error"; do
            # Written, and only the answer was lost with the connection.
            if grep -q 'duplicate key' "$error"; then break; fi
            if [ -e "$WORK/give-up" ]; then return 1; fi
        done
        echo "$EPOCHREALTIME $id" >>"$WORK/acknowledged.$1"
    done
}

# Whether so many rows were acknowledged since a time: acknowledged COUNT SINCE
acknowledged() {
    [ "$(cat "$WORK"/acknowledged.* 2>/dev/null | awk -v since="$2" '$1 > since' | wc -l)" -ge "$1" ]
}

leader() { api GET "/clusters/$CLUSTER" | json '.nodes.find(node => node.role === "leader")?.member'; }

has_leader() { [ "$(leader)" != undefined ]; }

lose_leader() {
    local writers=() writer member killed status=0
    sql --command 'CREATE TABLE ledger (id BIGINT PRIMARY KEY, writer BIGINT NOT NULL)'
    for writer in 1 2 3 4; do
        write_rows "$writer" &
        writers+=($!)
    done
    wait_for 30 acknowledged 40 0
    wait_for 30 has_leader
    member=$(leader)
    killed=$EPOCHREALTIME
    kill -KILL "$(json .pid <"$(instance "$member")/process.json")"
    wait_for 60 acknowledged 100 "$killed" || { touch "$WORK/give-up"; return 1; }
    touch "$WORK/enough"
    for writer in "${writers[@]}"; do wait "$writer" || status=$?; done
    [ "$status" -eq 0 ]
    RESUMED=$(cat "$WORK"/acknowledged.* | sort -n | awk -v killed="$killed" '
        last != "" && $1 > killed && $1 - last > gap { gap = $1 - last } { last = $1 } END { printf "%.2f", gap }')
    echo "node $member led and was killed; the longest time without a write was $RESUMED s"
}

# The ids on one member: ids NUMBER
ids() {
    local keywords
    keywords=$(json ".members.filter(member => member.member === $1).map(
        member => \`hostaddr=\${member.host_address} port=\${member.port} host=\${member.host}\`)[0]" <"$WORK/connection.json")
    psql "$(echo "$CONNECTION" | sed -e 's/host=[^ ]* hostaddr=[^ ]* port=[^ ]* //') $keywords" \
        --no-psqlrc --quiet --tuples-only --no-align --command 'SELECT id FROM ledger ORDER BY id'
}

# Whether a member has exactly the acknowledged rows: has_every_row NUMBER
has_every_row() { ids "$1" 2>/dev/null | cmp --silent - "$WORK/acknowledged"; }

nothing_lost() {
    local member
    cut -d ' ' -f 2 "$WORK"/acknowledged.* | sort -n >"$WORK/acknowledged"
    for member in $(members); do wait_for 60 has_every_row "$member"; done
    [ "$(sql --command "SELECT count(*) FROM craton_history('ledger')")" -eq "$(wc -l <"$WORK/acknowledged")" ]
    echo "$(wc -l <"$WORK/acknowledged") acknowledged rows, each there once, on every node"
}

# What the log of the database is on a member, as one hash: log_hash NUMBER
log_hash() {
    local tenant
    tenant=$(sed -e 's/+.*//' -e 's|.*/||' "$WORK/log.key")
    (cd "$(instance "$1")/data/tenants/$tenant/log" && sha256sum -- *.segment | sha256sum)
}

logs_are_equal() {
    local member hashes=()
    for member in $(members); do hashes+=("$(log_hash "$member")"); done
    [ "$(printf '%s\n' "${hashes[@]}" | sort -u | wc -l)" -eq 1 ]
}

replicas_are_equal() {
    wait_for 60 logs_are_equal
    echo "SHA-256 of the log's segments on every node: $(log_hash 1 | cut -c 1-16)…"
}

echo "Craton: the main job, from sign-up to a verified receipt" >&3
echo >&3
step "build" build
step "a world of real processes: craton dev" world
step "sign up with a passkey in a headless browser, on the real page" person
step "create a cluster of three nodes: POST /api/v1/orgs/{org}/clusters" create_cluster
step "wait until it is connectable" cluster_is_ready
step "connect with stock psql, sslmode=verify-full" connect
step "create a table" create_table
step "load 10,000 rows of public data with COPY" load
step "correct, delete, and change several in one transaction" change
step "ask for the past, by position and by time" past
step "fetch the receipt of a row" receipt
step "verify it offline, without any network" verify_receipt
step "flip one bit of the receipt: it is refused" forge_receipt
step "copy the database's log off the node and verify it offline" copy_log
step "flip one bit of the copy: the record is named" forge_log
step "no process has logged a warning or an error" quiet_logs
step "kill the node that leads, in the middle of a load" lose_leader
step "no acknowledged row is lost, none is there twice" nothing_lost
step "the logs of the three nodes are byte-identical" replicas_are_equal

TOOK=$(elapsed "$BEGIN")
if [ "$KEEP" = true ]; then
    echo >&3
    echo "Still running: $BASE_URL, and psql \"$CONNECTION\" with the password $PGPASSWORD; Ctrl-C ends it." >&3
    STEP="the world that was kept"
    trap 'exit 0' INT TERM
    wait "$WORLD"
fi
STEP="the end"
stop_world
echo >&3
echo "demo: $STEPS steps in $TOOK s: a row loaded by psql was proved offline by its receipt, a flipped bit of the log was found in record $NAMED, and the loss of the leader was survived in $RESUMED s" >&3
