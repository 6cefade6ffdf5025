#!/bin/busybox sh
# A virtual machine of `cargo xtask test vm`: a kernel of Debian's, busybox, donjon, one root file system, programs for
# the security modules, and the unified hierarchy of cgroups. Twice the first process: in the initramfs, then in a root
# that pivot_root can leave. The kernel's command line names its modules (donjon.kernel), the files whose tests are run
# (donjon.tests) and the rooms that are run as well (donjon.rooms).
#
# Prints a line for each test, with what went wrong below it, and "the tests have ended" as the last one.

ROOT=/srv/root
TOP=/sys/fs/cgroup
# What the ordinary user is given: a subtree, and in it the leaf that its session runs in.
GIVEN=$TOP/user/u1001

# The root is a disk with ext4: tmpfs has no id-mapped mounts before Linux 6.3, and ramfs is no root to leave.
first_stage() {
	/bin/busybox --install -s /bin
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t devtmpfs devtmpfs /dev
	kernel=$(word donjon.kernel)
	for module in crc16 mbcache crc32c_generic jbd2 ext4 loop overlay; do
		load "$kernel" $module
	done
	truncate -s 512M /disk
	losetup /dev/loop0 /disk
	busybox mke2fs -I 256 /dev/loop0 >/dev/null
	mkdir /new
	mount -t ext4 /dev/loop0 /new
	cp -a /bin /etc /init /lib /lib64 /rooms /sbin /srv /tests /usr /new/
	mkdir -p /new/proc /new/sys /new/dev /new/run /new/var /new/root /new/home/u1001
	mkdir -m 1777 /new/tmp
	for dir in proc sys dev; do
		mount -o move /$dir /new/$dir
	done
	exec switch_root /new /init second
}

# Loads a module, unless this kernel has it built in; later releases compress them.
load() {
	file=$(echo /modules/"$1"/"$2".ko*)
	case $file in
	*"*") return ;;
	*.xz) unxz "$file" ;;
	esac
	insmod "${file%.xz}"
}

# The value of a word of the kernel's command line.
word() {
	sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline
}

second_stage() {
	mkdir -p /dev/pts /dev/shm
	mount -t securityfs securityfs /sys/kernel/security
	mount -t devpts devpts /dev/pts
	mount -t cgroup2 cgroup2 $TOP
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t tmpfs tmpfs /dev/shm
	mkdir -p /run/user/1001
	chown 1001:1001 /run/user/1001 /home/u1001
	chmod 700 /run/user/1001
	ip link set lo up
	delegate
	about="$(word donjon.kernel) kernel"
	echo "     Linux $(uname -r), $(cat /sys/kernel/security/lsm)"
	for room in $(word donjon.rooms | tr , ' '); do
		whole "$room"
	done
	for suite in $(word donjon.tests | tr , ' '); do
		. /tests/"$suite".sh
		tests "/tests/$suite.sh"
	done
	echo "the tests have ended"
	poweroff -f
}

# Groups as they are found: a delegated subtree with a session in it, the same before anybody has given controllers
# to what is in it, one delegated group alone (a service with Delegate=yes and User=), and sessions with nothing.
delegate() {
	echo "+memory +pids +cpu" >$TOP/cgroup.subtree_control
	mkdir -p $TOP/user
	echo "+memory +pids +cpu" >$TOP/user/cgroup.subtree_control
	mkdir -p $GIVEN $TOP/user/service $TOP/user/session $TOP/system/shell
	own $GIVEN
	echo "+memory +pids +cpu" >$GIVEN/cgroup.subtree_control
	mkdir $GIVEN/session
	own $GIVEN/session
	own $TOP/user/service
	mkdir -p $TOP/user/new/session
	own $TOP/user/new
	own $TOP/user/new/session
}

own() {
	chown 1001:1001 "$1" "$1/cgroup.procs" "$1/cgroup.threads" "$1/cgroup.subtree_control"
}

# --- what the tests say -------------------------------------------------------------------------------------------

# Runs a command with its output in $out and its status in $code.
run() {
	ran="$*"
	out=$("$@" 2>&1 </dev/null)
	code=$?
}

# The same as the ordinary user, in a group of the hierarchy.
run_in() {
	group=$1
	shift
	ran="in $group: $*"
	out=$(in_group "$group" su -s /bin/sh -- u1001 -c 'cd; export XDG_RUNTIME_DIR=/run/user/1001; exec "$@"' su "$@" 2>&1 </dev/null)
	code=$?
}

in_group() {
	sh -c 'echo 0 >"$0/cgroup.procs"; exec "$@"' "$@"
}

wrong() {
	verdict=FAILED
	{
		echo "$1"
		echo "ran: $ran"
		echo "exit status $code"
		echo "$out"
	} | sed 's/^/     /' >>/tmp/details
}

exits() {
	[ "$code" = "$1" ] || wrong "exits with $code instead of $1"
}

says() {
	case $out in
	*"$1"*) ;;
	*) wrong "does not say: $1" ;;
	esac
}

never_says() {
	case $out in
	*"$1"*) wrong "says: $1" ;;
	esac
}

is() {
	[ "$1" = "$2" ] || wrong "$3 is '$1' instead of '$2'"
}

# A setting of the one container's group below a directory.
setting() {
	cat "$1"/donjon-????????????????*/"$2" 2>&1
}

no_group_is_left() {
	left=$(find $TOP -type d -name 'donjon-*' ! -name donjon-warden)
	is "$left" "" "what is left of groups"
}

# --- bundles ------------------------------------------------------------------------------------------------------

# A bundle in /tmp/b whose program is a shell command, with a change to its config.json in the words of jq, and options
# of spec.
bundle() {
	rm -rf /tmp/b
	mkdir -m 755 /tmp/b
	donjon spec --bundle /tmp/b $3
	change --arg command "$1" --arg root $ROOT \
		'.process.terminal = false | .process.args = ["sh", "-c", $command] | .root.path = $root'
	[ -z "$2" ] || change "$2"
}

change() {
	jq "$@" /tmp/b/config.json >/tmp/changed && cat /tmp/changed >/tmp/b/config.json
}

# The same for the ordinary user.
users_bundle() {
	bundle "$1" ".linux.uidMappings[0].hostID = 1001 | .linux.gidMappings[0].hostID = 1001 | $2" --rootless
}

# The first process keeps its streams; what a command says goes to a file.
run_apart() {
	ran="$*"
	"$@" >/tmp/said 2>&1 </dev/null
	code=$?
	out=$(cat /tmp/said)
}

# --- the tests ----------------------------------------------------------------------------------------------------

# Runs one test, unless words are given and none is part of its name.
it() {
	if [ -s /srv/filters ] && ! echo "$1" | grep -qFf /srv/filters; then
		return
	fi
	verdict=ok
	: >/tmp/details
	"test_$1"
	echo "test vm: $about: $1 ... $verdict"
	cat /tmp/details
}

# Runs the tests of a file.
tests() {
	for name in $(sed -n 's/^test_\([a-z0-9_]*\)() {$/\1/p' "$1"); do
		it "$name"
	done
}

# Runs a room's test binary, with no descriptors but the standard ones.
whole() {
	DONJON_TEST_ROOMS=/srv DONJON_TEST_BINARY=/usr/bin/donjon DONJON_TEST_HOOKED=/none DONJON_TEST_PEAK=/none \
		DONJON_TEST_USER=1001:1001 sh -c 'exec "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-' sh \
		/rooms/"$1" --format=pretty --test-threads 2 $(cat /srv/skipped /srv/filters) </dev/null 2>&1 |
		sed -e "s/^test \(.*\) \.\.\. /test vm: $about: $1: \1 ... /" -e '/^test /!s/^/     /' -e '/^ *$/d'
}

if [ "$1" = second ]; then second_stage; else first_stage; fi
