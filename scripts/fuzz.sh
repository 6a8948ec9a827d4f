#!/usr/bin/env bash
# Fuzzes the parsers: `scripts/fuzz.sh SECONDS [TARGET]`, every target in turn when none is named. Needs the nightly compiler
# and cargo-fuzz, and installs them. What is reached is kept in target/fuzz/corpus, what fails in target/fuzz/artifacts.
# `scripts/fuzz.sh minimise [TARGET]` writes a small selection of what was reached to core/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

# What an input may take.
INPUT_BYTES_MAX=32768
INPUT_SECONDS_MAX=10
ALLOCATION_MB_MAX=128
MEMORY_MB_MAX=1536
# What the committed corpus of a target may take.
CORPUS_FILES_MAX=30
CORPUS_BYTES_MAX=14000

DIRECTORY=core/fuzz/libfuzzer
WORK=$PWD/target/fuzz

say() { printf 'fuzz: %s\n' "$*"; }
cargo_fuzz() {
    local command=$1
    shift
    cargo +nightly fuzz "$command" --fuzz-dir "$DIRECTORY" --target-dir "$WORK" "$@"
}

if ! cargo +nightly --version >/dev/null 2>&1; then
    say "installing the nightly compiler"
    rustup --quiet toolchain install nightly --profile minimal
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz, which takes a minute once"
    cargo install --locked --quiet cargo-fuzz
fi

known=$(sed -n 's/^name = "\(.*\)"/\1/p' "$DIRECTORY/Cargo.toml" | tail -n +2)
mode=${1:?how many seconds for each target, or minimise}
targets=${2:-$known}
# The same versions as in the workspace.
cp Cargo.lock "$DIRECTORY/Cargo.lock"

run() {
    local target=$1
    mkdir -p "$WORK/artifacts/$target"
    # A quarantine of freed memory as large as usual would count as the target's own.
    ASAN_OPTIONS=quarantine_size_mb=16 cargo_fuzz run "$target" "$WORK/corpus/$target" "core/fuzz/corpus/$target" -- \
        -max_total_time="$mode" -max_len="$INPUT_BYTES_MAX" -timeout="$INPUT_SECONDS_MAX" \
        -malloc_limit_mb="$ALLOCATION_MB_MAX" -rss_limit_mb="$MEMORY_MB_MAX" \
        -artifact_prefix="$WORK/artifacts/$target/" -print_final_stats=1
}

# Merges what was reached, and takes inputs of every size until the bounds are met.
minimise() {
    local target=$1 merged=$WORK/merged/$1 corpus=core/fuzz/corpus/$1 files bytes=0 count=0 step size file
    rm -rf "$merged"
    mkdir -p "$merged"
    cargo_fuzz run "$target" "$merged" "$WORK/corpus/$target" "$corpus" -- -merge=1 -max_len=4096
    rm -rf "$corpus"
    mkdir -p "$corpus"
    mapfile -t files < <(find "$merged" -type f -size -4k -printf '%s %p\n' | sort -n | cut -d ' ' -f 2)
    step=$(((${#files[@]} + CORPUS_FILES_MAX - 1) / CORPUS_FILES_MAX))
    for ((at = 0; at < ${#files[@]}; at += step)); do
        file=${files[at]}
        size=$(stat --format %s "$file")
        if ((bytes + size <= CORPUS_BYTES_MAX && count < CORPUS_FILES_MAX)); then
            cp "$file" "$corpus/"
            bytes=$((bytes + size)) count=$((count + 1))
        fi
    done
    say "$target: $count inputs, $bytes bytes"
}

cargo run --quiet --locked --package craton-fuzz -- "$WORK/corpus"
for target in $targets; do
    mkdir -p "core/fuzz/corpus/$target"
    if [ "$mode" = minimise ]; then
        minimise "$target"
    else
        say "$target for $mode s"
        run "$target"
    fi
done
