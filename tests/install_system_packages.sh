#!/bin/sh
# Installs from Debian what the tests of deploy/ and bench/ try them with, when something is missing and this user may.
# For a machine that only tests: two of them are services, which the system may start. Without them the tests that need
# one skip, and say so.
missing() {
    for program in nginx caddy redis-server redis-cli docker-compose systemd-analyze wrk haproxy pgbouncer zsh curl; do
        command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || printf '%s ' "$program"
    done
}

if [ -n "$(missing)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing for the tests of deploy/ and bench/: $(missing)..."
    packages=$(missing | sed 's/nginx/nginx-light/; s/redis-cli/redis-tools/; s/systemd-analyze/systemd/')
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # they are words
    apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages >/dev/null
fi
[ -z "$(missing)" ] || echo "The tests of deploy/ and bench/ go without: $(missing)" >&2
