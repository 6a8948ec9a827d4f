#!/usr/bin/env bash
# Installs what building, testing and demonstrating need, and nothing that is already there. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

# Commands or paths, and the Debian packages that bring them.
PACKAGES=(
    "cc gcc"
    "make make"
    "python3 python3"
    "curl curl"
    "openssl openssl"
    "strace strace"
    # Fault campaigns with clusters: networks, packet filters, namespaces and clocks.
    "ip iproute2"
    "/usr/sbin/nft nftables"
    "unshare util-linux"
    "faketime faketime"
    "psql postgresql-client"
    "/usr/lib/postgresql/15/bin/pgbench postgresql-15"
    "/usr/lib/postgresql/15/bin/initdb postgresql-15"
    "etcd etcd-server"
    "chromium chromium"
    "/usr/share/fonts/truetype/liberation fonts-liberation"
)
CARGO_TOOLS=(cargo-nextest cargo-deny)
NODE_VERSION_MIN=20.19
RUST_VERSION_MIN=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

say() { printf 'setup: %s\n' "$*"; }
fail() {
    say "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
# Whether version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        fail "these packages are missing and neither root nor sudo is here to install them: ${missing[*]}"
    fi
}

missing=()
for entry in "${PACKAGES[@]}"; do
    read -r command package <<<"$entry"
    if ! has "$command" && ! [ -e "$command" ] && [[ ! " ${missing[*]} " = *" $package "* ]]; then
        missing+=("$package")
    fi
done
if [ "${#missing[@]}" -gt 0 ]; then
    has apt-get || fail "this is no Debian; install these packages by hand: ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

has cargo || fail "Rust $RUST_VERSION_MIN or newer is missing: https://rustup.rs"
rust_version=$(rustc --version | cut -d ' ' -f 2)
at_least "$rust_version" "$RUST_VERSION_MIN" || fail "Rust $rust_version is too old, $RUST_VERSION_MIN is needed"

has node && has npm || fail "Node $NODE_VERSION_MIN or newer, with npm, is missing: https://nodejs.org"
node_version=$(node --version | tr -d v)
at_least "$node_version" "$NODE_VERSION_MIN" || fail "Node $node_version is too old, $NODE_VERSION_MIN is needed"

for tool in "${CARGO_TOOLS[@]}"; do
    if ! cargo "${tool#cargo-}" --version >/dev/null 2>&1; then
        say "installing $tool, which takes some minutes once"
        cargo install --locked --quiet "$tool"
    fi
done

# The verifier page of the console runs the verifier as WebAssembly. The tool must have the version of the library.
WASM_TARGET=wasm32-unknown-unknown
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM_TARGET" ]; then
    has rustup || fail "the Rust target $WASM_TARGET is missing, and rustup is not here to add it"
    say "adding the Rust target $WASM_TARGET"
    rustup --quiet target add "$WASM_TARGET"
fi
wasm_bindgen_version=$(sed -n 's/^wasm-bindgen = "=\(.*\)"/\1/p' Cargo.toml)
if [ "$(wasm-bindgen --version 2>/dev/null)" != "wasm-bindgen $wasm_bindgen_version" ]; then
    say "installing wasm-bindgen $wasm_bindgen_version, which takes some minutes once"
    cargo install --quiet wasm-bindgen-cli --version "$wasm_bindgen_version" --bin wasm-bindgen
fi
