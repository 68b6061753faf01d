#!/bin/sh
# Ends one session's door at its time, whoever else is dead by then. Started by the runner, as root, in a session and a
# control group of its own; needs nothing but a POSIX shell, sleep, rm and rmdir.
#
#   keeper.sh FOLDER SESSION ENDED_FILE CGROUP                 CGROUP/door is the door's control group
#   keeper.sh FOLDER SESSION ENDED_FILE - PROGRAM ARGUMENT...  under systemd: the door is our child, the unit ends with us
#
# FOLDER/end holds the end in whole seconds of the boot-time clock and is read again every two seconds: a longer session
# is a new number in it. No readable end is an end.
set -u
folder=$1 session=$2 ended=$3 cgroup=$4
shift 4
[ $# -eq 0 ] || "$@" &
# Memory may run out: others first. Only now, for the door's own children would inherit it.
echo -1000 >/proc/$$/oom_score_adj

while read -r end <"$folder/end" && read -r uptime _ </proc/uptime; do
    left=$((end - ${uptime%%.*}))
    [ "$left" -gt 0 ] || break
    [ "$left" -le 2 ] || left=2
    sleep "$left"
done

# Written down first. Not flushed: a loss of power ends the door as well, and the session's end is past by then.
printf '\n%s\n' "$session" >>"$ended"
[ "$cgroup" != - ] || exit 0

until [ ! -d "$cgroup/door" ] || rmdir "$cgroup/door"; do
    echo 1 >"$cgroup/door/cgroup.kill"
    sleep 1
done
rm -rf "$folder"
echo $$ >"${cgroup%/*}/cgroup.procs" && rmdir "$cgroup"
