# SELinux: the contexts that a specification names are the program's and those of its new file systems, and the policy
# is in force. It is Debian's, with selinux.cil.

PROCESS=system_u:system_r:donjon_t
FILES=system_u:object_r:donjon_file_t
LOCKED=$ROOT/opt

mount -t selinuxfs selinuxfs /sys/fs/selinux
# In one piece, as the kernel wants it.
dd if=/srv/policy of=/sys/fs/selinux/load bs=64M 2>/tmp/loaded
echo 1 >/sys/fs/selinux/enforce
mkdir -p $ROOT/lib64 $ROOT/lib
cp /usr/bin/keyctl $ROOT/bin/
cp /lib64/* $ROOT/lib64/
cp /lib/*/libkeyutils.so.1 /lib/*/libc.so.6 $ROOT/lib/
find $ROOT -exec setfattr -h -n security.selinux -v $FILES:s0 {} +
echo kept >$LOCKED/secret
echo ours >$LOCKED/ours
echo theirs >$LOCKED/theirs
setfattr -n security.selinux -v system_u:object_r:donjon_secret_t:s0 $LOCKED/secret
setfattr -n security.selinux -v $FILES:s0:c1,c2 $LOCKED/ours
setfattr -n security.selinux -v $FILES:s0:c3,c4 $LOCKED/theirs

# A bundle whose program has the domain and a pair of categories, and whose new file systems have a context for it.
labelled() {
	bundle "$1" ".process.selinuxLabel = \"$PROCESS:s0:c1,c2\" | .linux.mountLabel = \"$FILES:s0:c1,c2\" | ${2:-.}"
}

test_selinux_is_active_and_enforces() {
	run cat /sys/fs/selinux/enforce /tmp/loaded
	is "$(head -n 1 /sys/fs/selinux/enforce)" 1 "what is enforced"
	run cat /proc/self/attr/current /sys/kernel/security/lsm
	says system_u:system_r:kernel_t:s0
	says selinux
}

test_a_program_has_its_context_and_is_refused_other_types_and_categories() {
	labelled "cat /proc/self/attr/current; cd /opt; cat ours secret theirs"
	run donjon run --bundle /tmp/b c
	says $PROCESS:s0:c1,c2
	says ours
	never_says kept
	says "secret': Permission denied"
	says "theirs': Permission denied"
	bundle "cd /opt; cat ours secret theirs"
	run donjon run --bundle /tmp/b c
	exits 0
	says kept
	says theirs
}

test_new_file_systems_have_the_context_of_the_specification() {
	labelled "grep -e ' /dev ' -e ' /dev/shm ' /proc/self/mounts; cd /dev/shm; echo kept >x && cat x; touch /dev/mqueue/q; sleep 60"
	run_apart donjon create --bundle /tmp/b c
	exits 0
	run donjon start c
	exits 0
	sleep 1
	out=$(cat /tmp/said)
	is "$(echo "$out" | grep -c "context=\"\?$FILES:s0:c1,c2")" 2 "how many file systems have the context"
	says kept
	never_says denied
	# This one is made with its namespace, and its root alone has the context.
	run getfattr --only-values -n security.selinux /proc/"$(donjon state c | jq .pid)"/root/dev/mqueue
	says $FILES:s0:c1,c2
	run donjon delete --force c
	exits 0
}

test_the_keyring_of_a_program_has_its_context() {
	labelled "keyctl security @s"
	run donjon run --bundle /tmp/b c
	exits 0
	says $PROCESS:s0:c1,c2
}

test_a_further_program_has_the_containers_context_or_the_one_that_is_named() {
	labelled "sleep 60"
	run_apart donjon create --bundle /tmp/b c
	exits 0
	run donjon start c
	exits 0
	is "$(tr -d '\0' </proc/"$(donjon state c | jq .pid)"/attr/current)" $PROCESS:s0:c1,c2 "the context"
	run donjon exec c sh -c "cat /proc/self/attr/current; cat /opt/ours /opt/theirs"
	says $PROCESS:s0:c1,c2
	says ours
	says "Permission denied"
	other=system_u:system_r:donjon_other_t:s0
	run donjon exec --process-label $other c sh -c "cat /proc/self/attr/current; cat /opt/secret"
	says $other
	says "Permission denied"
	run donjon exec --process-label system_u:system_r:no_such_t:s0 c echo ran
	exits 255
	says selinux
	says no_such_t
	never_says ran
	run donjon delete --force c
	exits 0
}

test_a_context_that_can_not_be_set_ends_the_start_and_is_named() {
	for label in system_u:system_r:no_such_t:s0 nonsense system_u:system_r:donjon_t:s0:c9999; do
		labelled "echo ran" ".process.selinuxLabel = \"$label\""
		run donjon run --bundle /tmp/b c
		exits 1
		says selinux
		says process.selinuxLabel
		says $label
		never_says ran
	done
	labelled "echo ran" '.linux.mountLabel = "system_u:object_r:no_such_t:s0"'
	run donjon run --bundle /tmp/b c
	exits 1
	says linux.mountLabel
	says no_such_t
	never_says ran
	run donjon state c
	exits 1
}

test_a_machine_without_apparmor_refuses_its_profiles() {
	bundle "echo ran" '.process.apparmorProfile = "donjon-test"'
	run donjon run --bundle /tmp/b c
	exits 1
	says process.apparmorProfile
	never_says ran
}

test_doctor_tells_of_selinux() {
	run donjon doctor
	says "active: $(cat /sys/kernel/security/lsm)"
}
