#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# PID 1 of the guest: loads the modules, runs the command, reports, powers off.
#
# Everything that the host is told goes through the channel, a terminal of its own in raw mode, as frames:
#
#     TYPE LENGTH\n  followed by LENGTH bytes
#
#     ready             the guest is up
#     refused           a module would not load: its path, insmod's words, the kernel's lines since
#     begin             the modules are in, the command starts
#     out, err          what the command wrote
#     held              the command is done; we wait for a line from the host, which takes a dump of us meanwhile
#     exit              the command's status, the kernel's taint mask, whether the output is whole
#
# A frame is written by one write(2): a terminal does not mix the writes of two processes. The console is left to the
# kernel, so that its log is whole whatever happens to us.

/bin/busybox mkdir -p /bin /dev /proc /sys /run /tmp /root
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=linux

# Before any background job: busybox's shell gives it /dev/null, and without one it dies silently.
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mkdir /dev/pts /run/klp
mount -t devpts devpts /dev/pts 2>/dev/null
cd /root

# CHANNEL, CONSOLE, MODE (exec or shell), ROWS, COLUMNS, HOLD (yes or empty).
. /etc/klp/config

while read -r module; do
    insmod "$module"
done </etc/klp/channel-modules
# The driver may be there before its terminal, and the node before both.
channel_is_there() {
    [ -c "$CHANNEL" ] && (: <>"$CHANNEL") 2>/dev/null
}
for attempt in $(seq 100); do
    channel_is_there && break
    sleep 0.1
done
if ! channel_is_there; then
    echo "klp: the kernel has no $CHANNEL: it needs a driver for it, built in or among its modules"
    poweroff -f
fi
exec 9<>"$CHANNEL"
stty raw -echo <&9

# frame TYPE FILE
frame() {
    { stat -c "$1 %s" "$2"; cat "$2"; } >"$2.frame"
    dd if="$2.frame" bs=128k count=1 2>/dev/null >&9
}

# report TYPE TEXT
report() {
    echo "$2" >/run/klp/report
    frame "$1" /run/klp/report
}

# pump TYPE: frames whatever comes on standard input, as it comes. A read from a pipe gives what is there.
pump() {
    while dd bs=64k count=1 of="/run/klp/$1" 2>/dev/null && [ -s "/run/klp/$1" ]; do
        frame "$1" "/run/klp/$1"
    done
}

finish() {
    report exit "$1 $(cat /proc/sys/kernel/tainted) $2"
    # Changing a terminal's modes waits until all that was written has left.
    stty raw -echo <&9
    poweroff -f
}

hold() {
    [ "$HOLD" ] || return
    report held ""
    read -r released <&9
}

report ready ""

while read -r module; do
    before=$(dmesg | wc -l)
    if ! insmod "$module" 2>/run/klp/insmod; then
        { echo "$module"; cat /run/klp/insmod; dmesg | tail -n +$((before + 1)); } >/run/klp/refusal
        frame refused /run/klp/refusal
        finish 126 whole
    fi
done </etc/klp/modules

report begin ""

if [ "$MODE" = shell ]; then
    stty rows "$ROWS" cols "$COLUMNS" <"$CONSOLE"
    # The end of a session's leader hangs its terminal up, which throws away what has not left yet; so the shell is not the
    # leader, and the leader waits for its last words.
    setsid -c sh -c 'sh -l; status=$?; stty -echo; exit $status' <"$CONSOLE" >"$CONSOLE" 2>&1 9<&-
    status=$?
    hold
    finish $status whole
fi

mkfifo /run/klp/out.pipe /run/klp/err.pipe
pump out </run/klp/out.pipe &
out=$!
pump err </run/klp/err.pipe &
err=$!

setsid sh -c "$(cat /etc/klp/command)" </dev/null >/run/klp/out.pipe 2>/run/klp/err.pipe 9<&-
status=$?
hold

# The run ends with the command. What it left behind would hold the pipes open; all of it lives in sessions that
# setsid made, while we, the pumps and the kernel's threads are in session 0.
ps -o pid,sid | awk 'NR > 1 && $2 != 0 { print $1 }' | xargs -r kill -9 2>/dev/null
whole=whole
wait $out || whole=cut
wait $err || whole=cut
finish $status $whole
