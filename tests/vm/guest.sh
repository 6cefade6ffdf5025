#!/bin/busybox sh
# The virtual machine of `cargo xtask test vm`: a kernel of Debian's, busybox, donjon, one root file system, and the
# unified hierarchy of cgroups. Twice the first process: in the initramfs, then in a root that pivot_root can leave.
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
	for module in crc16 mbcache crc32c_generic jbd2 ext4 loop overlay; do
		load $module
	done
	truncate -s 256M /disk
	losetup /dev/loop0 /disk
	mke2fs -I 256 /dev/loop0 >/dev/null
	mkdir /new
	mount -t ext4 /dev/loop0 /new
	cp -a /bin /etc /init /srv /usr /new/
	mkdir -p /new/proc /new/sys /new/dev /new/run /new/var /new/root /new/home/u1001
	mkdir -m 1777 /new/tmp
	for dir in proc sys dev; do
		mount -o move /$dir /new/$dir
	done
	exec switch_root /new /init second
}

# Loads a module, unless this kernel has it built in; later releases compress them.
load() {
	file=$(echo /modules/"$1".ko*)
	case $file in
	*"*") return ;;
	*.xz) unxz "$file" ;;
	esac
	insmod "${file%.xz}"
}

second_stage() {
	mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	mount -t cgroup2 cgroup2 $TOP
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /run/user/1001
	chown 1001:1001 /run/user/1001 /home/u1001
	chmod 700 /run/user/1001
	ip link set lo up
	delegate
	echo "     Linux $(uname -r)"
	tests
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

# Runs one test, unless words are given and none is part of its name.
it() {
	if [ -s /srv/filters ] && ! echo "$1" | grep -qFf /srv/filters; then
		return
	fi
	verdict=ok
	: >/tmp/details
	"test_$1"
	echo "test vm: $1 ... $verdict"
	cat /tmp/details
}

# --- root ---------------------------------------------------------------------------------------------------------

test_root_runs_a_program() {
	run donjon run --rm dir:$ROOT -- echo ran
	exits 0
	says ran
	never_says donjon:
}

test_root_reaches_the_limit_of_memory() {
	run donjon run --rm -m 128m dir:$ROOT -- attacker memory 40
	exits 0
	run donjon run --rm -m 64m dir:$ROOT -- attacker memory 300
	exits 137
	says memory
	says 67108864
	no_group_is_left
}

test_root_reaches_the_limit_of_processes() {
	run donjon run --rm --pids-limit 30 dir:$ROOT -- attacker forks 200
	exits 0
	says 29
	says --pids-limit
	no_group_is_left
}

test_the_limits_are_written_and_the_group_is_gone_afterwards() {
	run donjon run -d --name a -m 64m --memory-swap 64m --cpus 0.2 --pids-limit 30 dir:$ROOT -- sleep 60
	exits 0
	is "$(setting $TOP/donjon memory.max)" 67108864 memory.max
	is "$(setting $TOP/donjon memory.oom.group)" 1 memory.oom.group
	is "$(setting $TOP/donjon cpu.max)" "20000 100000" cpu.max
	is "$(setting $TOP/donjon pids.max)" 30 pids.max
	run donjon exec a sleep 1
	exits 0
	run donjon stats --no-stream a
	exits 0
	says "of 64.0 MiB"
	run donjon rm -f a
	exits 0
	no_group_is_left
}

test_a_further_program_is_in_the_group_as_well() {
	run donjon run -d --name a -m 64m dir:$ROOT -- sleep 60
	run donjon exec a attacker memory 300
	exits 137
	run donjon rm -f a
	no_group_is_left
}

test_a_killed_donjon_leaves_no_group_that_rm_does_not_remove() {
	donjon run --name a -m 64m dir:$ROOT -- sleep 60 >/dev/null 2>&1 </dev/null &
	sleep 2
	kill -9 $!
	wait $! 2>/dev/null
	run donjon rm -f a
	exits 0
	no_group_is_left
}

test_root_in_a_group_of_its_own_gets_limits() {
	echo "+memory +pids +cpu" >$TOP/system/cgroup.subtree_control
	run in_group $TOP/system/shell donjon run --rm -m 64m dir:$ROOT -- attacker memory 300
	exits 137
	says memory
	no_group_is_left
}

test_no_group_can_be_written_inside() {
	run donjon run --rm dir:$ROOT -- sh -c 'find / -name cgroup.procs; touch /sys/fs/cgroup/x && echo wrote'
	never_says cgroup.procs
	never_says wrote
}

# --- an ordinary user with a delegated subtree --------------------------------------------------------------------

test_a_user_with_a_subtree_reaches_the_limit_of_memory() {
	run_in $GIVEN/session donjon run --rm -m 128m dir:$ROOT -- attacker memory 40
	exits 0
	run_in $GIVEN/session donjon run --rm -m 64m dir:$ROOT -- attacker memory 300
	exits 137
	says memory
	says 67108864
	no_group_is_left
}

test_a_user_with_a_subtree_gets_the_other_limits() {
	run_in $GIVEN/session donjon run -d --name a --cpus 0.2 --pids-limit 30 dir:$ROOT -- sleep 60
	exits 0
	is "$(setting $GIVEN cpu.max)" "20000 100000" cpu.max
	is "$(setting $GIVEN pids.max)" 30 pids.max
	run_in $GIVEN/session donjon stats --no-stream a
	exits 0
	says "of 1.0 GiB"
	run_in $GIVEN/session donjon rm -f a
	exits 0
	no_group_is_left
}

test_a_user_with_a_subtree_that_gives_nothing_yet_reaches_the_limit_of_memory() {
	run_in $TOP/user/new/session donjon run --rm -m 64m dir:$ROOT -- attacker memory 300
	exits 137
	says memory
	no_group_is_left
}

test_a_user_with_one_group_steps_aside_and_reaches_the_limit_of_memory() {
	run_in $TOP/user/service donjon run --rm -m 64m dir:$ROOT -- attacker memory 300
	exits 137
	says memory
	no_group_is_left
}

test_doctor_names_the_unified_hierarchy() {
	run_in $GIVEN/session donjon doctor
	exits 0
	says v2
	says "memory, cpu, pids"
}

# --- an ordinary user without ---------------------------------------------------------------------------------------

test_a_user_without_a_subtree_is_refused_a_limit_of_memory() {
	run_in $TOP/user/session donjon run --rm -m 64m dir:$ROOT -- echo ran
	exits 125
	says cgroup
	says memory
	never_says ran
}

test_a_user_without_a_subtree_runs_a_program() {
	run_in $TOP/user/session donjon run --rm dir:$ROOT -- echo ran
	exits 0
	says ran
	run_in $TOP/user/session donjon doctor
	exits 0
	no_group_is_left
}

# --- as an OCI runtime -----------------------------------------------------------------------------------------------

# A bundle in /tmp/b whose program is a shell command, in a group, with resources (members in JSON, or "" for those of the
# template) and options of spec.
bundle() {
	rm -rf /tmp/b
	mkdir -m 755 /tmp/b
	donjon spec --bundle /tmp/b $4
	sed -i -e 's/"terminal": true/"terminal": false/' -e "s#\"sh\"#\"sh\", \"-c\", \"$1\"#" \
		-e "s#\"path\": \"rootfs\"#\"path\": \"$ROOT\"#" /tmp/b/config.json
	[ -n "$2" ] && member cgroupsPath "\"$2\""
	[ -n "$3" ] && member resources "{ $3 }"
}

# Sets a member of "linux", in the place of the template's: its last one, if it has it.
member() {
	if grep -q "\"$1\": {\$" /tmp/b/config.json; then
		sed -i "/\"$1\": {\$/,/^    }/c\\    \"$1\": $2" /tmp/b/config.json
	else
		sed -i "s#\"linux\": {#\"linux\": {\"$1\": $2,#" /tmp/b/config.json
	fi
}

# The first process keeps its streams; what a command says goes to a file.
run_apart() {
	ran="$*"
	"$@" >/tmp/said 2>&1 </dev/null
	code=$?
	out=$(cat /tmp/said)
}

test_an_oci_container_has_its_limits_and_its_own_view_of_them() {
	bundle "cat /proc/self/cgroup; cat /sys/fs/cgroup/memory.max; sleep 60" \
		/x/y '"memory": {"limit": 67108864}, "cpu": {"shares": 2048}, "pids": {"limit": 40}'
	run_apart donjon create --bundle /tmp/b c
	exits 0
	is "$(cat $TOP/x/y/memory.max)" 67108864 memory.max
	is "$(cat $TOP/x/y/pids.max)" 40 pids.max
	run donjon start c
	exits 0
	sleep 1
	out=$(cat /tmp/said)
	says 0::/
	says 67108864
	run donjon update --memory 32m --pids-limit 20 c
	exits 0
	is "$(cat $TOP/x/y/memory.max)" 33554432 memory.max
	is "$(cat $TOP/x/y/pids.max)" 20 pids.max
	run donjon events --stats c
	exits 0
	says '"psi"'
	says '"limit":20'
	run donjon exec c cat /proc/self/cgroup
	exits 0
	says 0::/
	run donjon delete --force c
	exits 0
	[ -d $TOP/x/y ] && wrong "the group is left"
	rmdir $TOP/x
}

test_an_oci_container_is_frozen_and_killed_as_a_whole() {
	bundle "sleep 61 \\& sleep 62" /z
	run_apart donjon create --bundle /tmp/b c
	exits 0
	run donjon start c
	exits 0
	run donjon pause c
	exits 0
	is "$(grep frozen $TOP/z/cgroup.events)" "frozen 1" cgroup.events
	run donjon state c
	says '"paused"'
	run donjon resume c
	exits 0
	run donjon kill --all c KILL
	exits 0
	sleep 1
	run donjon state c
	says '"stopped"'
	run donjon delete c
	exits 0
	[ -d $TOP/z ] && wrong "the group is left"
}

test_a_device_that_is_not_allowed_can_not_be_opened() {
	bundle "mknod /dev/x c 1 11; cat </dev/x; head -c 1 /dev/zero >/dev/null \\&\\& echo zeros" /d
	sed -i 's/"CAP_KILL"/"CAP_KILL", "CAP_MKNOD"/' /tmp/b/config.json
	run donjon run --bundle /tmp/b c
	says "not permitted"
	says zeros
}

test_a_user_with_a_subtree_has_oci_containers_with_limits() {
	bundle "echo ran; sleep 60" /user/u1001/c '"memory": {"limit": 67108864}' --rootless
	sed -i -e 's/"hostID": 0/"hostID": 1001/' /tmp/b/config.json
	run_in $GIVEN/session sh -c 'donjon create --bundle /tmp/b c >/tmp/said-1001 2>&1'
	exits 0
	is "$(cat $GIVEN/c/memory.max)" 67108864 memory.max
	run_in $GIVEN/session donjon start c
	exits 0
	run_in $GIVEN/session donjon delete --force c
	exits 0
	[ -d $GIVEN/c ] && wrong "the group is left"
}

test_a_user_without_a_subtree_has_no_oci_container_with_a_limit() {
	bundle "echo ran" "" '"memory": {"limit": 67108864}' --rootless
	sed -i -e 's/"hostID": 0/"hostID": 1001/' /tmp/b/config.json
	run_in $TOP/user/session donjon run --bundle /tmp/b c
	exits 1
	says linux.resources.memory.limit
	never_says ran
	bundle "echo ran" "" "" --rootless
	sed -i -e 's/"hostID": 0/"hostID": 1001/' /tmp/b/config.json
	run_in $TOP/user/session donjon run --bundle /tmp/b c
	exits 0
	says ran
}

# --- the root's overlay, on kernels whose tmpfs has no extended attributes of users (before Linux 6.6) -----------

test_root_changes_files() {
	run donjon run --rm dir:$ROOT -- sh -ec '
		cd /etc; echo x >>passwd; mv group g; rm shadow; mkdir a; ln -s a b; rm -r /opt; mv /etc/g /var; echo changed'
	exits 0
	says changed
}

test_a_removed_directory_can_be_made_again_or_doctor_tells() {
	run donjon run --rm dir:$ROOT -- sh -ec 'rm -r /opt; mkdir /opt; echo made'
	[ "$code" = 0 ] && return
	run donjon doctor
	says 6.6
}

tests() {
	for name in $(sed -n 's/^test_\([a-z0-9_]*\)() {$/\1/p' /init); do
		it "$name"
	done
}

if [ "$1" = second ]; then second_stage; else first_stage; fi
