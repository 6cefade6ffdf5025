# The machine's integrity policies reach into containers: IMA appraisal by signatures, IMA's measurements, fs-verity.

# IMA's policy is about files of one owner and about overlays, so that the machine's own programs need no signature. A file
# that a container sees through an overlay has an owner of the container's own range.
OWNER=777
SIGNED=/srv/signed
VERITY=/verity

# A root whose programs are signed, changed after that, and never signed.
lay_signed() {
	cp -a $ROOT $SIGNED
	for name in good changed unsigned; do
		printf '#!/bin/sh\necho %s has run\n' $name >$SIGNED/bin/$name
		chmod 755 $SIGNED/bin/$name
		chown $OWNER $SIGNED/bin/$name
	done
	for name in good changed busybox; do
		sign $SIGNED/bin/$name
	done
	echo 'echo and more' >>$SIGNED/bin/changed
	evmctl import /srv/certificate "$(keyctl newring _ima @u)"
	cat >/sys/kernel/security/ima/policy <<-EOF
		appraise func=BPRM_CHECK fowner=$OWNER appraise_type=imasig
		appraise func=BPRM_CHECK fsmagic=0x794c7630 appraise_type=imasig
		measure func=BPRM_CHECK fowner=$OWNER
	EOF
	# The kernel finds the keys when it first needs them, as the one who executes the file.
	$SIGNED/bin/good
}

sign() {
	evmctl ima_sign --hashalgo sha256 --key /srv/key "$1"
}

# A disk with fs-verity, and a root on it whose files are sealed; one of them is then changed on the disk.
lay_verity() {
	truncate -s 64M /verity.disk
	# Not the applet of that name.
	/usr/sbin/mke2fs -q -t ext4 -b 4096 -O verity /verity.disk
	mkdir $VERITY
	mount -t ext4 -o loop /verity.disk $VERITY
	cp -a $ROOT $VERITY/root
	for name in whole corrupted; do
		yes $name | head -c 20000 >$VERITY/root/etc/$name
	done
	cp $VERITY/root/bin/attacker $VERITY/root/bin/broken
	sign $VERITY/root/bin/busybox
	for name in etc/whole etc/corrupted bin/attacker bin/broken; do
		fsverity enable $VERITY/root/$name
	done
	sync
	for block in "etc/corrupted 2" "bin/broken 0"; do
		debugfs -R "bmap /root/$block" /verity.disk
	done >/tmp/blocks 2>/dev/null
	umount $VERITY
	for block in $(cat /tmp/blocks); do
		echo overwritten | dd of=/verity.disk bs=4096 seek="$block" conv=notrunc
	done
	mount -t ext4 -o loop /verity.disk $VERITY
}

lay_signed >/tmp/signed 2>&1
lay_verity >/tmp/sealed 2>&1

# A bundle with another root.
bundle_on() {
	bundle "$2" ".root.path = \"$1\" | ${3:-.}"
}

# --- IMA ------------------------------------------------------------------------------------------------------------

test_ima_is_active_and_refuses_what_is_not_signed() {
	run cat /tmp/signed
	says "good has run"
	run getfattr -m security.ima $SIGNED/bin/good $SIGNED/bin/changed $SIGNED/bin/unsigned
	is "$(echo "$out" | grep -c ^security.ima)" 2 "how many files have a signature"
	run $SIGNED/bin/changed
	says "Permission denied"
	run $SIGNED/bin/unsigned
	says "Permission denied"
}

test_a_container_executes_what_is_signed_and_nothing_else() {
	bundle_on $SIGNED "good; changed; unsigned; echo end"
	run donjon run --bundle /tmp/b c
	exits 0
	says "good has run"
	says "changed: Permission denied"
	says "unsigned: Permission denied"
	says end
	bundle_on $SIGNED "" '.process.args = ["changed"]'
	run donjon run --bundle /tmp/b c
	exits 1
	says "permission denied: program: changed"
	never_says "has run"
}

test_a_further_program_must_be_signed_as_well() {
	bundle_on $SIGNED "sleep 60"
	run_apart donjon create --bundle /tmp/b c
	run donjon start c
	exits 0
	run donjon exec c good
	exits 0
	says "good has run"
	run donjon exec c changed
	never_says "has run"
	says changed
	run donjon delete --force c
	exits 0
}

test_signatures_are_seen_through_the_overlay() {
	run donjon run --rm dir:$SIGNED -- sh -c "good; changed; unsigned; echo end"
	exits 0
	says "good has run"
	says "changed: Permission denied"
	says "unsigned: Permission denied"
	says end
	run donjon run --rm dir:$SIGNED -- unsigned
	exits 126
	says IMA
}

# The kernel copies a signature into the layer above for root of the whole machine alone.
test_a_container_with_ids_of_its_own_can_not_change_what_is_signed() {
	run donjon run --rm dir:$SIGNED -- sh -c "echo more >>/bin/good; mv /bin/good /bin/new; rm /bin/changed; good"
	exits 0
	says "/bin/good: Operation not permitted"
	says "rename '/bin/good': Operation not permitted"
	never_says "rm:"
	says "good has run"
}

test_what_a_container_executed_is_measured() {
	bundle_on $SIGNED "good"
	run donjon run --bundle /tmp/b c
	exits 0
	run cat /sys/kernel/security/ima/ascii_runtime_measurements
	says /bin/good
}

# --- fs-verity ------------------------------------------------------------------------------------------------------

test_fs_verity_is_active() {
	run cat /tmp/sealed
	run fsverity measure $VERITY/root/etc/whole $VERITY/root/bin/attacker
	exits 0
	says sha256:
	run cat $VERITY/root/etc/corrupted
	out=$(echo "$out" | grep -v ^corrupted)
	exits 1
	says "Input/output error"
}

test_a_container_reads_what_is_whole_and_gets_an_error_for_what_is_not() {
	bundle_on $VERITY/root "cat /etc/whole | wc -c; cat /etc/corrupted | wc -c; attacker; broken; echo end"
	run donjon run --bundle /tmp/b c
	says 20000
	says "cat: read error: Input/output error"
	says "no such attack"
	says "broken: Input/output error"
	says end
	bundle_on $VERITY/root "" '.process.args = ["broken"]'
	run donjon run --bundle /tmp/b c
	exits 1
	says broken
	says "Input/output error"
	run donjon run --rm dir:$VERITY/root -- sh -c "cat /etc/whole | wc -c; cat /etc/corrupted | wc -c"
	says 20000
	says "cat: read error: Input/output error"
}

test_root_of_a_container_can_not_write_what_is_sealed() {
	bundle_on $VERITY/root "echo x >>/etc/whole; echo x >/etc/new && echo written" '.root.readonly = false'
	run donjon run --bundle /tmp/b c
	says "Operation not permitted"
	says written
}
