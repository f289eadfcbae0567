#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# container-build against real LXC: layers, containers, what is left when things go wrong.
# shellcheck disable=SC2016,SC2030,SC2031 # text for shells inside; each test is a subshell
bats_require_minimum_version 1.5.0
load lib/ship

setup_file() {
	ship_up
	mkdir -p "$SHIP_DIR/trees"
}

teardown_file() { ship_down; }

# tree NAME: a static site that says NAME, as a checked-out tree.
tree() {
	mkdir -p "$SHIP_DIR/trees/$1"
	[ -e "$SHIP_DIR/trees/$1/index.html" ] || echo "$1" >"$SHIP_DIR/trees/$1/index.html"
}

# record ORDER TREE COMMIT [JQ-FILTER]: what hq-sync --services would pass on.
record() {
	jq -nc --arg order "$1" --arg dir "$SHIP_DIR/trees/$2" --arg commit "$3" \
		'{order: $order, orders_id: "1234567890", autodeploy: "https://example.org/x", env: {},
		  settings: {PORT: "3001"}, service: {url: "https://example.org/x", commit: $commit, dir: $dir}}' |
		jq -c "${4:-.}"
}

# build RECORD...: through container-build; sets name, address, layers too.
build() {
	run --separate-stderr container-build <<<"$1"
	printf '%s\n' "$output" "$stderr"
	name=$(jq -r '.container.name // empty' <<<"$output")
	address=$(jq -r '.container.address // empty' <<<"$output")
	layers=$(jq -c '.container.layers // empty' <<<"$output")
}

inside() { # NAME COMMAND...
	local name=$1
	shift
	lxc-attach -P "$LXC_ROOT" -n "$name" --clear-env -- "$@"
}

# The index page of the service, once it answers.
page() {
	ship_until 10 curl -sf -o /dev/null "http://$1:${2:-3001}/"
	curl -sf "http://$1:${2:-3001}/"
}

state() { jq -r "$2" "$STARPHLEET_ROOT/current_orders/$1/wanted.json"; }

serving() { # ORDER NAME ADDRESS SERVICE-ADDRESS
	jq -nc --arg order "$1" --arg name "$2" --arg address "$3" --arg service "$4" \
		'{order: $order, container: $name, address: $address, port: 3001, commit: "x", orders_id: "1234567890",
		  service_address: $service, published: true, location: "/", settings: {}}' \
		>"$STARPHLEET_ROOT/current_orders/$1/serving.json"
}

service_address() { echo "${STARPHLEET_SERVICES%.*}.$1"; }

# The pid of the container's LXC monitor.
monitor() { pgrep -f "monitor. $LXC_ROOT ${1//+/[+]}\$"; }

# The first process of the container's service.
web_pid() {
	local pid
	find /sys/fs/cgroup -path "*/$STARPHLEET_BRIDGE/$1/*cgroup.procs" -exec cat {} + | sort -u | while read -r pid; do
		! grep -q '^NSpid:.*[^0-9]2$' "/proc/$pid/status" || echo "$pid"
	done
}

# What must be the same before and after. Zombies are the business of the machine's process 1, the
# processes that look are processes too, and other ships of tests make layers.
remains() {
	ship_resources | grep -v '^files in run\|^elements\|^rules\|^half-made\|^zombies\|^processes'
	find /sys/fs/cgroup -path "*/starphleet/$STARPHLEET_BRIDGE/*" -name cgroup.procs -exec cat {} + | sort -u | wc -l
	grep -lF "\"$STARPHLEET_ROOT\"" "$STARPHLEET_LAYERS"/*/layer.json || :
	ls "$LXC_ROOT"
}

half_made() {
	find "$STARPHLEET_LAYERS" "$LXC_ROOT" -maxdepth 1 -name '.tmp*' -newer "$SHIP_DIR/starphleet.ini"
	find "$STARPHLEET_RUN/builds" -mindepth 1 2>/dev/null
}

@test "container-build: --help, --version and misuse" {
	run -0 container-build --help
	[ "${lines[0]}" = 'usage: container-build [-v] [-j N]' ]
	run -0 container-build --version
	[[ $output = 'container-build '* ]]
	run --separate-stderr -64 container-build --base --serving
	run --separate-stderr -64 container-build --restart
	run --separate-stderr -64 container-build -j 0
	run --separate-stderr -64 container-build someorder
}

@test "container-build: the base is found again, not made again" {
	run --separate-stderr -0 container-build --base
	[ -z "$stderr" ]
	[ "$(stat -c %u "$STARPHLEET_LAYERS/base/root/usr/bin")" -gt 65535 ]
}

@test "container-build: records that are not its own pass untouched; errors too" {
	local line='{"order":"x","orders_id":"1234567890"}' bad='{"order":"y","error":{"tool":"t","message":"m"}}' \
		gone='{"order":"z","gone":true,"autodeploy":"u"}'
	run --separate-stderr -1 container-build <<<"$line
$bad
$gone"
	[ "$output" = "$line
$bad
$gone" ]
}

@test "container-build: a record that cannot be built says what is missing" {
	run --separate-stderr -1 container-build <<<"$(record a a aaaaaaa1 'del(.service)')"
	[ "$(jq -r .error.message <<<"$output")" = 'no service: a: hq-sync --services comes before' ]
	run --separate-stderr -1 container-build <<<"$(record a a aaaaaaa1 '.settings.PORT = "abc"')"
	[[ $(jq -r .error.message <<<"$output") = *PORT* ]]
	run --separate-stderr -1 container-build <<<"$(record ../a a aaaaaaa1)"
	[[ $(jq -r .error.message <<<"$output") = 'bad name of an order'* ]]
	[ ! -e "$STARPHLEET_ROOT/current_orders/..+a" ]
}

@test "container-build: a static site runs as ubuntu, unprivileged, with its environment and no more" {
	tree one
	# shellcheck disable=SC2016 # for the container's shell
	echo 'web: env | sort >/tmp/env; echo $(ls /proc/self/fd) >/tmp/fds; exec /usr/local/lib/starphleet/serve-static' \
		>"$SHIP_DIR/trees/one/Procfile"
	LEAK=secret build "$(record nested/site one aaaaaaa1111 '.env.MOTTO = "it'"'"'s $HOME; \"two\""')"
	[ "$status" -eq 0 ]
	[ "$name" = nested+site-1234567-aaaaaaa ]
	[ "$(jq -r .state <<<"$output")" = checking ]
	[ "$(jq length <<<"$layers")" = 3 ]
	[ "$(state nested+site .container.name)" = "$name" ]
	[ "$(page "$address")" = one ]
	run -0 lxc-ls -P "$LXC_ROOT" --running -1
	[[ $output = *"$name"* ]]
	# What the service itself sees of its environment and descriptors.
	local pid
	pid=$(web_pid "$name")
	[ "$(inside "$name" cat /tmp/fds)" = "0 1 2 3" ] # 3 is that of ls
	run -0 inside "$name" cat /tmp/env
	[[ $output = *"MOTTO=it's \$HOME; \"two\""* ]]
	[[ $output = *PORT=3001* && $output = *ORDERS_NAME=nested/site* && $output = *SOURCE_VERSION=aaaaaaa1111* ]]
	[[ $output != *LEAK* && $output != *STARPHLEET* ]]
	grep -q '^NoNewPrivs:.*1' "/proc/$pid/status"
	grep -q '^CapEff:.*0000000000000000' "/proc/$pid/status"
	grep -q '^Seccomp:.*2' "/proc/$pid/status"
	# No mount of it is seen on the ship, nothing of it belongs to the ship's root.
	run -1 grep -F "$name" /proc/self/mountinfo
	# However cgroups are mounted here, the limit on processes is in force.
	[ "$(find /sys/fs/cgroup -path "*/$STARPHLEET_BRIDGE/$name/pids.max" -exec cat {} +)" = 2048 ]
	run -0 cat "$LXC_ROOT/$name/starphleet.json"
	[ "$(jq -r .root <<<"$output")" = "$STARPHLEET_ROOT" ]
	[ "$(stat -c '%a %u' "$LXC_ROOT/$name/delta/etc/starphleet/env")" = "600 $(stat -c %u "$STARPHLEET_LAYERS/base/root/usr")" ]
}

@test "container-build: in a container folders of the layers can be removed, made anew and renamed" {
	build "$(record nested/site one aaaaaaa1111)"
	inside "$name" sh -ec 'rm -r /usr/share/zoneinfo /etc/cron.d 2>/dev/null || :
		rm -r /usr/share/perl5 && mkdir /usr/share/perl5 && [ -z "$(ls /usr/share/perl5)" ]
		mv /usr/share/debconf /usr/share/moved && [ -e /usr/share/moved/confmodule ] && [ ! -e /usr/share/debconf ]'
}

@test "container-build: the ship is localship, and the world answers by name" {
	build "$(record nested/site one aaaaaaa1111)"
	[ "$(inside "$name" getent hosts localship | cut -d' ' -f1)" = "${STARPHLEET_SUBNET%.*}.1" ]
	inside "$name" getent hosts "$(inside "$name" hostname)"
	inside "$name" sh -ec 'apt-get -q update && apt-get -q -y install --no-install-recommends tree && tree --version'
}

@test "container-build: a second time is nothing to do; a known content no build" {
	tree one
	cp -r "$SHIP_DIR/trees/one" "$SHIP_DIR/trees/same"
	build "$(record nested/site one aaaaaaa1111)"
	first=$layers
	pid=$(monitor "$name")
	build "$(record nested/site one aaaaaaa1111)"
	[ "$status" -eq 0 ] && [ "$(monitor "$name")" = "$pid" ]
	# A revert is another commit with the same tree; another order is another container of it.
	build "$(record nested/site same bbbbbbb2222)"
	[ "$layers" = "$first" ] && [ "$name" = nested+site-1234567-bbbbbbb ]
	build "$(record other same bbbbbbb2222)"
	[ "$layers" = "$first" ] && [ "$(page "$address")" = one ]
}

@test "container-build: two at once build one version once, and both pass it on" {
	tree race
	record race race aaaaaaa1111 >"$BATS_TEST_TMPDIR/in"
	container-build <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/1" 3>&- &
	container-build <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/2" 3>&-
	wait $!
	# One of them made it: what it took differs, and nothing else.
	local same=".container | del(.build_ms, .start_ms)"
	[ "$(jq -c "$same" "$BATS_TEST_TMPDIR/1")" = "$(jq -c "$same" "$BATS_TEST_TMPDIR/2")" ]
	[ "$(monitor race-1234567-aaaaaaa | wc -l)" = 1 ]
}

@test "container-build: a stopped container is started; one that drains is taken back" {
	build "$(record nested/site one aaaaaaa1111)"
	before=$address
	mkdir -p "$STARPHLEET_ROOT/current_orders/nested+site/draining"
	echo '{}' >"$STARPHLEET_ROOT/current_orders/nested+site/draining/$name"
	lxc-stop -k -P "$LXC_ROOT" -n "$name"
	build "$(record nested/site one aaaaaaa1111)"
	[ "$status" -eq 0 ] && [ "$address" = "$before" ]
	[ ! -e "$STARPHLEET_ROOT/current_orders/nested+site/draining/$name" ]
	[ "$(page "$address")" = one ]
}

@test "container-build: several at once, one of them broken" {
	tree two
	mkdir -p "$SHIP_DIR/trees/nothing"
	echo text >"$SHIP_DIR/trees/nothing/README"
	{
		record p1 two ccccccc1111
		record p2 nothing ccccccc1111
		record p3 two ccccccc1111
	} >"$BATS_TEST_TMPDIR/in"
	run --separate-stderr -1 container-build -j 3 <"$BATS_TEST_TMPDIR/in"
	[ "${#lines[@]}" -eq 3 ]
	bad=$(jq -c 'select(.error)' <<<"$output")
	[ "$(jq -r .order <<<"$bad")" = p2 ]
	[ "$(jq -r .error.message <<<"$bad")" = 'no buildpack knows this repository: tried: nodejs, static' ]
	[ "$(jq -r .error.status <<<"$bad")" = 78 ]
	[ "$(jq -r .state <<<"$bad")" = 'building failed' ]
	[ "$(state p2 .error.status)" = 78 ]
	[ ! -e "$LXC_ROOT/p2-1234567-ccccccc" ]
	[ "$(jq -r 'select(.order == "p3") | .container.name' <<<"$output")" = p3-1234567-ccccccc ]
}

@test "container-build: what a failed build printed stands in its record; nothing is left of it" {
	mkdir -p "$SHIP_DIR/trees/broken"
	echo '{"name": "x", "version": "1.0.0", "scripts": {"start": "node x", "preinstall": "echo on the way; rm -rf /home/ubuntu/app/*; echo sorry; exit 3"}}' \
		>"$SHIP_DIR/trees/broken/package.json"
	build "$(record warm broken ddddddd0000)" # may have made the stack
	before=$(remains; jq -S . "$STARPHLEET_ROOT"/addresses/containers.json)
	build "$(record broken broken ddddddd1111)"
	[ "$status" -eq 1 ]
	[[ $(jq -r .error.message <<<"$output") = 'build failed: compile: exit status 1'* ]]
	[[ $(jq -r '.error.log | join(" ")' <<<"$output") = *sorry* ]]
	grep -q sorry "$STARPHLEET_ROOT/logs/broken/broken-1234567-ddddddd.build.log"
	after=$(remains; jq -S . "$STARPHLEET_ROOT"/addresses/containers.json)
	diff <(echo "$before") <(echo "$after")
	[ -z "$(half_made)" ]
	[ -e "$SHIP_DIR/trees/broken/package.json" ]
}

@test "container-build: a build that hangs is ended at its limit" {
	mkdir -p "$SHIP_DIR/trees/hangs"
	echo '{"name": "x", "version": "1.0.0", "scripts": {"start": "node x", "preinstall": "sleep 1000 & sleep 1000"}}' >"$SHIP_DIR/trees/hangs/package.json"
	STARPHLEET_BUILD_TIMEOUT=5 build "$(record hangs hangs eeeeeee1111)"
	[ "$status" -eq 1 ]
	[ "$(jq -r .error.message <<<"$output")" = 'build failed: compile: not done within 5 s' ]
	[ -z "$(half_made)" ]
	run -1 pgrep -f 'sleep 100[0]'
}

@test "container-build: a killed builder leaves nothing that runs, and the next removes the rest" {
	container-build <<<"$(record hangs hangs eeeeeee1111)" >/dev/null 2>&1 3>&- &
	ship_until 60 pgrep -f 'sleep 100[0]'
	local pids
	pids=$(pgrep -f "^container-build" -P $$ || pgrep -x container-build | tr '\n' ' ')
	# shellcheck disable=SC2086 # pids
	kill -KILL $! $pids 2>/dev/null || :
	ship_until 10 sh -c '! pgrep -f "sleep 100[0]"'
	run -1 pgrep -f 'sleep 100[0]'
	tree three
	build "$(record after three fffffff1111)"
	[ "$status" -eq 0 ]
	mkdir -p "$SHIP_DIR/trees/quick"
	echo '{"name": "x", "version": "1.0.0", "scripts": {"start": "node x", "preinstall": "exit 3"}}' >"$SHIP_DIR/trees/quick/package.json"
	build "$(record quick quick fffffff1111)"
	[ -z "$(half_made)" ]
	[ -z "$(find /sys/fs/cgroup -path "*/$STARPHLEET_BRIDGE/build.*" -type d)" ]
}

@test "container-build: a foreign container of the same name is never touched" {
	tree one
	mkdir -p "$LXC_ROOT/foreign-1234567-aaaaaaa"
	echo foreign >"$LXC_ROOT/foreign-1234567-aaaaaaa/config"
	build "$(record foreign one aaaaaaa1111)"
	[ "$status" -eq 1 ]
	[[ $(jq -r .error.message <<<"$output") = 'not a container of this ship: foreign-1234567-aaaaaaa'* ]]
	[ "$(cat "$LXC_ROOT/foreign-1234567-aaaaaaa/config")" = foreign ]
	rm -r "$LXC_ROOT/foreign-1234567-aaaaaaa"
}

@test "container-build: unpublished without a repository stands on the base alone" {
	build "$(record tool none '' 'del(.autodeploy, .service) | .unpublished = true')"
	[ "$status" -eq 0 ] && [ "$name" = tool-1234567-d000000 ]
	[ "$(jq length <<<"$layers")" = 1 ]
	[ "$(inside "$name" stat -c %U /home/ubuntu/app)" = ubuntu ]
}

@test "container-build: --serving starts what served, also after every monitor was killed" {
	build "$(record nested/site one aaaaaaa1111)"
	serving nested+site "$name" "$address" "$(service_address 7)"
	sed -i 's,"order":"nested+site","order":"nested/site",' "$STARPHLEET_ROOT/current_orders/nested+site/serving.json"
	kill -KILL "$(monitor "$name")"
	ship_until 5 sh -c '! curl -s --max-time 1 "http://$1:3001/"' sh "$address"
	run --separate-stderr -0 container-build --serving
	[ -z "$stderr" ]
	[ "$(page "$address")" = one ]
	pid=$(monitor "$name")
	run -0 container-build --serving --restart -- nested/site
	[ "$(monitor "$name")" != "$pid" ]
	[ "$(page "$address")" = one ]
}

@test "container-build: --serving makes a damaged or lost container anew from its layers, at its address" {
	build "$(record nested/site one aaaaaaa1111)"
	lxc-stop -k -P "$LXC_ROOT" -n "$name"
	rm -rf "${LXC_ROOT:?}/$name/delta"
	run --separate-stderr -0 container-build --serving nested/site
	[ "$(page "$address")" = one ]
	rm -rf "${LXC_ROOT:?}/$name"
	run --separate-stderr -0 container-build --serving nested/site
	[ "$(page "$address")" = one ]
	# Without the record it says so, and the others are started.
	lxc-stop -k -P "$LXC_ROOT" -n "$name"
	rm -rf "${LXC_ROOT:?}/$name"
	mv "$STARPHLEET_ROOT/current_orders/nested+site/wanted.json" "$BATS_TEST_TMPDIR/wanted.json"
	run --separate-stderr -1 container-build --serving
	[ "$stderr" = "container-build: nested/site: cannot make anew: $name: it is damaged or gone, and wanted.json is of another version" ]
	mv "$BATS_TEST_TMPDIR/wanted.json" "$STARPHLEET_ROOT/current_orders/nested+site/wanted.json"
	run --separate-stderr -0 container-build --serving
	[ "$(page "$address")" = one ]
}

@test "container-build: without a base it says what to do" {
	STARPHLEET_LAYERS=$SHIP_DIR/empty build "$(record nobase one aaaaaaa1111)"
	[ "$status" -eq 1 ]
	[ "$(jq -r .error.message <<<"$output")" = "no base layer: $SHIP_DIR/empty/base: run container-build --base" ]
}

@test "container-build: a disk that is full is an error record; when there is room again, it works" {
	mkdir -p "$SHIP_DIR/small"
	mount -t tmpfs -o size=256k,mode=0711 tmpfs "$SHIP_DIR/small"
	LXC_ROOT=$SHIP_DIR/small
	head -c 300k /dev/zero >"$SHIP_DIR/small/fill" 2>/dev/null || :
	build "$(record full one aaaaaaa1111)"
	first=$status message=$(jq -r .error.message <<<"$output") code=$(jq -r .error.status <<<"$output")
	left=$(find "$SHIP_DIR/small" -mindepth 1 -maxdepth 1 ! -name fill)
	umount "$SHIP_DIR/small"
	rmdir "$SHIP_DIR/small"
	[ "$first" -eq 1 ] && [[ $message = *'No space left on device'* ]] && [ "$code" = 75 ]
	[ -z "$left" ]
	LXC_ROOT=$SHIP_DIR/lxc
	build "$(record full one aaaaaaa1111)"
	[ "$status" -eq 0 ]
}

@test "container-build: ten versions made and destroyed leave nothing" {
	tree one
	local before after i
	before=$(remains | grep -v layer.json)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		tree "leak$i"
		build "$(record leak "leak$i" "$(printf '%07x' "$i")aaaa")"
		[ "$status" -eq 0 ]
		mkdir -p "$STARPHLEET_ROOT/current_orders/leak/draining"
		jq -nc --arg name "$name" '{container: $name, order: "leak", boot_id: "another", deadline_ms: 0}' \
			>"$STARPHLEET_ROOT/current_orders/leak/draining/$name"
	done
	orphan-reaper --superseded
	after=$(remains | grep -v layer.json)
	diff <(echo "$before") <(echo "$after")
	run ls -A "/run/lxc/lock$LXC_ROOT"
	[[ $output != *.leak-* ]]
}
