#!/usr/bin/env bash
# Moves a cluster of three server processes from an older build to this one and back, one at a time, while clients write,
# then goes over to the newer format version.
#
#   scripts/upgrade.sh              from a build of this tree that does not know the newest format version
#   scripts/upgrade.sh REVISION     from a build of that revision
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")

cargo build --locked --package craton-server --package craton-upgrade
OLDER=$TARGET/debug/craton-server-previous
if [ $# -gt 0 ]; then
    REVISION=$(git rev-parse --verify "$1^{commit}")
    TREE=$TARGET/upgrade/$REVISION
    OLDER=$TARGET/upgrade/build/debug/craton-server
    [ -d "$TREE" ] || git worktree add --quiet --detach "$TREE" "$REVISION"
    trap 'git worktree remove --force "$TREE"' EXIT
    (cd "$TREE" && CARGO_TARGET_DIR=$TARGET/upgrade/build cargo build --locked --package craton-server)
fi
"$TARGET/debug/craton-upgrade" roll --from "$OLDER" --to "$TARGET/debug/craton-server"
