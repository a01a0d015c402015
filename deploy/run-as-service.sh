#!/bin/sh
# Runs a command of simple-twitter, as root, the way the service runs: as its user and with its settings, in its folder.
# Installed as /usr/local/bin/simple-twitter by README.md. The settings are NAME='value' lines, as systemd reads them too.
set -eua
DATA_DIR=/var/lib/simple-twitter
if [ -f /etc/simple-twitter.env ]; then . /etc/simple-twitter.env; fi
cd "$DATA_DIR"
exec runuser -u simple-twitter -- /opt/simple-twitter/current/.venv/bin/simple-twitter "$@"
