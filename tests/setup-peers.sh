#!/bin/sh
# Installs the peers that `make bench-peers` compares with. Quick and silent when nothing is missing.
set -eu

missing=""
for package in haproxy nftables; do
    case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) in
    ii*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

echo "setup: missing Debian packages:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "setup: installing them needs root. Run: sudo sh tests/setup-peers.sh" >&2
    exit 1
fi

# Neither may start a service of its own: the comparison starts them in its namespaces. See setup.sh.
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
case $missing in
*haproxy*) [ ! -d /run/systemd/system ] || systemctl --quiet disable haproxy.service || true ;;
esac
echo "setup: done"
