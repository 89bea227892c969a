#!/usr/bin/env bash
# `make bench`: a release build, a load generator, one run. Arguments go to the bench (`--seconds 10`, `--only floor,http`).
set -euo pipefail
cd "$(dirname "$0")/.."

AUTOCANNON=9.0.0
EVENTSOURCING=9.5.6
tools=$PWD/.wopay/tools

echo '== bench: release build of the gateway and the bench (the first time takes several minutes)'
cargo build --locked --release -p wopay-app -p wopay-bench
target=${CARGO_TARGET_DIR:-target}/release

# wrk of a Debian or Ubuntu, unpacked into .wopay/tools without installing it: needs no root.
unpack_wrk() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    echo '== bench: unpacking wrk from the distribution'
    local dir=$tools/wrk state=$tools/wrk/apt
    rm -rf "$dir" && mkdir -p "$state/lists/partial" "$state/archives/partial"
    local options=(-qq -o "Dir::State::lists=$state/lists" -o "Dir::Cache=$state" -o APT::Sandbox::User=)
    apt-get "${options[@]}" update &&
        (cd "$state/archives" && apt-get "${options[@]}" download wrk libluajit-5.1-2) || return 1
    local package
    for package in "$state"/archives/*.deb; do dpkg-deb -x "$package" "$dir" || return 1; done
    rm -rf "$state"
    cat >"$dir/run" <<'RUN'
#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu*) exec "$here/usr/bin/wrk" "$@"
RUN
    chmod +x "$dir/run"
}

runs() { "$1" --version 2>/dev/null | grep -q '^wrk '; }

if command -v wrk >/dev/null; then
    generator=(--wrk "$(command -v wrk)")
elif runs "$tools/wrk/run" || { unpack_wrk && runs "$tools/wrk/run"; }; then
    generator=(--wrk "$tools/wrk/run")
else
    echo "== bench: no wrk here: autocannon $AUTOCANNON from npm, which takes far more CPU time from the gateway"
    [ -f "$tools/autocannon/node_modules/autocannon/autocannon.js" ] ||
        npm install --prefix "$tools/autocannon" --no-audit --no-fund --loglevel=error "autocannon@$AUTOCANNON"
    generator=(--autocannon "$tools/autocannon/node_modules/autocannon/autocannon.js")
fi

# The peer in Python. Without it the bench says so and goes on.
if [ ! -d "$tools/eventsourcing/eventsourcing-$EVENTSOURCING.dist-info" ]; then
    echo "== bench: installing eventsourcing $EVENTSOURCING from PyPI"
    rm -rf "$tools/eventsourcing"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$tools/eventsourcing" \
        "eventsourcing==$EVENTSOURCING" 'psycopg[binary,pool]>=3.2,<4' || echo '== bench: that failed; one peer less'
fi
[ -d "$tools/eventsourcing/eventsourcing" ] && generator+=(--eventsourcing "$tools/eventsourcing")

# The peer in Node.js: our project for it, and the versions that it names. Without it the bench says so, loudly, and goes on.
if [ "$(cat "$tools/ponder/.stamp" 2>/dev/null)" != "$(cat bench/ponder/package.json)" ]; then
    echo '== bench: installing Ponder from npm'
    rm -rf "$tools/ponder"
    mkdir -p "$tools/ponder"
    cp bench/ponder/package.json "$tools/ponder/"
    if npm install --prefix "$tools/ponder" --no-audit --no-fund --loglevel=error; then
        cp bench/ponder/package.json "$tools/ponder/.stamp"
    else
        echo '== bench: THAT FAILED: nothing to compare catching up with'
    fi
fi
if [ -f "$tools/ponder/.stamp" ]; then
    cp -r bench/ponder/ponder.config.ts bench/ponder/ponder.schema.ts bench/ponder/src "$tools/ponder/"
    generator+=(--ponder "$tools/ponder")
fi

exec "$target/wopay-bench" --wopay "$target/wopay" "${generator[@]}" "$@"
