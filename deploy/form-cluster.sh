#!/bin/sh
# Makes one cluster of the nodes named (host:port ...), a replica for each primary, and ends when it is whole.
# Run again it changes nothing: nodes that know one another already are only waited for.
set -eu
cli=${CLI:-valkey-cli}
info() { "$cli" -h "${1%:*}" -p "${1##*:}" cluster info; }

# A node may have heard that every slot is served before it has heard of every node.
is_whole() {
    found=$(info "$1") || return 1
    known=${found#*cluster_known_nodes:}
    case $found in *cluster_state:ok*) [ "${known%%[!0-9]*}" -ge "$2" ] ;; *) return 1 ;; esac
}

case $(info "$1") in
    *cluster_known_nodes:1[!0-9]*) "$cli" --cluster create "$@" --cluster-replicas 1 --cluster-yes ;;
esac

for node in "$@"; do
    tries=60
    until is_whole "$node" "$#"; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            echo "$node does not find a whole cluster. Its data may be deleted: the index is rebuilt from the log." >&2
            exit 1
        fi
        sleep 1
    done
done
echo "The cluster is whole."
