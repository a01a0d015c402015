#!/bin/sh
# Makes one cluster of the nodes named (host:port ...), a replica for each primary, and ends when it is whole.
# Run again it changes nothing: nodes that know one another already are only waited for.
set -eu
cli=${CLI:-valkey-cli}
info() { "$cli" -h "${1%:*}" -p "${1##*:}" cluster info; }

case $(info "$1") in
    *cluster_known_nodes:1[!0-9]*) "$cli" --cluster create "$@" --cluster-replicas 1 --cluster-yes ;;
esac

for node in "$@"; do
    tries=60
    until info "$node" | grep -q cluster_state:ok; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            echo "$node does not find a whole cluster. Its data may be deleted: the index is rebuilt from the log." >&2
            exit 1
        fi
        sleep 1
    done
done
echo "The cluster is whole."
