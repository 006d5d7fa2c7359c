#!/bin/sh
# Installs what a fresh Debian 12 lacks for building and testing. Quick and silent when nothing is missing.
set -eu

# To build: the XDP filter is C for clang's BPF target; libxdp comes as source and needs m4, libelf, libpcap, zlib.
build="gcc make pkg-config clang llvm libelf-dev libpcap-dev zlib1g-dev linux-libc-dev libc6-dev m4"
# To run the lab: namespaces and devices, clients, servers, a look at the wire.
lab="iproute2 ethtool iputils-ping curl nginx iperf3 tcpdump util-linux"
# To count instructions per packet.
count="valgrind"

# The real-swarm lab starts dockerds of its own. A machine that has a Docker keeps it, whoever it is from.
if [ ! -x /usr/bin/dockerd ] && [ ! -x /usr/sbin/dockerd ]; then
    lab="$lab docker.io"
fi

missing=""
for package in $build $lab $count; do
    case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) in
    ii*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

echo "setup: missing Debian packages:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "setup: installing them needs root. Run: sudo make setup" >&2
    exit 1
fi

# The nginx package would start a server on port 80, docker.io a dockerd. policy-rc.d is Debian's way to forbid that; the lab starts
# servers of its own, in namespaces. An existing policy is kept and put back.
policy=/usr/sbin/policy-rc.d
saved=""
restore() {
    rm -f "$policy"
    [ -z "$saved" ] || mv "$saved" "$policy"
}
if [ -e "$policy" ]; then
    saved="$policy.before-sluicegate.$$"
    mv "$policy" "$saved"
fi
trap restore EXIT
trap 'exit 130' INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 # a list of words
apt-get -qq install --yes --no-install-recommends $missing >/dev/null

# Nor shall it start at the next boot, if it is here only because of us.
case $missing in
*nginx*) [ ! -d /run/systemd/system ] || systemctl --quiet disable nginx.service || true ;;
esac
case $missing in
*docker.io*)
    for unit in docker.service docker.socket containerd.service; do
        [ ! -d /run/systemd/system ] || systemctl --quiet disable "$unit" || true
    done
    ;;
esac
echo "setup: done"
