#!/bin/sh
# Renews the runner's nonce: two lines, the newest first, and beside them the boot-time clock at which the newest was made.
# Run as root every five minutes, by a timer or by cron; needs no Python. The runner writes the same two files the same way.
#
#   doorward-runner-renew-nonce.sh [RUN_DIR]
set -eu
umask 077 # a lock that others could open is a lock that others could hold
run_dir=${1:-/run/doorward-runner}
mkdir -p -m 0755 "$run_dir"
cd "$run_dir"

exec 9>>lock
if command -v flock >/dev/null; then flock -w 10 9; fi

newest='' stamp='' # no file, no nonce
if [ -r nonce ]; then read -r newest <nonce || true; fi
if [ -r nonce.stamp ]; then read -r stamp <nonce.stamp || true; fi
read -r uptime _ </proc/uptime
now=${uptime%%.*}
age=$((now - ${stamp:-0}))

# The runner renews too, and a timer is never exact: a nonce of less than four minutes is left alone.
if [ -n "$newest" ] && [ "$age" -ge 0 ] && [ "$age" -lt 240 ]; then exit 0; fi
# Past ten minutes (a machine that slept) the newest is too old to be the older of two.
if [ "$age" -lt 0 ] || [ "$age" -ge 600 ]; then newest=''; fi

fresh=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')
[ "${#fresh}" -eq 22 ]
put() { # whole and renamed, readable by everyone from its first byte under its name
    chmod 0644 "$1.fresh"
    mv -f "$1.fresh" "$1"
}
printf '%s\n' "$fresh" ${newest:+"$newest"} >nonce.fresh
put nonce
printf '%s\n' "$now" >nonce.stamp.fresh
put nonce.stamp
