#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC2154 # orders are shell: they stand in single quotes; hq is set by load
# The sandbox that orders are evaluated in, attacked by orders files.
bats_require_minimum_version 1.5.0
load lib/orders

setup() {
	orders_setup
	marker=starphleet-sandbox-$BATS_TEST_NUMBER-$$
	mkdir -p "$STARPHLEET_ROOT/private_keys" "$hq/authorized_keys" "$hq/ssl"
	echo top-secret >"$STARPHLEET_ROOT/private_keys/id"
	order other 'unpublished; export SECRET=top-secret'
	order other/nested 'unpublished; export SECRET=top-secret'
	echo top-secret >"$hq/ssl/key"
	echo top-secret >"$hq/authorized_keys/admiral"
	echo top-secret >"$hq/.hidden"
}

# Whatever a test did: no process of it is left, no mount is seen.
teardown() {
	[ -z "$(pgrep -f "$marker")" ]
	! grep -q '^sandbox ' /proc/self/mounts
}

@test "sandbox: nothing of the ship, of other orders or of reserved folders can be read" {
	order '' 'unpublished; export SECRET=top-secret'
	order echo <<END
cat /etc/shadow /etc/passwd /etc/starphleet-name /root/* /etc/ssh/* && export A=1
cat $STARPHLEET_ROOT/private_keys/id $hq/other/orders /headquarters/other/orders ../other/orders && export B=1
cat ../ssl/key ../authorized_keys/admiral ../.hidden ../orders /headquarters/orders && export C=1
export SEEN="\$(grep -rlE 'top-secre[t]' /headquarters /.shared /etc /tmp /ship /starphleet $BATS_TEST_TMPDIR)"
export HQ="\$(ls -A /headquarters)" ROOT="\$(ls -A /)" ETC="\$(ls -A /etc)" DEV="\$(ls /dev)"
export PROC="\$(cat /proc/meminfo /proc/mounts /proc/cmdline /proc/1/environ | grep -c -e MemTotal -e BOOT_IMAGE -e STARPHLEET_ROOT)"
unpublished
END
	good echo
	[ "$(jq -c '[.env | .A, .B, .C]' <<<"$output")" = '[null,null,null]' ]
	[ -z "$(env_of SEEN)" ] && [ "$(env_of PROC)" = 0 ]
	[ "$(env_of HQ)" = echo ]
	[ "$(env_of DEV | paste -sd ' ')" = 'fd null stderr stdin stdout urandom zero' ]
	[[ ! "$(env_of ETC)" =~ shadow|passwd|starphleet|ssh ]]
	[[ ! "$(env_of ROOT)" =~ root|home|var|sys|run ]]
}

@test "sandbox: the root order sees no other order either" {
	order '' 'export SEEN="$(grep -rlE "top-secre[t]" /headquarters)" HQ="$(ls -A)"; unpublished'
	good ''
	[ -z "$(env_of SEEN)" ] && [ "$(env_of HQ)" = orders ]
	order parent 'export SEEN="$(ls -A)"; unpublished'
	order parent/child 'unpublished'
	good parent
	[ "$(env_of SEEN)" = orders ]
}

@test "sandbox: orders that are a symbolic link, or lie behind one, are refused" {
	mkdir "$hq/echo"
	ln -s /etc/shadow "$hq/echo/orders"
	bad echo 'refused: echo/orders: a symbolic link'
	ln -sfn ../other/orders "$hq/echo/orders"
	bad echo 'refused: echo/orders: a symbolic link'
	rm -r "$hq/echo"
	ln -s / "$hq/echo"
	bad echo 'refused: echo/orders: a symbolic link'
	rm "$hq/echo"
	mkdir -p "$hq/echo/orders"
	bad echo 'refused: echo/orders: not a regular file'
	rmdir "$hq/echo/orders"
	mkfifo "$hq/echo/orders"
	bad echo 'refused: echo/orders: not a regular file'
}

@test "sandbox: links in the headquarters lead nowhere outside" {
	ln -s /etc/shadow "$hq/shadow"
	order echo 'export A="$(cat ../shadow ./shadow)"; unpublished'
	ln -s /etc/shadow "$hq/echo/shadow"
	good echo
	[ -z "$(env_of A)" ]
}

@test "sandbox: nothing can be written" {
	order echo "for f in /tmp/$marker ./$marker ../$marker /usr/$marker /dev/$marker /$marker /proc/1/oom_score_adj /dev/zero/x; do" \
		'(echo x >"$f") 2>/dev/null && export W+="$f "; done; echo x >/dev/null && export NULL=1; unpublished'
	good echo
	[ "$(env_of W)" = '(unset)' ] && [ "$(env_of NULL)" = 1 ]
	[ -z "$(find "$hq" -name "$marker")" ]
}

@test "sandbox: no network, not even the ship's own" {
	order echo '(exec 3<>/dev/tcp/127.0.0.1/22) 2>/dev/null && export A=1' \
		'(exec 3<>/dev/udp/127.0.0.1/53) 2>/dev/null && export B=1' 'export IF="$(cat /proc/net/dev)"; unpublished'
	good echo
	[ "$(jq -c '[.env | .A, .B, .IF]' <<<"$output")" = '[null,null,""]' ]
}

@test "sandbox: a user of its own, without capabilities, under a filter, with four descriptors" {
	order echo 'export UIDS="$(id -u)" S="$(grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status | tr -d "\t\n")"' \
		'export G="$(id -G)" FDS="$(cd /proc/1/fd && echo *)" PIDS="$$ $PPID" L="$(ulimit -c -f -u -v -t | sed "s/.* //" | paste -sd " ")"; unpublished'
	good echo
	[ "$(env_of S)" = 'CapInh:0000000000000000CapPrm:0000000000000000CapEff:0000000000000000CapBnd:0000000000000000CapAmb:0000000000000000NoNewPrivs:1Seccomp:2' ]
	# 3 is how bash reads the substitution that looks.
	[ "$(env_of UIDS)" -gt 1000000 ] && [ "$(env_of G)" = "$(env_of UIDS)" ]
	[ "$(env_of FDS)" = '0 1 2 3 63' ] && [ "$(env_of PIDS)" = '1 0' ] && [ "$(env_of L)" = '0 0 32 65536 5' ]
	first=$(env_of UIDS)
	order two 'export UIDS="$(id -u)"; unpublished'
	good two
	[ "$(env_of UIDS)" != "$first" ]
}

@test "sandbox: what orders export is data, to the tools too" {
	order echo 'export LD_PRELOAD=/x.so LD_LIBRARY_PATH=. BASH_ENV=/y ENV=/y PATH=/z IFS=x GIT_DIR=/g http_proxy=h; unpublished'
	order good unpublished
	run --separate-stderr -0 orders-parse -j1 < <(records echo good)
	[ "$(jq -c 'select(.order == "echo") | [.env | .LD_PRELOAD, .BASH_ENV, .PATH, .GIT_DIR]' <<<"$output")" = '["/x.so","/y","/z","/g"]' ]
	[ "$(jq -r 'select(.order == "good") | .env.PATH' <<<"$output")" = /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ]
	[ -z "$stderr" ]
}

@test "sandbox: records cannot be forged, only spoilt, and only its own" {
	for lie in 'printf "environment\0ORDERS_NAME=other\0" >&63; builtin exit 0' 'printf "env\0A B\0" >&63' \
		'printf "command\0autodeploy\0/headquarters/x\0-1\0-1\0" >&63' 'printf "command\0autodeploy\0x\0001\000999999\0" >&63' \
		'head -c 500000 /dev/urandom >&63' 'exec 63>&-' 'exec /usr/bin/true' 'exec 63</dev/null' 'printf "setting\0PORT\0;}\0" >&63'; do
		order echo "$lie" 'autodeploy x'
		order good 'unpublished'
		run --separate-stderr orders-parse < <(records echo good)
		[ "${#lines[@]}" = 2 ]
		[ "$(jq -r 'select(.order == "good") | .env.ORDERS_NAME' <<<"$output")" = good ]
		[ "$(jq -r 'select(.order == "echo") | has("error") or .autodeploy == "x"' <<<"$output")" = true ]
	done
	# A file named in the report is shown, never opened, and never breaks the line.
	order echo 'printf "error\0/etc/x\ny\0001\0evil\e[31m\n{}\0" >&63; unpublished'
	bad echo '/etc/x\x0ay:1: evil\x1b[31m\x0a{}'
}

@test "sandbox: the parent cannot be killed" {
	order echo 'kill -9 $PPID $$ 0; kill -9 -1; for i in {1..50}; do kill -9 $i; done 2>/dev/null; unpublished'
	good echo
}

@test "sandbox: namespaces, mounts, tracing, keys, sockets are refused" {
	command -v perl || skip 'no perl'
	mkdir -p "$hq/echo"
	# A program of the ship's, reached in ways that no order has; perl can make any system call.
	order echo <<'END'
perl=/.programs/perl
# mount umount2 unshare(NEWUSER) setns ptrace socket keyctl bpf memfd_create prctl(PDEATHSIG) clone(NEWUSER) chroot
for call in 165,0,0,0,0,0 166,0,0 272,0x10000000 308,0,0 101,0,0,0,0 41,2,1,0 250,0,0 321,0,0,0 319,0,0 157,1,0 56,0x10000011,0 161,0; do
	export R+="$($perl -e '@a = map { /^0x/ ? oct : $_ + 0 } split /,/, $ARGV[0]; syscall(shift @a, @a); print $! + 0, " "' "$call")"
done
unpublished
END
	[ "$(uname -m)" = x86_64 ] || skip 'system call numbers of x86-64'
	good echo
	[ "$(env_of R)" = '1 1 1 1 1 1 1 1 1 1 1 1 ' ]
}

@test "sandbox: an endless loop is ended after 5 s of processor time" {
	start=$SECONDS
	order echo "mark=$marker; while :; do :; done"
	parse echo
	# On a busy ship its 5 s do not come within the 9 s that all have.
	[[ "$(jq -r .error.message <<<"$output")" =~ ^'echo/orders: '('used more than 5 s of processor time'|'not done within 9 s')$ ]]
	[ $((SECONDS - start)) -le 10 ]
}

@test "sandbox: sleep is ended after 9 s, and may go better another time" {
	start=$SECONDS
	order echo "exec -a $marker sleep 1000"
	bad echo 'echo/orders: not done within 9 s' 75
	[ $((SECONDS - start)) -le 10 ]
}

@test "sandbox: output over 1 MB, on any descriptor, is ended" {
	order echo 'while :; do printf "%01000d" 0; done'
	bad echo 'echo/orders: printed more than 1 MB'
	order echo 'while :; do printf "%01000d" 0 >&2; done'
	bad echo 'echo/orders: printed more than 1 MB'
	order echo 'while :; do printf "%01000d" 0 >&63; done'
	bad echo 'echo/orders: printed more than 1 MB'
}

@test "sandbox: memory over 64 MB is ended, of one process and of many" {
	order echo 'x=x; while :; do x=$x$x; done'
	bad echo 'echo/orders: needed more than 64 MB of memory'
	order echo 'f() { local x; x=$(head -c 25000000 /dev/zero | tr "\0" x); sleep 20; }' 'for i in {1..6}; do f & done; wait'
	bad echo 'echo/orders: needed more than 64 MB of memory'
}

@test "sandbox: fork bombs are ended and named" {
	order echo "bomb() { (exec -a $marker sleep 1000) & bomb | bomb & }; bomb; wait; sleep 1000"
	parse echo
	[[ "$(jq -r .error.message <<<"$output")" = 'echo/orders: started more than 32 processes'* ]]
	order echo "(exec -a $marker sleep 1000) & unpublished"
	bad echo 'echo/orders: leaves processes running in the background'
	order echo "(setsid sleep 1000 $marker &); unpublished"
	parse echo
	[ "$status" = 1 ]
}

@test "sandbox: killing orders-parse kills what it evaluates" {
	order echo "mark=$marker; sleep 1000"
	records echo >"$BATS_TEST_TMPDIR/in"
	orders-parse -j1 <"$BATS_TEST_TMPDIR/in" >/dev/null 3>&- &
	parser=$!
	for _ in $(seq 100); do
		child=$(pgrep -P "$parser" || :)
		[ -n "$child" ] && [ -n "$(pgrep -P "$child" -x sleep || :)" ] && break
		sleep 0.05
	done
	[ -n "$child" ]
	kill -9 "$parser"
	for _ in $(seq 100); do
		[ -e "/proc/$child" ] || return 0
		sleep 0.05
	done
	false
}

@test "sandbox: a hundred evaluations leave nothing behind" {
	for i in $(seq 100); do order "s$i" 'unpublished'; done
	before=$(find /proc/[0-9]* -maxdepth 0 2>/dev/null | wc -l)
	# shellcheck disable=SC2046
	run --separate-stderr -0 orders-parse < <(records $(seq -f 's%.0f' 100))
	[ "${#lines[@]}" = 100 ]
	[ "$(find /proc/[0-9]* -maxdepth 0 -user 1879048192 2>/dev/null | wc -l)" = 0 ]
	[ "$(find /proc/[0-9]* -maxdepth 0 2>/dev/null | wc -l)" -le $((before + 20)) ]
}
