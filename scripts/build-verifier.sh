#!/usr/bin/env bash
# Compiles the verifier to WebAssembly for the console: web/app/src/verifier/generated.
set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=wasm32-unknown-unknown
out=web/app/src/verifier/generated
folder=${CARGO_TARGET_DIR:-target}

cargo build --locked --quiet --package craton-verifier --lib --target "$TARGET" --profile verifier
wasm-bindgen --target web --omit-default-module-path --out-dir "$out" --out-name verifier \
    "$folder/$TARGET/verifier/craton_verifier.wasm"
