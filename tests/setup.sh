#!/bin/sh
# Installs what a fresh Debian 12 lacks for building and testing. Quick and silent when nothing is missing.
set -eu
. "$(dirname "$0")/packages.sh"

# To build: the XDP filter is C for clang's BPF target; libxdp comes as source and needs m4, libelf, libpcap, zlib.
build="gcc make pkg-config clang llvm libelf-dev libpcap-dev zlib1g-dev linux-libc-dev libc6-dev m4"
# To run the lab: namespaces and devices, clients, servers, a look at the wire, losses on it.
lab="iproute2 ethtool iputils-ping curl nginx iperf3 tcpdump util-linux openssl nftables"
# To count instructions per packet.
count="valgrind"

# The real-swarm lab starts dockerds of its own. A machine that has a Docker keeps it, whoever it is from.
if [ ! -x /usr/bin/dockerd ] && [ ! -x /usr/sbin/dockerd ]; then
    lab="$lab docker.io"
fi

# shellcheck disable=SC2086 # lists of words
install_packages "sudo make setup" $build $lab $count
[ -n "$missing" ] || exit 0
disable_units nginx nginx.service
disable_units docker.io docker.service docker.socket containerd.service
echo "setup: done"
