#!/bin/sh
# Installs the peers that `make bench-peers` compares with. Quick and silent when nothing is missing.
set -eu
. "$(dirname "$0")/packages.sh"

install_packages "sudo sh tests/setup-peers.sh" haproxy nftables
[ -n "$missing" ] || exit 0
disable_units haproxy haproxy.service
echo "setup: done"
