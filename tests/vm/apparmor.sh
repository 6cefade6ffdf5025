# AppArmor: the profile that a specification names is the program's, and is in force.

apparmor_parser --replace --skip-cache /tests/apparmor.profiles >/tmp/parsed 2>&1

test_apparmor_is_active_and_has_the_profiles() {
	run cat /sys/module/apparmor/parameters/enabled /sys/kernel/security/lsm
	says Y
	says apparmor
	is "$(cat /tmp/parsed)" "" "what the parser says"
	run grep ^donjon /sys/kernel/security/apparmor/profiles
	says "donjon-test (enforce)"
	says "donjon-further (enforce)"
}

test_a_program_runs_under_its_profile_and_is_refused_what_it_forbids() {
	bundle "cat /proc/self/attr/current; head -n 1 /etc/passwd; cat /etc/group" \
		'.process.apparmorProfile = "donjon-test"'
	run donjon run --bundle /tmp/b c
	says "donjon-test (enforce)"
	says root:x:0:0
	says "/etc/group': Permission denied"
	never_says guest:x
	bundle "cat /proc/self/attr/current; cat /etc/group"
	run donjon run --bundle /tmp/b c
	says unconfined
	says guest:x
}

test_a_profile_holds_without_no_new_privs_and_in_a_user_namespace() {
	bundle "cat /proc/self/attr/current; cat /etc/group" \
		'.process.apparmorProfile = "donjon-test" | .process.noNewPrivileges = false'
	run donjon run --bundle /tmp/b c
	says "donjon-test (enforce)"
	says "Permission denied"
	users_bundle "cat /proc/self/attr/current; cat /etc/group" '.process.apparmorProfile = "donjon-test"'
	run_in $TOP/user/session donjon run --bundle /tmp/b c
	says "donjon-test (enforce)"
	says "Permission denied"
}

test_a_further_program_has_the_containers_profile_or_the_one_that_is_named() {
	bundle "sleep 60" '.process.apparmorProfile = "donjon-test"'
	run_apart donjon create --bundle /tmp/b c
	exits 0
	run donjon start c
	exits 0
	run donjon exec c sh -c "cat /proc/self/attr/current; cat /etc/group"
	says "donjon-test (enforce)"
	says "Permission denied"
	run donjon exec --apparmor donjon-further c sh -c "cat /proc/self/attr/current; cat /etc/group; cat /etc/passwd"
	says "donjon-further (enforce)"
	says guest:x
	says "/etc/passwd': Permission denied"
	run donjon exec --apparmor no-such-profile c echo ran
	exits 255
	says apparmor
	says no-such-profile
	never_says ran
	run donjon delete --force c
	exits 0
}

test_an_unknown_profile_ends_the_start_and_is_named() {
	bundle "echo ran" '.process.apparmorProfile = "donjon-further"'
	run donjon run --bundle /tmp/b c
	exits 0
	bundle "echo ran" '.process.apparmorProfile = "no-such-profile"'
	run donjon run --bundle /tmp/b c
	exits 1
	says apparmor
	says process.apparmorProfile
	says no-such-profile
	never_says ran
	run donjon state c
	exits 1
}

test_a_machine_without_selinux_refuses_its_labels() {
	bundle "echo ran" '.process.selinuxLabel = "system_u:system_r:kernel_t:s0"'
	run donjon run --bundle /tmp/b c
	exits 1
	says process.selinuxLabel
	never_says ran
	bundle "echo ran" '.linux.mountLabel = "system_u:object_r:tmpfs_t:s0"'
	run donjon run --bundle /tmp/b c
	exits 1
	says linux.mountLabel
	never_says ran
}

test_containers_of_donjons_own_run_beside_apparmor() {
	run donjon run --rm dir:$ROOT -- cat /proc/self/attr/current
	exits 0
	says unconfined
	run donjon doctor
	says "active: $(cat /sys/kernel/security/lsm)"
}
