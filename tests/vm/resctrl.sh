# Intel RDT, as far as QEMU can show it: resctrl is there, but has the machine's own class and room for no other.

mount -t resctrl resctrl /sys/fs/resctrl

test_resctrl_is_active() {
	run cat /sys/fs/resctrl/schemata /sys/fs/resctrl/info/L3/num_closids
	says L3:
	says MB:
}

test_a_class_of_service_that_can_not_be_made_ends_the_start_and_is_named() {
	before=$(cat /sys/fs/resctrl/schemata)
	bundle "echo ran" '.linux.intelRdt = {closID: "other", l3CacheSchema: "L3:0=1;1=1"}'
	run donjon run --bundle /tmp/b c
	exits 1
	says linux.intelRdt
	says "No space left"
	never_says ran
	bundle "echo ran" '.linux.intelRdt = {closID: "other"}'
	run donjon run --bundle /tmp/b c
	exits 1
	says linux.intelRdt
	never_says ran
	is "$(cat /sys/fs/resctrl/schemata)" "$before" "the machine's own class"
	run donjon state c
	exits 1
}
