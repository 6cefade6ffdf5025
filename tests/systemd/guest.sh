#!/bin/sh
# The virtual machine of `cargo xtask test systemd`: a Debian that systemd runs. This is a service of it, and runs the
# tests of a container's group on the hierarchies that the machine was booted with, then those of the driver systemd as
# root and, under version 2, as an ordinary user.
#
# Prints a line for each test, with what went wrong below it, and "the tests have ended" as the last one.

exec >/dev/console 2>&1
export RUST_BACKTRACE=0

# Runs tests of a binary by a name of this run's.
tests() {
	name=$1
	shift
	timeout 200 "$@" --format=pretty --test-threads 2 $filters </dev/null 2>&1 |
		sed -e "s/^test \(.*\) \.\.\. /test systemd: $name: \1 ... /" -e '/^test /!s/^/     /' -e '/^ *$/d'
}

filters=$(cat /donjon/filters)
layout=v2
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || layout=hybrid
echo "     Linux $(uname -r), $(systemctl --version | head -n 1), $layout"
tests "$layout" /donjon/root groups:: --skip cgroups::
tests "$layout, root" /donjon/systemd
if [ $layout = v2 ]; then
	systemctl start user@1001.service
	tests "$layout, user" setpriv --reuid 1001 --regid 1001 --clear-groups \
		env HOME=/ XDG_RUNTIME_DIR=/run/user/1001 /donjon/systemd --skip root_
fi
left=$(find /sys/fs/cgroup -name 'donjon-test*' -o -name 'libpod*')
if [ -n "$left" ]; then
	echo "test systemd: $layout: no group is left ... FAILED"
	echo "$left" | sed 's/^/     /'
else
	echo "test systemd: $layout: no group is left ... ok"
fi
echo "the tests have ended"
systemctl poweroff --force --force
