#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# starphleet-init as process 1 of a process namespace, with services that behave and that do not.
bats_require_minimum_version 1.5.0

setup() {
	init=${STARPHLEET_LIBEXEC:?}/starphleet-init
	# The service's user has to reach its files.
	chmod 711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/test "$BATS_TEST_TMPDIR"
	etc=$BATS_TEST_TMPDIR/etc log=$BATS_TEST_TMPDIR/logs/web.log
	mkdir "$etc" "$BATS_TEST_TMPDIR/logs"
	printf 'ONE=1\0TWO=two words\nand a line\0' >"$etc/env"
	chmod 600 "$etc/env"
	outer=
}

teardown() {
	[ -z "$outer" ] || kill -KILL "$outer" || true
	! mountpoint -q "$BATS_TEST_TMPDIR/logs" || umount -l "$BATS_TEST_TMPDIR/logs"
}

# The service: its standard input.
web() {
	cat >"$etc/web"
	chmod 755 "$etc/web"
}

start() { # start [OPTION...]
	unshare -pfm --mount-proc --kill-child "$init" --etc "$etc" --user nobody --directory / \
		--log "$log" "$@" 3>&- 4>&- &
	outer=$!
	until pid=$(cat "/proc/$outer/task/$outer/children") && [ -n "$pid" ] &&
		[ "$(readlink "/proc/${pid% }/exe")" = "$(readlink -f "$init")" ]; do
		sleep 0.02
	done
	pid=${pid% }
}

# Wait until the log holds a line like that.
logged() { # logged PATTERN [SECONDS]
	local end=$((SECONDS + ${2:-10}))
	until grep -aqE -- "$1" "$log"; do
		[ "$SECONDS" -lt "$end" ] || { cat "$log" && return 1; }
		sleep 0.02
	done
}

stop() { # stop [SIGNAL]
	kill "-${1:-TERM}" "$pid"
	wait "$outer"
	outer=
}

@test "starphleet-init: the service has its user, environment and three descriptors, no more" {
	web <<-'END'
		#!/usr/bin/perl
		print "[$_=$ENV{$_}]\n" for sort keys %ENV;
		opendir my $dir, '/proc/self/fd';
		print "fds ", join(' ', sort grep { /\d/ && readlink("/proc/self/fd/$_") !~ m{/fd$} } readdir $dir), "\n";
		print "input ", readlink('/proc/self/fd/0'), "\n";
		open my $stat, '<', '/proc/self/stat';
		my @stat = split / /, <$stat>;
		print "session ", $stat[5] == $$ ? 'own' : 'other', " group ", $stat[4] == $$ ? 'own' : 'other', "\n";
		print "user $> $< groups $)\n";
		open my $status, '<', '/proc/self/status';
		print grep /^(CapEff|CapPrm|SigBlk)/, <$status>;
		sleep 60;
	END
	sed -i 's/^\(#.*perl\)$/\1\n$| = 1;/' "$etc/web"
	start
	logged CapEff
	run cat "$log"
	echo "$output"
	[ "${lines[0]}" = "starphleet-init: web started, process 2" ]
	[ "${lines[1]}" = '[ONE=1]' ]
	[ "${lines[2]}" = '[TWO=two words' ]
	[ "${lines[3]}" = 'and a line]' ]
	[ "${lines[4]}" = 'fds 0 1 2' ]
	[ "${lines[5]}" = 'input /dev/null' ]
	[ "${lines[6]}" = 'session own group own' ]
	[ "${lines[7]}" = 'user 65534 65534 groups 65534 65534' ]
	run ! grep -E '^(Cap|Sig).*[1-9a-f]$' "$log"
	stop
}

@test "starphleet-init: the service can open /dev/stdout, as programs told to log there do" {
	web <<-'END'
		#!/bin/sh
		echo opened >/dev/stdout
		echo opened too >/dev/stderr
		sleep 60
	END
	start
	logged '^opened too$'
	logged '^opened$'
	stop
}

@test "starphleet-init: orphans are reaped" {
	web <<-'END'
		#!/bin/sh
		for i in 1 2 3 4 5 6 7 8 9 10; do
			(for j in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.1 &); done) &
		done
		wait
		sleep 0.5
		echo "zombies $(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z')"
		sleep 60
	END
	start
	logged '^zombies'
	grep -q '^zombies 0$' "$log"
	stop
}

@test "starphleet-init: a service that dies starts again, after growing pauses" {
	web <<-'END'
		#!/bin/sh
		printf 'last words'
		exit 3
	END
	start
	logged 'again in 2 s'
	run cat "$log"
	[ "${lines[1]}" = 'last words' ]
	[ "${lines[2]}" = 'starphleet-init: web exited with status 3, starting again' ]
	[[ ${lines[3]} == 'starphleet-init: web started, process '* ]]
	[ "${lines[5]}" = 'starphleet-init: web exited with status 3, starting again in 1 s' ]
	[ "${lines[8]}" = 'starphleet-init: web exited with status 3, starting again in 2 s' ]
	SECONDS=0
	stop
	[ "$SECONDS" -lt 2 ]
}

@test "starphleet-init: what the service leaves behind in its group ends before it starts again" {
	web <<-'END'
		#!/bin/sh
		sleep 1000 &
		sleep 0.2
		kill -SEGV $$
	END
	start
	logged 'again in 1 s'
	grep -q 'web was ended by signal 11 (Segmentation fault), starting again$' "$log"
	[ "$(pgrep --ns "$pid" --nslist pid -cx sleep)" -eq 0 ]
	stop
}

@test "starphleet-init: TERM, INT and PWR let the service end in peace" {
	web <<-'END'
		#!/bin/sh
		trap 'sleep 0.3; echo bye; exit 0' TERM
		exec 2>/dev/null # the shell's own words about its sleep
		echo ready
		while :; do sleep 0.05; done
	END
	for signal in TERM INT PWR; do
		rm -f "$log"
		start
		logged '^ready$'
		SECONDS=0
		stop "$signal"
		[ "$SECONDS" -lt 4 ]
		run tail -n 3 "$log"
		echo "$signal: $output"
		[ "${lines[0]}" = 'starphleet-init: stopping' ]
		[ "${lines[1]}" = 'bye' ]
		[ "${lines[2]}" = 'starphleet-init: web exited with status 0' ]
	done
}

@test "starphleet-init: a deaf service and a stopped one end within ten seconds (row 28)" {
	web <<-'END'
		#!/bin/sh
		trap '' TERM
		sh -c 'kill -STOP $$' &
		setsid sh -c 'trap "" TERM; while :; do sleep 1; done' &
		echo ready
		while :; do sleep 1; done
	END
	start
	logged '^ready$'
	SECONDS=0
	stop
	[ "$SECONDS" -ge 9 ]
	[ "$SECONDS" -le 12 ]
	grep -q 'web did not end within 10 s, killed' "$log"
}

@test "starphleet-init: output is bounded, and its bytes are kept" {
	web <<-'END'
		#!/usr/bin/perl
		syswrite STDOUT, pack('C*', 0 .. 255) x 256 for 1 .. 80; # 5 MiB
		syswrite STDOUT, "the end\n";
		sleep 60;
	END
	start
	logged 'the end'
	[ "$(stat -c %s "$log")" -le 1048576 ]
	[ "$(stat -c %s "$log.1")" -eq 1048576 ]
	[ "$(find "$BATS_TEST_TMPDIR/logs" -type f | wc -l)" -eq 2 ]
	run perl -0777 -ne 'my $all = pack("C*", 0 .. 255); s/^starphleet-init:[^\n]*\n//; s/^.*?(?=\x00)//s;
		while (length >= 256) { die unless substr($_, 0, 256, "") eq $all }' "$log.1"
	[ "$status" -eq 0 ]
	stop
}

@test "starphleet-init: a full disk never blocks the service, and the loss is told" {
	web <<-'END'
		#!/usr/bin/perl
		$| = 1;
		print 'x' x 4095, "\n" for 1 .. 500;
		open my $done, '>', $ENV{DONE};
		while (1) { print "tick\n"; select undef, undef, undef, 0.05 }
	END
	mkdir -m 777 "$BATS_TEST_TMPDIR/open"
	printf 'DONE=%s/open/done\0' "$BATS_TEST_TMPDIR" >"$etc/env"
	mount -t tmpfs -o size=256k,mode=711 tmpfs "$BATS_TEST_TMPDIR/logs"
	dd if=/dev/zero of="$BATS_TEST_TMPDIR/logs/ballast" bs=1k count=100 status=none
	start
	for _ in $(seq 200); do [ -e "$BATS_TEST_TMPDIR/open/done" ] || sleep 0.05; done
	[ -e "$BATS_TEST_TMPDIR/open/done" ]
	nsenter -t "$pid" -m rm -f "$BATS_TEST_TMPDIR/logs/ballast"
	logged '^starphleet-init: [0-9]+ bytes of output lost: No space left on device$'
	logged '^tick$'
	stop
}

@test "starphleet-init: a log that is a link or a FIFO is not written, the service runs on" {
	web <<-'END'
		#!/bin/sh
		seq 100000
		touch "$DONE"
		sleep 60
	END
	mkdir -m 777 "$BATS_TEST_TMPDIR/open"
	for kind in link fifo; do
		rm -f "$log" "$BATS_TEST_TMPDIR/open/done"
		echo untouched >"$BATS_TEST_TMPDIR/marker"
		[ "$kind" = fifo ] || ln -s "$BATS_TEST_TMPDIR/marker" "$log"
		[ "$kind" = link ] || mkfifo "$log"
		printf 'DONE=%s/open/done\0PATH=%s\0' "$BATS_TEST_TMPDIR" "$PATH" >"$etc/env"
		start
		for _ in $(seq 200); do [ -e "$BATS_TEST_TMPDIR/open/done" ] || sleep 0.05; done
		[ -e "$BATS_TEST_TMPDIR/open/done" ]
		[ "$(cat "$BATS_TEST_TMPDIR/marker")" = untouched ]
		stop
	done
}

@test "starphleet-init: without a service it reaps and waits" {
	start
	sleep 0.2
	kill -0 "$pid"
	SECONDS=0
	stop
	[ "$SECONDS" -lt 2 ]
	[ ! -s "$log" ] || [ "$(cat "$log")" = 'starphleet-init: stopping' ]
}

@test "starphleet-init: what keeps a service from starting is in the log" {
	echo 'no program' | web
	start
	logged 'cannot start web: .*/etc/web: Exec format error'
	stop
	rm "$etc/env" "$log"
	start
	logged 'cannot read: .*/etc/env: No such file or directory, starting again in 1 s'
	stop
	rm "$log"
	start --user stranger
	logged 'cannot find user: stranger: No such file or directory, starting again'
	stop
}

@test "starphleet-init: the loopback interface comes up" {
	# shellcheck disable=SC2016 # expanded in there
	run unshare -n sh -c '"$1" --etc /nonexistent & sleep 0.3; ip -br link show lo; kill $!' sh "$init"
	[[ $output == *'LOOPBACK,UP'* ]]
}

@test "starphleet-init: --help, --version, misuse" {
	run --separate-stderr "$init" --help
	[ "$status" -eq 0 ]
	[[ ${lines[0]} == 'usage: starphleet-init '* ]]
	run "$init" --version
	[[ $output == 'starphleet-init '[0-9]* ]]
	run --separate-stderr -64 "$init" --nonsense
	run --separate-stderr -64 "$init" operand
}
