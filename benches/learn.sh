#!/bin/sh
# What learning costs: each program eight times under `donjon run` and under `donjon learn`, in turns; medians.
# Usage, as an ordinary user: benches/learn.sh DONJON
set -eu
donjon=${1:?usage: benches/learn.sh DONJON}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

now() { date +%s%N; }

median() { sort -n "$1" | awk '{ n[NR] = $1 } END { print (n[int((NR + 1) / 2)] + n[int(NR / 2) + 1]) / 2 / 1e6 }'; }

measure() {
    name=$1
    shift
    : >"$dir/run" && : >"$dir/learn"
    for _ in 1 2 3 4 5 6 7 8; do
        begin=$(now)
        "$donjon" run --rm host -- "$@" >/dev/null 2>&1 </dev/null || true
        echo $(($(now) - begin)) >>"$dir/run"
        rm -f "$dir/out.toml"
        begin=$(now)
        "$donjon" learn -o "$dir/out.toml" host -- "$@" >/dev/null 2>&1 </dev/null || true
        echo $(($(now) - begin)) >>"$dir/learn"
    done
    run=$(median "$dir/run")
    learn=$(median "$dir/learn")
    echo "$name $run $learn" | awk -F' ' '{ l = $NF; r = $(NF - 1); NF -= 2; printf "| %s | %.0f | %.0f | %.2f |\n", $0, r, l, l / r }'
}

echo "| program | run, ms | learn, ms | x |"
echo "|---|--:|--:|--:|"
measure "\`find\` over the names of 10,000s of files" find /usr/share -type f
measure "\`grep -r\`: open, read, close" grep -rc xyzzy /usr/share/perl
measure "\`tar\` of many small files" sh -c 'tar cf - /usr/share/zoneinfo | cat'
measure "300 programs from a shell" sh -c 'i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done'
measure "\`dd\`, 300,000 blocks of 512 bytes" dd if=/dev/zero of=/dev/null bs=512 count=300000
measure "python3, importing" python3 -c 'import json, http.client'
measure "six commits with git" sh -c 'cd /tmp && git init -q r && cd r && for i in 1 2 3 4 5 6; do echo $i >f$i; git add .; git -c user.name=x -c user.email=x commit -qm x; done'
measure "open and close alone" python3 -c 'import os
for i in range(40000): os.close(os.open("/etc/hostname", 0))'
