#!/usr/bin/env bash
# Every test, with a count at the end. Arguments go to `cargo test`.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

echo '== tests: building, then running (real Postgres, NATS, anvil and surfpool; each test has a database of its own)'
# The tests wait for servers more than they compute: more threads than cores keep two cores busy.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} RUST_BACKTRACE=${RUST_BACKTRACE:-0} \
    timeout "${TEST_TIMEOUT:-45m}" cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

passed=$(grep -E '^test result:' "$log" | awk '{ for (i = 1; i < NF; i++) if ($(i + 1) ~ /^passed/) n += $i } END { print n + 0 }')
failed=$(grep -E '^test result:' "$log" | awk '{ for (i = 1; i < NF; i++) if ($(i + 1) ~ /^failed/) n += $i } END { print n + 0 }')
if [ "$failed" -gt 0 ]; then
    echo '== failed:'
    grep -E '^test .* FAILED$' "$log"
fi
[ "$status" -eq 124 ] && echo '== tests: stopped, they took too long'
if [ "$status" -eq 0 ] && [ "$passed" -eq 0 ]; then
    echo '== tests: none ran'
    status=1
fi
echo "$passed passed, $failed failed"
exit "$status"
