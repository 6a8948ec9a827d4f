#!/usr/bin/env bash
# Licences, sources and banned crates always; known vulnerabilities when their database can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo deny --locked check bans licenses sources
if timeout 60 cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check advisories
else
    echo "check-dependencies: advisories SKIPPED, the RustSec database cannot be reached" >&2
fi
