# To be sourced: installs Debian packages. Quick and silent when nothing is missing.

# install_packages REMEDY PACKAGE...: installs those that are missing, and sets `missing` to their names. REMEDY is the
# command to run as root.
install_packages() {
    remedy=$1
    shift
    missing=""
    for package in "$@"; do
        case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) in
        ii*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0

    echo "setup: missing Debian packages:$missing"
    if [ "$(id -u)" != 0 ]; then
        echo "setup: installing them needs root. Run: $remedy" >&2
        exit 1
    fi
    forbid_starting
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # shellcheck disable=SC2086 # a list of words
    apt-get -qq install --yes --no-install-recommends $missing >/dev/null
}

# Some packages would start a server of their own. policy-rc.d is Debian's way to forbid that; ours run in namespaces.
# An existing policy is kept and put back.
forbid_starting() {
    policy=/usr/sbin/policy-rc.d
    saved=""
    if [ -e "$policy" ]; then
        saved="$policy.before-sluicegate.$$"
        mv "$policy" "$saved"
    fi
    trap restore_policy EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

restore_policy() {
    rm -f "$policy"
    [ -z "$saved" ] || mv "$saved" "$policy"
}

# disable_units PACKAGE UNIT...: nor shall these start at the next boot, if the package is here only because of us.
disable_units() {
    case " $missing " in
    *" $1 "*) ;;
    *) return 0 ;;
    esac
    shift
    for unit in "$@"; do
        [ ! -d /run/systemd/system ] || systemctl --quiet disable "$unit" || true
    done
}
