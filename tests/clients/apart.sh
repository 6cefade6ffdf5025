#!/bin/sh
# Runs a command apart from the machine: apart.sh SECONDS COMMAND...
#
# Engines leave daemons, mounts, bridges, cgroups and sockets behind when a test of theirs fails. Here they do so in
# namespaces of their own (mounts, processes, network, cgroups), under a cgroup of their own in every hierarchy, with
# an empty /run. All of it ends with the command; the machine's own engines and their state are neither seen nor
# touched.
set -eu

# The directories where hierarchies of cgroups are mounted; with systemd some have second names, which are links.
hierarchies() {
    if [ -e /sys/fs/cgroup/cgroup.procs ]; then
        echo /sys/fs/cgroup
    else
        for hierarchy in /sys/fs/cgroup/*; do
            if [ -e "$hierarchy/cgroup.procs" ] && [ ! -L "$hierarchy" ]; then echo "$hierarchy"; fi
        done
    fi
}

# On the machine: makes the cgroups, joins them for the command, and removes them after it.
machine() {
    own=donjon-clients-$$
    for hierarchy in $(hierarchies); do
        mkdir "$hierarchy/$own"
        # A group of this controller holds nobody before it has processors and memory.
        if [ ! -e "$hierarchy/cgroup.controllers" ] && [ -e "$hierarchy/cpuset.cpus" ]; then
            for file in cpuset.cpus cpuset.mems; do cat "$hierarchy/$file" > "$hierarchy/$own/$file"; done
        fi
    done
    code=0
    (
        for hierarchy in $(hierarchies); do sh -c 'echo $PPID' > "$hierarchy/$own/cgroup.procs"; done
        exec unshare --cgroup -- "$0" --groups "$own" "$@"
    ) || code=$?
    for hierarchy in $(hierarchies); do
        # Every process has been killed; the kernel may need a moment for the last of them.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            if find "$hierarchy/$own" -depth -type d -exec rmdir {} + 2>/dev/null; then break; fi
            sleep 0.2
        done
    done
    exit "$code"
}

# In the new namespace of cgroups. In the unified hierarchy a group that holds processes can't hand controllers on, so
# they move one down.
groups() {
    own=$1
    seconds=$2
    shift 2
    for hierarchy in $(hierarchies); do
        if [ -e "$hierarchy/cgroup.controllers" ]; then
            group=$hierarchy/$own
            mkdir "$group/tests"
            echo $$ > "$group/tests/cgroup.procs"
            for controller in $(cat "$group/cgroup.controllers"); do
                echo "+$controller" > "$group/cgroup.subtree_control"
            done
        fi
    done
    exec timeout --kill-after=5 "$seconds" unshare --mount --pid --net --fork --kill-child --mount-proc \
        --propagation private -- "$0" --inside "$@"
}

# The first process of the namespaces of mounts, processes and network.
inside() {
    # The hierarchies again, as this namespace of cgroups has them.
    table=$(for hierarchy in $(hierarchies); do
        findmnt --noheadings --raw --output TARGET,FSTYPE,FS-OPTIONS "$hierarchy"
    done)
    if [ ! -e /sys/fs/cgroup/cgroup.procs ]; then
        umount --recursive --lazy /sys/fs/cgroup
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    fi
    echo "$table" | while read -r place kind options; do
        mkdir -p "$place"
        mount -t "$kind" -o "${options#rw,}" "$kind" "$place"
    done
    # Engines expect what an init system makes of `/`.
    mount --make-rshared /
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock /run/user
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    if [ -e /dev/net/tun ]; then
        # For everybody, as udev makes it.
        mknod -m 666 /run/tun c 10 200
        mount --bind /run/tun /dev/net/tun
    fi
    busybox ip link set lo up
    # Daemons that leave their parent come to the first process, which has to reap them.
    exec /usr/bin/catatonit -- "$@"
}

case $1 in
    --groups) shift && groups "$@" ;;
    --inside) shift && inside "$@" ;;
    *) machine "$@" ;;
esac
