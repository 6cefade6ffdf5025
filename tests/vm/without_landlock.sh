# A kernel that was booted without Landlock: it is missed, by its name, and left out at the caller's word alone.

test_landlock_is_not_active() {
	run cat /sys/kernel/security/lsm
	exits 0
	never_says landlock
}

test_a_start_without_landlock_is_refused_and_names_it() {
	run donjon run --rm dir:$ROOT -- echo ran
	exits 125
	says landlock
	says "--best-effort landlock"
	never_says ran
	run_in $TOP/user/session donjon run --rm dir:$ROOT -- echo ran
	exits 125
	says landlock
	never_says ran
}

test_best_effort_starts_without_landlock_and_records_it() {
	run donjon run -d --name a --best-effort landlock dir:$ROOT -- sleep 60
	exits 0
	run donjon inspect a
	says "landlock: not enforced"
	run donjon exec a sh -c "echo ran; grep Seccomp: /proc/self/status"
	exits 0
	says ran
	says 2
	run donjon rm -f a
	exits 0
	run_in $TOP/user/session donjon run --rm --best-effort landlock dir:$ROOT -- echo ran
	exits 0
	says ran
}

test_best_effort_for_something_else_does_not_leave_landlock_out() {
	run donjon run --rm --best-effort cgroups dir:$ROOT -- echo ran
	exits 125
	says landlock
	never_says ran
}

test_doctor_says_that_landlock_is_missing() {
	run donjon doctor
	says "boot with lsm=landlock"
}

test_an_engines_container_needs_no_landlock() {
	bundle "echo ran"
	run donjon run --bundle /tmp/b c
	exits 0
	says ran
}
