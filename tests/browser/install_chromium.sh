#!/bin/sh
# Installs Debian's chromium for the browser tests, when there is none and this user may. Else says what is missing.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing chromium for the browser tests ..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium \
        >/dev/null && exit 0
fi
echo "There is no chromium, so the browser tests cannot run. Install it with: apt-get install chromium" >&2
