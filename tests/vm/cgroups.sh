# Containers of donjon's own on the unified hierarchy: of root, of a user with a delegated subtree, of one without.

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
