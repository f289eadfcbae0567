#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2030,SC2031 # each test runs in a subshell of its own, and means to
# healthcheck against real servers on this machine, with good habits and bad (rows 24 and 25).
bats_require_minimum_version 1.5.0

setup() {
	dir=$BATS_TEST_TMPDIR
	servers=()
	export STARPHLEET_ROOT=$dir/root STARPHLEET_RUN=$dir/run STARPHLEET_INI=$dir/none.ini
	mkdir -p "$STARPHLEET_ROOT"
	: >"$STARPHLEET_INI"
}

teardown() {
	# unshare is deaf to other signals; without the wait the shell would tell of each.
	{
		for server in "${servers[@]}"; do kill -KILL -- "-$server" "$server" || true; done
		[ ${#servers[@]} -eq 0 ] || wait "${servers[@]}" || true
	} 2>/dev/null
}

# A server of that habit; port is its port.
serve() { # serve NAME MODE [VALUE]
	local name=$1
	shift
	perl "$BATS_TEST_DIRNAME/fixtures/healthcheck/server" "$dir/$name" "$@" 3>&- 4>&- >/dev/null 2>&1 &
	servers+=("$!")
	until [ -s "$dir/$name" ]; do sleep 0.01; done
	port=$(cat "$dir/$name")
}

record() { # record ORDER PORT [JSON SETTINGS]
	jq -cn --arg order "$1" --argjson port "$2" --argjson settings "${3:-{\}}" '{order: $order, settings: $settings,
		container: {name: ($order + "-1234567-abcdef0"), address: "127.0.0.1", port: $port}}'
}

serving() { # serving ORDER PORT [JSON SETTINGS]
	mkdir -p "$STARPHLEET_ROOT/current_orders/$1"
	record "$@" | jq '{order, settings, container: .container.name, address: .container.address,
		port: .container.port, published: true}' >"$STARPHLEET_ROOT/current_orders/$1/new"
	mv "$STARPHLEET_ROOT/current_orders/$1/new" "$STARPHLEET_ROOT/current_orders/$1/serving.json"
}

milliseconds() {
	local now
	read -r now _ </proc/uptime
	echo "${now/./}0"
}

@test "healthcheck: 200 is well; the record says status, time and tries, and waits for publication" {
	serve one status 200
	run --separate-stderr -0 healthcheck < <(record echo "$port" '{"HEALTHCHECK":"/"}')
	[ "$(jq -r '.health.status, .health.tries, .state, has("error")' <<<"$output" | xargs)" = '200 1 checking false' ]
	[ "$(jq .health.ms <<<"$output")" -lt 1000 ]
	[ "$(jq -S . <<<"$output")" = "$(jq -S . "$STARPHLEET_ROOT/current_orders/echo/wanted.json")" ]
	[ -z "$stderr" ]
}

@test "healthcheck: exactly one slash stands between the port and HEALTHCHECK" {
	serve one status 200
	for path in 'a/b?c=d' '/a/b?c=d' '///a/b?c=d'; do
		record echo "$port" "$(jq -cn --arg path "$path" '{HEALTHCHECK: $path}')"
	done | healthcheck >/dev/null
	[ "$(sort -u "$dir/one.log")" = 'GET /a/b?c=d HTTP/1.1 69' ]
	[ "$(wc -l <"$dir/one.log")" -eq 3 ]
}

@test "healthcheck: HEALTHCHECK_STATUS lists what is well, alone" {
	serve one status 401
	settings='{"HEALTHCHECK":"/","HEALTHCHECK_INIT_DELAY":"1"}'
	run --separate-stderr -1 healthcheck < <(record echo "$port" "$settings")
	[ "$(jq -r .error.message <<<"$output")" = "not well within 1 s: http://127.0.0.1:$port/: the container does not run any more; status 401" ]
	[ "$(jq -r .error.status <<<"$output")" -eq 75 ] # nobody's fault that a new try cannot mend
	run --separate-stderr -0 healthcheck < <(record echo "$port" "$(jq -c '.HEALTHCHECK_STATUS="200 401"' <<<"$settings")")
	run --separate-stderr -1 healthcheck < <(record echo "$port" "$(jq -c '.HEALTHCHECK_STATUS="200"' <<<"$settings")")
}

@test "healthcheck: without HEALTHCHECK an accepted connection is enough (and needed)" {
	serve one silent
	run --separate-stderr -0 healthcheck < <(record echo "$port")
	[ "$(jq -c '[.health.status, .health.tries, .state]' <<<"$output")" = '[null,1,"checking"]' ]
	serve two refuse
	run --separate-stderr -1 healthcheck < <(record echo "$port" '{"HEALTHCHECK_INIT_DELAY":"1"}')
	[ "$(jq -r .error.message <<<"$output")" = "not listening within 1 s: tcp://127.0.0.1:$port: the container does not run any more; connection refused" ]
}

@test "healthcheck: a service that comes up late is found soon after" {
	serve one late 3
	run --separate-stderr -0 healthcheck < <(record echo "$port" '{"HEALTHCHECK":"/"}')
	[ "$(jq .health.ms <<<"$output")" -ge 2500 ]
	[ "$(jq .health.ms <<<"$output")" -lt 4800 ]
	serve two flaky 4
	run --separate-stderr -0 healthcheck < <(record echo "$port" '{"HEALTHCHECK":"/"}')
	[ "$(jq -c '[.health.status, .health.tries]' <<<"$output")" = '[200,5]' ]
}

@test "healthcheck: the error carries the service's last words, made printable" {
	serve one status 500
	mkdir -p "$STARPHLEET_ROOT/logs/api+v1"
	log=$STARPHLEET_ROOT/logs/api+v1/api+v1-1234567-abcdef0.log
	seq 5000 >"$log"
	printf '\tat main \033[31mred \377\0\n' >>"$log"
	record api/v1 "$port" '{"HEALTHCHECK":"/","HEALTHCHECK_INIT_DELAY":"1"}' |
		sed 's,"name":"api/v1,"name":"api+v1,' >"$dir/in"
	run --separate-stderr -1 healthcheck <"$dir/in"
	[ "$(jq -r .state <<<"$output")" = failed ]
	[ "$(jq -r '.error.log | length' <<<"$output")" -eq 20 ]
	[ "$(jq -r '.error.log[0]' <<<"$output")" = 4982 ]
	# shellcheck disable=SC1003 # backslashes
	[ "$(jq -r '.error.log[19]' <<<"$output")" = ' at main \x1b[31mred \xff ' ]
	[ "$(jq .error.log "$STARPHLEET_ROOT/current_orders/api+v1/wanted.json" | jq length)" -eq 20 ]
}

@test "healthcheck: a log that leads elsewhere is not read (row 17)" {
	serve one refuse
	mkdir -p "$STARPHLEET_ROOT/logs/echo"
	echo secret >"$dir/secret"
	log=$STARPHLEET_ROOT/logs/echo/echo-1234567-abcdef0.log
	record echo "$port" '{"HEALTHCHECK_INIT_DELAY":"1"}' >"$dir/in"
	for kind in link fifo folder; do
		rm -rf "$log"
		case $kind in
		link) ln -s "$dir/secret" "$log" ;;
		fifo) mkfifo "$log" ;;
		folder) mkdir "$log" ;;
		esac
		run --separate-stderr -1 timeout 5 healthcheck <"$dir/in"
		[ "$(jq -r '.error | has("log")' <<<"$output")" = false ]
	done
	rm -rf "$STARPHLEET_ROOT/logs/echo"
	ln -s "$dir" "$STARPHLEET_ROOT/logs/echo"
	cp "$dir/secret" "$dir/echo-1234567-abcdef0.log"
	run --separate-stderr -1 timeout 5 healthcheck <"$dir/in"
	[[ $output != *secret* ]]
}

@test "healthcheck: nothing that a service answers makes it hang or fools it (row 24)" {
	local wanted begin took
	while IFS='|' read -r mode value wanted; do
		rm -f "$dir/one" "$dir/one.log"
		serve one "$mode" ${value:+"$value"}
		begin=$(milliseconds)
		run --separate-stderr healthcheck --once "http://127.0.0.1:$port/" --timeout 2
		took=$(($(milliseconds) - begin))
		echo "$mode: $status, $took ms: $stderr"
		[ "$took" -lt 2500 ]
		[ "$status" -eq 1 ]
		[[ $stderr == "healthcheck: not well: http://127.0.0.1:$port/: "$wanted ]]
		# What did not fit into the sockets' buffers was never sent.
		[ ! -s "$dir/one.log" ] || [ "$(awk '{print $NF}' "$dir/one.log")" -lt 4000000 ]
		kill -- "-${servers[-1]}"
	done <<-'END'
		refuse||connection refused
		six||connection refused
		silent||no answer within 2 s
		noaccept||no answer within 2 s
		close||*
		slow-header||no answer within 2 s
		endless-header||an answer with more than 64 KiB of headers
		one-header||an answer with more than 64 KiB of headers
		continue||an answer with more than 64 KiB of headers
		stopping-body||status 200, but no end of the answer within 2 s
		cut||an answer that broke off
		garbage||an answer that is not HTTP
		status|401|status 401
		status|204|status 204
		status|500|status 500
	END
}

@test "healthcheck: of an endless answer a mebibyte is read" {
	serve one endless-body
	run --separate-stderr -0 healthcheck --once "http://127.0.0.1:$port/"
	until [ -s "$dir/one.log" ]; do sleep 0.02; done
	[ "$(awk '{print $NF}' "$dir/one.log")" -gt 1000000 ]
	[ "$(awk '{print $NF}' "$dir/one.log")" -lt 4000000 ]
}

@test "healthcheck: redirects are not followed, proxies not asked" {
	serve target status 200
	serve one redirect "http://127.0.0.1:$port/"
	run --separate-stderr -1 healthcheck --once "http://127.0.0.1:$port/"
	[[ $stderr == *': status 302' ]]
	[ ! -e "$dir/target.log" ]
	serve two status 200
	http_proxy=http://127.0.0.1:1 run --separate-stderr -0 healthcheck -v --once "http://localhost:$port/"
	[[ $stderr == "healthcheck: http://localhost:$port/: status 200 in "*' ms' ]]
}

@test "healthcheck: 500 at once in one process, none held up by another" {
	serve hang silent
	hang=$port
	serve good status 200
	for i in $(seq 250); do
		record "hang$i" "$hang" '{"HEALTHCHECK":"/","HEALTHCHECK_INIT_DELAY":"8"}'
		record "good$i" "$port" '{"HEALTHCHECK":"/"}'
	done >"$dir/in"
	begin=$(milliseconds)
	run --separate-stderr -1 healthcheck <"$dir/in"
	[ "$(($(milliseconds) - begin))" -lt 15000 ]
	[ "${#lines[@]}" -eq 500 ]
	[ "$(jq -r 'select(.health.status == 200) | .order' <<<"$output" | sort -u | wc -l)" -eq 250 ]
	[ "$(jq -r 'select(.error) | .order' <<<"$output" | sort -u | wc -l)" -eq 250 ]
	[ "$(jq -c 'select(.error) | select(.health.ms < 7990) | .health' <<<"$output")" = "" ]
	# The good ones did not wait for the others.
	[ "$(head -n 250 <<<"$output" | jq -r 'select(.error) | .order' | wc -l)" -eq 0 ]
}

@test "healthcheck: few descriptors are an error on a record, not a crash (row 10)" {
	serve good status 200
	for i in $(seq 40); do
		record "good$i" "$port" '{"HEALTHCHECK":"/","HEALTHCHECK_INIT_DELAY":"5"}'
	done >"$dir/in"
	run --separate-stderr prlimit --nofile=12 healthcheck <"$dir/in"
	[ "${#lines[@]}" -eq 40 ]
	jq -e . <<<"$output" >/dev/null
	[ "$status" -le 1 ]
}

@test "healthcheck: settings that make no sense are refused by name" {
	while IFS='|' read -r settings wanted; do
		run --separate-stderr -1 healthcheck < <(record echo 8080 "$settings")
		[ "$(jq -r .error.message <<<"$output")" = "$wanted" ]
		[ "$(jq -r .error.status <<<"$output")" -eq 78 ]
	done <<-'END'
		{"HEALTHCHECK":"a b"}|HEALTHCHECK must be a path without blanks, other characters as %XX: a b
		{"HEALTHCHECK":"a\r\nHost: evil"}|HEALTHCHECK must be a path without blanks, other characters as %XX: a\x0d\x0aHost: evil
		{"HEALTHCHECK":"é"}|HEALTHCHECK must be a path without blanks, other characters as %XX: é
		{"HEALTHCHECK_STATUS":"20x"}|HEALTHCHECK_STATUS must be up to 16 HTTP statuses like 200 401: 20x
		{"HEALTHCHECK_TIMEOUT":"abc"}|HEALTHCHECK_TIMEOUT must be a whole number from 1 to 3600: abc
		{"HEALTHCHECK_INIT_DELAY":"0"}|HEALTHCHECK_INIT_DELAY must be a whole number from 1 to 3600: 0
		{"HEALTHCHECK_PULSE":"-1"}|HEALTHCHECK_PULSE must be a whole number from 1 to 86400: -1
	END
}

@test "healthcheck: what needs no check passes as it came: errors, gone, unpublished, garbage" {
	cat >"$dir/in" <<-'END'
		{"order":"a","error":{"tool":"x","message":"y","status":78}}
		{"order":"b","gone":true}
		{"order":"c","unpublished":true,"container":{"name":"c-1234567-1234567"}}
	END
	run --separate-stderr -1 healthcheck <"$dir/in"
	[ "$output" = "$(cat "$dir/in")" ]
	[ ! -e "$STARPHLEET_ROOT/current_orders" ]
	run --separate-stderr -1 healthcheck <<<'nonsense'
	[[ $(jq -r .error.message <<<"$output") == 'not a record: '* ]]
	run --separate-stderr -1 healthcheck <<<'{"order":"../../x"}'
	[[ $(jq -r .error.message <<<"$output") == 'bad name of an order'* ]]
	run --separate-stderr -1 healthcheck <<<'{"order":"x"}'
	[ "$(jq -r .error.message <<<"$output")" = 'no container to check: x: the record needs container-build first' ]
	run -0 healthcheck </dev/null
	[ -z "$output" ]
}

@test "healthcheck: a full disk is a failure, not a success" {
	serve one status 200
	record echo "$port" >"$dir/in"
	# shellcheck disable=SC2016 # expanded in there
	run --separate-stderr -75 sh -c 'healthcheck <"$1" >/dev/full' sh "$dir/in"
	[ "$stderr" = 'healthcheck: cannot write: standard output: No space left on device' ]
}

@test "healthcheck: --watch names what must be restarted, leaves it alone, forgets what is gone" {
	serve good status 200
	serving good "$port" '{"HEALTHCHECK":"/","HEALTHCHECK_PULSE":"1"}'
	mkdir -p "$STARPHLEET_ROOT/current_orders/broken" "$STARPHLEET_ROOT/current_orders/empty"
	echo '{' >"$STARPHLEET_ROOT/current_orders/broken/serving.json"
	# Neither container exists: both are named, once each until the first pause is over.
	healthcheck --watch >"$dir/out" 2>"$dir/err" 3>&- 4>&- &
	servers+=("$!")
	serving down "$port"
	for _ in $(seq 300); do [ "$(sort -u "$dir/out" | wc -l)" -ge 2 ] || sleep 0.1; done
	cat "$dir/out" "$dir/err"
	[ "$(sort "$dir/out" | xargs)" = 'down good' ]
	grep -q '^healthcheck: down: to be restarted: its container does not run$' "$dir/err"
	[ "$(grep -c broken "$dir/err")" -eq 1 ]
	kill -0 "${servers[-1]}"
}

# What looks like a container: a process 1 in the group of that name. init is its pid.
container() { # container NAME
	local group outer
	group=$(awk '$3 == "cgroup2" || $3 == "cgroup" && $4 ~ /pids/ {print $2; exit}' /proc/self/mounts)/starphleet/$STARPHLEET_BRIDGE/$1
	mkdir -p "$group"
	groups+=("$group")
	unshare -pf --kill-child sleep 600 3>&- 4>&- &
	outer=$!
	servers+=("$outer")
	until init=$(cat "/proc/$outer/task/$outer/children") && [ -n "$init" ]; do sleep 0.02; done
	init=${init% }
	echo "$init" >"$group/cgroup.procs"
}

@test "healthcheck: --watch sees a container's end at once, and misses when they are too many" {
	export STARPHLEET_BRIDGE=sph$$
	groups=()
	serve good status 200
	serving good "$port" '{"HEALTHCHECK":"/","HEALTHCHECK_PULSE":"1"}'
	container good-1234567-abcdef0
	serve bad flaky 0
	serving bad "$port" '{"HEALTHCHECK":"/","HEALTHCHECK_PULSE":"1","HEALTHCHECK_RETRY_COUNT":"2","HEALTHCHECK_INIT_DELAY":"1"}'
	container bad-1234567-abcdef0
	bad=${servers[-2]}
	serving plain "$port"
	container plain-1234567-abcdef0
	plain=$init
	healthcheck --watch >"$dir/out" 2>"$dir/err" 3>&- 4>&- &
	servers+=("$!")
	# A service has its time at first, ten seconds at least.
	for _ in $(seq 60); do [ ! -s "$dir/out" ] && sleep 0.2; done
	[ ! -s "$dir/out" ]
	kill -KILL "$plain"
	SECONDS=0
	for _ in $(seq 100); do grep -qx plain "$dir/out" || sleep 0.1; done
	grep -qx plain "$dir/out"
	[ "$SECONDS" -le 4 ]
	kill "$bad"
	for _ in $(seq 100); do grep -qx bad "$dir/out" || sleep 0.1; done
	grep -qx bad "$dir/out"
	grep -q '^healthcheck: bad: to be restarted: http://127.0.0.1:.*: connection refused, 3 times in a row$' "$dir/err"
	# What no longer serves is forgotten.
	rm -r "$STARPHLEET_ROOT/current_orders/bad"
	sleep 3
	: >"$dir/out"
	sleep 12
	! grep -q bad "$dir/out" || false
	! grep -q good "$dir/out" || false
	teardown
	for _ in $(seq 100); do rmdir "${groups[@]}" "${groups[0]%/*}" 2>/dev/null || sleep 0.05; done
	[ ! -e "${groups[0]%/*}" ]
}

@test "healthcheck: --help, --version, misuse" {
	run --separate-stderr -0 healthcheck --help
	[[ ${lines[0]} == 'usage: healthcheck '* ]]
	run -0 healthcheck --version
	[[ $output == 'healthcheck '[0-9]* ]]
	for words in --nonsense operand '--timeout 3' '--once http://x/ --watch' '--once http://x/ --timeout 0' '--once https://x/' \
		'--once ftp://x/' '--once http://u@x/'; do
		# shellcheck disable=SC2086 # words
		run --separate-stderr -64 healthcheck $words
	done
}
