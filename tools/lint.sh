#!/usr/bin/env bash
# Format, clippy, documentation, licences and bans, unused dependencies, links in the Markdown files.
set -euo pipefail
cd "$(dirname "$0")/.."

DENY=0.20.2
MACHETE=0.9.2

# A cargo command of at least this version, built once into cargo's own folder.
cargo_tool() {
    local name=$1 version=$2
    if [ "$("cargo-$name" --version 2>/dev/null | awk '{ print $NF }')" != "$version" ]; then
        echo "== lint: building cargo-$name $version (once, a few minutes)"
        cargo install --quiet --debug --locked "cargo-$name" --version "$version" --force
    fi
}

echo '== lint: format'
cargo fmt --all --check
cargo fmt --manifest-path tools/surfpool/Cargo.toml --check
echo '== lint: clippy'
cargo clippy --locked --workspace --all-targets -- -D warnings
echo '== lint: documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --quiet
echo '== lint: licences, bans, sources'
cargo_tool deny "$DENY"
cargo deny --log-level error check bans licenses sources
echo '== lint: unused dependencies'
cargo_tool machete "$MACHETE"
cargo machete
echo '== lint: links in Markdown'
python3 tools/check_links.py
