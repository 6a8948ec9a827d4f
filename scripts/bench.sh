#!/usr/bin/env bash
# Inserts and point reads through the PostgreSQL protocol, Craton beside PostgreSQL 15 in the same run, and the time
# from POST /clusters to a connectable cluster. Both servers: TLS, SCRAM, one connection per client, prepared
# statements, every acknowledged write on the disk (synchronous_commit=on), defaults for everything else.
#
#   scripts/bench.sh                    everything
#   scripts/bench.sh --seconds 30       how long each measurement takes, 10 unless told
#   scripts/bench.sh --clients "1 8"    how many clients, "1 16 64" unless told
#   scripts/bench.sh --creations 10     how many clusters are made, 5 unless told
#   scripts/bench.sh --profile          instead: where the server spends its time under 16 inserting clients (perf)
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
PROFILE=release
source scripts/lib.sh

SECONDS_EACH=10
CLIENTS="1 16 64"
CREATIONS=5
PERF=false
# Rows that reads choose from.
READ_ROWS=100000
POSTGRES_BIN=/usr/lib/postgresql/15/bin

while [ $# -gt 0 ]; do
    case $1 in
        --seconds | --clients | --creations)
            [ $# -ge 2 ] || {
                echo "bench: $1 needs a value" >&2
                exit 2
            }
            ;;&
        --seconds) SECONDS_EACH=$2 && shift ;;
        --clients) CLIENTS=$2 && shift ;;
        --creations) CREATIONS=$2 && shift ;;
        --profile) PERF=true ;;
        *)
            echo "bench: unknown argument $1" >&2
            exit 2
            ;;
    esac
    shift
done

WORK=$(mktemp -d)
POSTGRES=
finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ] && [ -n "${CURRENT_LOG:-}" ]; then
        echo "bench: FAILED; the end of $CURRENT_LOG:" >&2
        tail -n 20 "$CURRENT_LOG" >&2
    fi
    stop_world
    if [ -n "$POSTGRES" ]; then
        as_postgres "$POSTGRES_BIN/pg_ctl" --pgdata "$POSTGRES" --mode immediate --silent stop || true
    fi
    rm -rf "$WORK"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf 'bench: %s\n' "$*" >&2; }

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

# Each server's environment for psql and pgbench, which libpq reads.
use_postgres() {
    export PGHOST=localhost PGHOSTADDR=127.0.0.1 PGPORT=$POSTGRES_PORT PGDATABASE=postgres PGUSER=postgres
    export PGPASSWORD=bench PGSSLMODE=verify-full PGSSLROOTCERT=$WORK/postgres.crt
}

use_craton() {
    export PGHOST=$CRATON_HOST PGHOSTADDR=$CRATON_ADDRESS PGPORT=$CRATON_PORT PGDATABASE=main PGUSER=app
    export PGPASSWORD=$CRATON_PASSWORD PGSSLMODE=verify-full PGSSLROOTCERT=$WORK/craton-ca.pem
}

start_postgres() {
    local folder=$WORK/postgres
    CURRENT_LOG=$WORK/postgres/log
    chmod 755 "$WORK"
    mkdir "$folder"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$folder/server.key" -out "$WORK/postgres.crt" 2>/dev/null
    cp "$WORK/postgres.crt" "$folder/server.crt"
    echo bench >"$folder/password"
    [ "$(id -u)" != 0 ] || chown -R postgres: "$folder"
    as_postgres "$POSTGRES_BIN/initdb" --pgdata "$folder/data" --username postgres --auth scram-sha-256 \
        --pwfile "$folder/password" --encoding UTF8 --locale C >/dev/null
    POSTGRES_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$WORK/postgresql.conf" <<CONFIG
listen_addresses = '127.0.0.1'
port = $POSTGRES_PORT
unix_socket_directories = ''
synchronous_commit = on
fsync = on
ssl = on
ssl_cert_file = '$folder/server.crt'
ssl_key_file = '$folder/server.key'
CONFIG
    as_postgres tee -a "$folder/data/postgresql.conf" <"$WORK/postgresql.conf" >/dev/null
    as_postgres "$POSTGRES_BIN/pg_ctl" --pgdata "$folder/data" --log "$folder/log" --wait --silent start
    POSTGRES=$folder/data
}

# Creates a cluster and sets CRATON_*; prints nothing.
create_cluster() {
    api POST /clusters "{\"name\": \"$1\"}" >"$WORK/created.json"
    CLUSTER=$(json .cluster.id <"$WORK/created.json")
    CRATON_PASSWORD=$(json .credentials.password <"$WORK/created.json")
    await_operation "$(json .operation.id <"$WORK/created.json")"
    api GET "/clusters/$CLUSTER/connection" >"$WORK/connection.json"
    api GET "/clusters/$CLUSTER/ca.pem" >"$WORK/craton-ca.pem"
    CRATON_HOST=$(json .host <"$WORK/connection.json")
    CRATON_ADDRESS=$(json .host_address <"$WORK/connection.json")
    CRATON_PORT=$(json .port <"$WORK/connection.json")
}

delete_cluster() {
    api DELETE "/clusters/$CLUSTER" >"$WORK/deleted.json"
    await_operation "$(json .operation.id <"$WORK/deleted.json")"
}

prepare() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
        --command 'CREATE TABLE inserts (id bigint PRIMARY KEY, payload text NOT NULL)' \
        --command 'CREATE TABLE reads (id bigint PRIMARY KEY, payload text NOT NULL)' \
        --command "\\copy reads from $WORK/reads.csv csv"
}

# Sets TPS and LATENCY_MS: run SCRIPT CLIENTS
run() {
    local threads=$(($2 < 2 ? 1 : 2))
    pgbench --no-vacuum --protocol prepared --file "$WORK/$1.sql" --client "$2" --jobs "$threads" \
        --time "$SECONDS_EACH" >"$WORK/pgbench.out" 2>"$WORK/pgbench.err" || {
        cat "$WORK/pgbench.out" "$WORK/pgbench.err" >&2
        return 1
    }
    if ! grep -q 'number of failed transactions: 0 ' "$WORK/pgbench.out"; then
        cat "$WORK/pgbench.out" "$WORK/pgbench.err" >&2
        return 1
    fi
    TPS=$(awk '/^tps = /{ print $3 }' "$WORK/pgbench.out")
    LATENCY_MS=$(awk '/^latency average = /{ print $4 }' "$WORK/pgbench.out")
}

compare() {
    local script=$1 title=$2 clients postgres_tps postgres_latency
    for clients in $CLIENTS; do
        say "$title, $clients clients"
        use_postgres && run "$script" "$clients"
        postgres_tps=$TPS postgres_latency=$LATENCY_MS
        use_craton && run "$script" "$clients"
        awk -v title="$title" -v clients="$clients" -v p="$postgres_tps" -v pl="$postgres_latency" \
            -v c="$TPS" -v cl="$LATENCY_MS" 'BEGIN {
                printf "| %s | %d | %.0f/s, %.2f ms | %.0f/s, %.2f ms | %.2f |\n", title, clients, p, pl, c, cl, c / p }'
    done
}

creations() {
    local number begin
    for number in $(seq "$CREATIONS"); do
        begin=$EPOCHREALTIME
        create_cluster "bench-$number"
        use_craton
        psql --no-psqlrc --quiet --tuples-only --command 'SELECT 1' >/dev/null
        awk -v from="$begin" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", to - from }'
        delete_cluster
    done
}

report() {
    perf report --input "$WORK/perf.data" --call-graph none --stdio "$@" 2>/dev/null | grep -v -e '^#' -e '^ *$'
}

profile() {
    command -v perf >/dev/null || {
        say "perf is missing; on Debian it is in the package linux-perf"
        exit 1
    }
    local server
    server=$(json .pid <"$(echo "$WORLD_DIR"/node-*/instances/"$CLUSTER".1/process.json)")
    say "inserts, 16 clients, process $server"
    perf record --quiet --freq 199 --call-graph dwarf,16384 --pid "$server" --output "$WORK/perf.data" \
        -- sleep "$SECONDS_EACH" &
    use_craton && run inserts 16
    wait $!
    printf 'inserts, 16 clients: %.0f/s\n' "$TPS"
    say "reading what perf recorded, which takes a while"
    echo
    echo "share of the server's processor time, with everything that is called from there:"
    report --children --sort symbol |
        awk '/ craton_[a-z]+::| <craton_[a-z]+::|__x64_sys_| schedule$/ && !/\(inlined\)/ && ++lines <= 30 {
                share = $1; sub(/^.*\] /, ""); sub(/[ -]*$/, ""); print share, $0 }'
    echo
    echo "by thread:"
    report --no-children --sort comm | awk '++lines <= 10'
}

say "building for release"
cargo build --locked --release --workspace --bins --quiet
say "starting Craton"
CURRENT_LOG=$WORK/world.log
start_world "$WORK"
sign_up "$WORK"
create_cluster bench

payload=$(printf 'x%.0s' $(seq 256))
cat >"$WORK/inserts.sql" <<SQL
\set id random(1, 9000000000000000000)
INSERT INTO inserts (id, payload) VALUES (:id, '$payload');
SQL
cat >"$WORK/reads.sql" <<SQL
\set id random(1, $READ_ROWS)
SELECT payload FROM reads WHERE id = :id;
SQL
awk -v rows="$READ_ROWS" -v payload="$payload" 'BEGIN { for (id = 1; id <= rows; id++) print id "," payload }' \
    >"$WORK/reads.csv"

use_craton && prepare
if [ "$PERF" = true ]; then
    profile
    exit 0
fi
say "starting PostgreSQL"
start_postgres
use_postgres && prepare
CURRENT_LOG=$WORLD_LOG

echo "$(nproc) processors, $("$POSTGRES_BIN/postgres" --version), Craton $("$BIN/craton" --version | cut -d ' ' -f 2), $SECONDS_EACH s each"
echo
echo "| what | clients | PostgreSQL | Craton | ratio |"
echo "|---|---|---|---|---|"
compare inserts "insert of 256 bytes, durable"
compare reads "read by primary key"
echo
say "creating $CREATIONS clusters"
times=$(creations | sort -n | tr '\n' ' ')
echo "From POST /clusters to the first row through psql, $CREATIONS runs in seconds: $times"
