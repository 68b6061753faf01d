#!/bin/sh
# Install the Debian packages that the tests start, where that is allowed; otherwise say what is missing and go on:
# the tests that need it are skipped by name. Nothing that is installed here is started as a service.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

missing=""
want() { # program package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
want mosquitto mosquitto
want sshd openssh-server
want ssh openssh-client
want rsync rsync
want dbclient dropbear-bin
want plink putty-tools
want chromium-headless-shell chromium-headless-shell
want sudo sudo
want curl curl
want nft nftables
want ip iproute2
want systemd-analyze systemd
want ifup ifupdown
want dbus-daemon dbus
want dnsmasq dnsmasq-base
want NetworkManager network-manager
want faketime faketime
ls -d /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed, and not ours to install (needs root and apt):$missing"
    exit 0
fi

policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then # a fresh broker or sshd has no business listening on this machine
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    made_policy=yes
fi
trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT

export DEBIAN_FRONTEND=noninteractive
apt-get -q update || echo "apt-get update failed; trying with the lists that are here"
# One by one: a package that this distribution does not have must not keep the others away.
for package in $missing; do
    apt-get -q install -y --no-install-recommends "$package" || echo "Not installed: $package"
done
case $missing in
*network-manager*) # nor has it any business with this machine's network after its next boot
    ! command -v systemctl >/dev/null 2>&1 || systemctl disable NetworkManager NetworkManager-dispatcher NetworkManager-wait-online || true
    ;;
esac
# The whole browser does where a distribution does not have the shell by itself.
command -v chromium-headless-shell >/dev/null 2>&1 || command -v chromium >/dev/null 2>&1 ||
    apt-get -q install -y --no-install-recommends chromium || echo "Not installed: chromium"
