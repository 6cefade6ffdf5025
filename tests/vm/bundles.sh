# donjon as an OCI runtime: groups on the unified hierarchy, and limits that only a full root can raise.

test_an_oci_container_has_its_limits_and_its_own_view_of_them() {
	bundle "cat /proc/self/cgroup; cat /sys/fs/cgroup/memory.max; sleep 60" '.linux.cgroupsPath = "/x/y" |
		.linux.resources = {memory: {limit: 67108864}, cpu: {shares: 2048}, pids: {limit: 40}}'
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
	bundle "sleep 61 & sleep 62" '.linux.cgroupsPath = "/z"'
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
	bundle "mknod /dev/x c 1 11; cat </dev/x; head -c 1 /dev/zero >/dev/null && echo zeros" \
		'.linux.cgroupsPath = "/d" | .process.capabilities[] += ["CAP_MKNOD"]'
	run donjon run --bundle /tmp/b c
	says "not permitted"
	says zeros
}

test_a_user_with_a_subtree_has_oci_containers_with_limits() {
	users_bundle "echo ran; sleep 60" \
		'.linux.cgroupsPath = "/user/u1001/c" | .linux.resources = {memory: {limit: 67108864}}'
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
	users_bundle "echo ran" '.linux.resources = {memory: {limit: 67108864}}'
	run_in $TOP/user/session donjon run --bundle /tmp/b c
	exits 1
	says linux.resources.memory.limit
	never_says ran
	users_bundle "echo ran" .
	run_in $TOP/user/session donjon run --bundle /tmp/b c
	exits 0
	says ran
}

# --- limits that only root of the whole machine can raise -----------------------------------------------------------

test_root_raises_a_hard_limit_as_the_specification_says() {
	bundle "ulimit -Hn; ulimit -Sn; ulimit -Hl" '.process.rlimits = [
		{type: "RLIMIT_NOFILE", hard: 9000, soft: 8000}, {type: "RLIMIT_MEMLOCK", hard: 1073741824, soft: 4096}]'
	run lowered donjon run --bundle /tmp/b c
	exits 0
	is "$(echo $out)" "9000 8000 1048576" "the limits of the program"
}

test_a_further_program_has_raised_limits_as_well() {
	bundle "sleep 60" '.process.rlimits = [{type: "RLIMIT_NOFILE", hard: 9000, soft: 8000}]'
	run_apart lowered donjon create --bundle /tmp/b c
	exits 0
	run donjon start c
	run lowered donjon exec c sh -c "ulimit -Hn; ulimit -Sn"
	exits 0
	is "$(echo $out)" "9000 8000" "the limits of the further program"
	run donjon delete --force c
	exits 0
}

test_a_user_is_refused_a_limit_above_its_own_and_the_field_is_named() {
	users_bundle "echo ran" '.process.rlimits = [{type: "RLIMIT_NOFILE", hard: 9000, soft: 8000}]'
	run_in $TOP/user/session sh -c 'ulimit -n 2000; donjon run --bundle /tmp/b c'
	exits 1
	says process.rlimits
	says NOFILE
	says CAP_SYS_RESOURCE
	never_says ran
}

# With hard limits that are lower than those that the bundle asks for.
lowered() {
	sh -c 'ulimit -n 2000; ulimit -l 64; exec "$@"' lowered "$@"
}
