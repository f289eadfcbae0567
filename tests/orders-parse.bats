#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016,SC1003,SC2154 # orders are shell: they stand in single quotes; hq is set by load
# orders-parse: what orders files say, and what is wrong with them. Attacks are in sandbox.bats.
bats_require_minimum_version 1.5.0
load lib/orders

setup() { orders_setup; }

@test "orders-parse: --help, --version, misuse" {
	run --separate-stderr -0 orders-parse --help
	[[ "$output" = "usage: orders-parse "* ]] && [ -z "$stderr" ]
	run --separate-stderr -0 orders-parse --version
	[[ "$output" = "orders-parse "* ]]
	run --separate-stderr -64 orders-parse --check
	[ -z "$output" ]
	run --separate-stderr -64 orders-parse -j 0
	run --separate-stderr -64 orders-parse --nothing
}

@test "orders-parse: exported variables are env, defaults and settings are settings" {
	order echo 'export GREETING="hello world"' 'HIDDEN=1' 'HEALTHCHECK=/health' 'autodeploy https://git.example.com/echo.git#main'
	good echo
	[ "$(jq -r .autodeploy <<<"$output")" = 'https://git.example.com/echo.git#main' ]
	[ "$(jq -r '.unpublished' <<<"$output")" = null ]
	[ "$(env_of GREETING)" = 'hello world' ]
	[ "$(env_of HIDDEN)" = '(unset)' ] && [ "$(env_of HEALTHCHECK)" = '(unset)' ]
	[ "$(jq -c '.env | keys' <<<"$output")" = '["GREETING","HOME","ORDERS_NAME","PATH","PORT","SHIP_NAME"]' ]
	[ "$(env_of PORT)" = 3001 ] && [ "$(env_of ORDERS_NAME)" = echo ] && [ "$(env_of HOME)" = /home/ubuntu ]
	[ "$(setting_of HEALTHCHECK)" = /health ] && [ "$(setting_of SECURITY_MODE)" = htpasswd ]
	[ "$(jq -c '[.settings | .PORT, .PUBLISH_PORT, .USER_IDENTITY_HEADER, .USER_IDENTITY_COOKIE,
		.HEALTHCHECK_PULSE, .HEALTHCHECK_RETRY_COUNT, .HEALTHCHECK_TIMEOUT, .HEALTHCHECK_INIT_DELAY,
		.STARPHLEET_PULSE, .STARPHLEET_DRAINSTOP_WAIT]' <<<"$output")" = \
		'["3001","0","x-identity","starphleet_user","10","3","30","60","10","30"]' ]
	[[ "$(jq -r .orders_id <<<"$output")" =~ ^[0-9a-f]{64}$ ]]
}

@test "orders-parse: built-in defaults, .starphleet, the ship's files by name, orders: later wins" {
	echo 'export A=hq B=hq C=hq D=hq; SECURITY_MODE=public' >"$hq/.starphleet"
	echo 'export B=10 C=10 D=10' >"$STARPHLEET_ETC/10-first"
	echo 'export C=20 D=20 FROM=$B' >"$STARPHLEET_ETC/20-it'\''s second"
	echo 'export A=editor' >"$STARPHLEET_ETC/20-second~"
	echo 'export A=hidden' >"$STARPHLEET_ETC/.hidden"
	chmod 600 "$STARPHLEET_ETC"/*
	order echo 'export D=orders; unpublished'
	good echo
	[ "$(jq -c '[.env | .A, .B, .C, .D, .FROM]' <<<"$output")" = '["hq","10","20","orders","10"]' ]
	[ "$(setting_of SECURITY_MODE)" = public ]
}

@test "orders-parse: it is bash: conditions, functions, arrays, here documents, substitutions, quoting" {
	order echo <<'END'
if [[ $ORDERS_NAME == echo && -n "$SHIP_NAME" ]]; then export A=yes; else export A=no; fi
list=(one "two three")
f() { local x=$1; export B="$x/${list[1]}"; }
f "$(printf '%s' 'a  b' | tr a-z A-Z)"
export C='single $A "x" \' D="double $A \"x\" \\"
read -r -d '' E <<DOC
line 1 $A
	line 2
DOC
export E
for i in 1 2 3; do F+=$i,; done
export F
export G=${A^^} H="${NOTHING:-default}" I=$((6 * 7))
export J; J=$(cat <(echo sub) | sort)
export K="" L
case $A in y*) export M=case ;; esac
[ -f nothing-here ] && export N=1
[ $UNSET = x ]
(exit 3)
false
unpublished
END
	good echo
	[ "$(env_of A)" = yes ] && [ "$(env_of B)" = 'A  B/two three' ]
	[ "$(env_of C)" = 'single $A "x" \' ] && [ "$(env_of D)" = 'double yes "x" \' ]
	[ "$(env_of E)" = $'line 1 yes\n\tline 2' ] && [ "$(env_of F)" = 1,2,3, ]
	[ "$(env_of G)" = YES ] && [ "$(env_of H)" = default ] && [ "$(env_of I)" = 42 ] && [ "$(env_of J)" = sub ]
	[ "$(jq -c '[.env.K, .env.L, .env.M, .env.N]' <<<"$output")" = '["",null,"case",null]' ]
}

@test "orders-parse: values arrive unchanged: lines, quotes, controls, unicode, 100 kB" {
	order echo <<'END'
export A=$'line 1\nline 2\ttab\r\x01\x1b[31m\x7f' B='žluťoučký 🐴 "quoted" \back $dollar `tick`' C='=a=b='
export D=$(head -c 100000 /dev/zero | tr '\0' x) E=' blanks '
unpublished
END
	good echo
	[ "$(env_of A)" = $'line 1\nline 2\ttab\r\x01\x1b[31m\x7f' ]
	[ "$(env_of B)" = 'žluťoučký 🐴 "quoted" \back $dollar `tick`' ]
	[ "$(env_of C)" = '=a=b=' ] && [ "$(jq '.env.D | length' <<<"$output")" = 100000 ]
	[ "$(jq -r '.env.E' <<<"$output")" = ' blanks ' ]
}

@test "orders-parse: source of a file in the headquarters, relative and absolute" {
	mkdir -p "$hq/shared/deep"
	echo 'export DB="db $1"; source "$(dirname "${BASH_SOURCE[0]}")/deep/more"' >"$hq/shared/db.sh"
	echo 'export MORE=1' >"$hq/shared/deep/more"
	echo 'export TOP=1' >"$hq/common"
	ln -s common "$hq/linked"
	order api/v1 'source ../../shared/db.sh arg' 'source /headquarters/common' 'source "$HEADQUARTERS/linked"' \
		'source ./own' 'source own2' 'unpublished'
	echo 'export OWN=1' >"$hq/api/v1/own"
	echo 'export OWN2=1' >"$hq/api/v1/own2"
	good api/v1
	[ "$(jq -c '[.env | .DB, .MORE, .TOP, .OWN, .OWN2]' <<<"$output")" = '["db arg","1","1","1","1"]' ]
}

@test "orders-parse: root order and an order in an order" {
	order '' 'unpublished; export A=root'
	order api 'unpublished; export A=api'
	order api/v1 'unpublished; export A=v1'
	run --separate-stderr -0 orders-parse -j1 < <(records '' api api/v1)
	[ "$(jq -r .env.A <<<"$output" | paste -sd ,)" = root,api,v1 ]
	[ "$(jq -r .env.ORDERS_NAME <<<"$output" | paste -sd ,)" = ,api,api/v1 ]
}

@test "orders-parse: an unknown command is an error with its name, file and line" {
	order echo 'export A=1' '' 'expose 80' 'unpublished'
	bad echo 'echo/orders:3: unknown command: expose'
	order echo 'f() {' '	redirect a b' '}' 'f' 'unpublished'
	bad echo 'echo/orders:2: unknown command: redirect'
	order echo 'unpublished' 'stop_before_autodeploy || true' 'nginx_location_configs x'
	bad echo 'echo/orders:2: unknown command: stop_before_autodeploy (and 1 more)'
	mkdir -p "$hq/shared"
	printf '\nfrobnicate\n' >"$hq/shared/x"
	order echo 'source ../shared/x' 'unpublished'
	bad echo 'shared/x:2: unknown command: frobnicate'
	order echo '/usr/bin/python3 -c 1; unpublished'
	bad echo 'echo/orders:1: /usr/bin/python3: No such file or directory'
}

@test "orders-parse: syntax errors are named by file and line, wherever standard error goes" {
	order echo 'export A=1' 'if true; then' 'unpublished' 'fi fi'
	bad echo "echo/orders:4: syntax error near unexpected token \`fi'"
	order echo 'exec 2>/dev/null' 'unpublished' 'fi'
	bad echo "echo/orders:3: syntax error near unexpected token \`fi'"
	order echo 'unpublished' 'if true; then'
	bad echo 'echo/orders:3: syntax error: unexpected end of file'
	order echo 'unpublished'
	echo 'case' >"$hq/.starphleet"
	bad echo ".starphleet:1: syntax error near unexpected token \`newline'"
	rm "$hq/.starphleet"
	echo '(' >"$STARPHLEET_ETC/x"
	bad echo "$STARPHLEET_ETC/x:2: syntax error: unexpected end of file"
}

@test "orders-parse: exit says where and with what" {
	order echo 'unpublished' 'exit 3'
	bad echo 'echo/orders:2: exit 3 before the end of the file'
	order echo 'f() {' 'exit' '}' 'false' 'f'
	bad echo 'echo/orders:2: exit 1 before the end of the file'
	order echo 'set -e' 'false' 'unpublished'
	bad echo 'echo/orders: exit 1 before the end of the file'
	order echo 'unpublished' 'x=$(exit 3)' '(exit 4)'
	good echo
}

@test "orders-parse: PORT is a number from 1 to 65535, or the file and the value are named" {
	for value in abc 0 65536 -1 +80 ' 80' 80x 1e3 '' $'80\n'; do
		order echo 'export A=1' "PORT=$(printf %q "$value")" 'unpublished'
		parse echo
		[[ "$(jq -r .error.message <<<"$output")" = 'echo/orders:2: PORT must be a number from 1 to 65535: '* ]]
	done
	order echo 'unpublished'
	echo 'PORT=abc' >"$hq/.starphleet"
	bad echo '.starphleet: PORT must be a number from 1 to 65535: abc'
	order echo 'PORT=65535; unpublished'
	good echo
	[ "$(env_of PORT)$(setting_of PORT)" = 6553565535 ]
}

@test "orders-parse: autodeploy once, with one word" {
	order echo 'autodeploy'
	bad echo 'echo/orders:1: autodeploy takes one repository, URL or URL#REF'
	order echo 'autodeploy a b'
	bad echo 'echo/orders:1: autodeploy takes one repository, URL or URL#REF'
	order echo 'autodeploy ""'
	bad echo 'echo/orders:1: autodeploy: empty repository'
	order echo 'autodeploy a' 'autodeploy a'
	bad echo 'echo/orders:2: autodeploy is there twice'
	order echo 'autodeploy $'"'"'\xff'"'"
	bad echo 'echo/orders:1: autodeploy: not UTF-8'
	order echo 'unpublished now'
	bad echo 'echo/orders:1: unpublished takes no words behind it'
	order echo 'export A=1'
	bad echo 'echo/orders: neither autodeploy nor unpublished'
}

@test "orders-parse: what would be lost on the way is refused by name" {
	order echo 'export OK=1' "export BAD=\$'a\\xff'" 'unpublished'
	bad echo 'echo/orders:2: BAD is not UTF-8'
	order echo 'x=$(printf "a\0b")' 'unpublished'
	bad echo 'echo/orders:1: command substitution: ignored null byte in input'
	printf 'unpublished\nexport A=\0b\n' | order echo
	bad echo 'echo/orders:2: a NUL byte'
	order echo 'export A-B=1' 'unpublished'
	bad echo "echo/orders:1: export: \`A-B=1': not a valid identifier"
	order echo 'source ../shared/none; unpublished'
	bad echo 'echo/orders:1: ../shared/none: No such file or directory'
	order echo 'export LONG=$(head -c 140000 /dev/zero | tr "\0" x); unpublished'
	bad echo 'echo/orders: LONG is longer than 128 KiB'
}

@test "orders-parse: what a file prints is not data" {
	order echo 'echo "{\"order\":\"evil\"}"; echo "end" >&2; printf "env\0EVIL=1\0"; unpublished'
	good echo
	[ "$(wc -l <<<"$output")" = 1 ] && [ "$(env_of EVIL)" = '(unset)' ] && [ -z "$stderr" ]
}

@test "orders-parse: no state of one layer spoils the end: options, traps, IFS, locale" {
	order echo 'set -euf -o pipefail; shopt -s failglob nullglob; IFS=x; readonly IFS; LC_ALL=C; export LANG=de_DE' \
		'trap "echo no" EXIT; trap "echo no" DEBUG; printf() { echo no; }; set -- a b; cd /; unpublished' \
		'export A=žluť; return; export B=1'
	good echo
	[ "$(env_of A)" = žluť ] && [ "$(env_of B)" = '(unset)' ] && [ "$(env_of LANG)" = de_DE ]
	[ "$(jq -r '.env | has("LC_CTYPE"), has("PWD"), has("SHLVL"), has("_")' <<<"$output" | sort -u)" = false ]
}

@test "orders-parse: one record out for each one in; errors, gone and unknown fields pass" {
	order good 'unpublished'
	order bad 'exit 1'
	{
		records good bad
		echo '{"order":"old","error":{"tool":"hq-sync","message":"m","status":75},"x":1}'
		echo '{"order":"left","gone":true,"x":[2]}'
		echo '{"order":"../up","dir":"/etc"}'
		echo '{"dir":"/etc"}'
		echo 'garbage'
		jq -cn --arg d "$hq/none" '{order:"none",dir:$d}'
	} >"$BATS_TEST_TMPDIR/in"
	run --separate-stderr -1 orders-parse <"$BATS_TEST_TMPDIR/in"
	[ "${#lines[@]}" = 8 ]
	[ "$(jq -c 'select(.order == "old")' <<<"$output")" = '{"order":"old","error":{"tool":"hq-sync","message":"m","status":75},"x":1}' ]
	[ "$(jq -c 'select(.order == "left")' <<<"$output")" = '{"order":"left","gone":true,"x":[2]}' ]
	[ "$(jq -r 'select(.order == "good") | .unpublished' <<<"$output")" = true ]
	[ "$(jq -r 'select(.order == "none") | .error.message' <<<"$output")" = 'cannot read: none/orders: No such file or directory' ]
	[ "$(jq -r 'select(.error) | .order' <<<"$output" | wc -l)" = 6 ]
}

@test "orders-parse: a full disk is a failure" {
	order echo unpublished
	run --separate-stderr -75 sh -c 'orders-parse >/dev/full' < <(records echo)
	[ "$stderr" = 'orders-parse: cannot write: standard output: No space left on device' ]
}

@test "orders-parse: orders_id changes with what shapes the container, and with nothing else" {
	id() { orders-parse < <(records echo) | jq -r .orders_id; }
	order echo 'unpublished'
	order other 'unpublished'
	first=$(id)
	order other 'unpublished; export A=1'
	touch "$hq/echo/orders"
	[ "$(STARPHLEET_PULSE=99 id)" = "$first" ]
	echo 'export A=1' >"$hq/.starphleet"
	second=$(id)
	[ "$second" != "$first" ]
	echo '# a comment' >>"$hq/.starphleet"
	[ "$(id)" = "$second" ]
	echo user >"$hq/echo/x.acl"
	third=$(id)
	[ "$third" != "$second" ]
	chmod +x "$hq/echo/x.acl"
	[ "$(id)" != "$third" ]
	rm "$hq/echo/x.acl" "$hq/.starphleet"
	[ "$(id)" = "$first" ]
	order echo/nested 'unpublished'
	[ "$(id)" = "$first" ]
}

@test "orders-parse: an unchanged order is not evaluated again, a changed one is" {
	order echo 'export A=$RANDOM$RANDOM; unpublished'
	mkdir -p "$hq/shared"
	echo 1 >"$hq/shared/x"
	good echo
	first=$output
	good echo
	[ "$output" = "$first" ]
	echo 2 >"$hq/shared/x"
	good echo
	[ "$output" != "$first" ]
	second=$output
	echo A=1 >"$STARPHLEET_ETC/a"
	good echo
	[ "$output" != "$second" ]
	[ "$(stat -c %a "$STARPHLEET_RUN/orders" "$STARPHLEET_RUN/orders/echo.json" | paste -sd ' ')" = '700 600' ]
	# Torn, foreign or unwritable: only slower.
	head -c 20 "$STARPHLEET_RUN/orders/echo.json" >"$BATS_TEST_TMPDIR/torn"
	cp "$BATS_TEST_TMPDIR/torn" "$STARPHLEET_RUN/orders/echo.json"
	good echo
	STARPHLEET_RUN=/proc/none good echo
	printf '{"order":"echo","gone":true}\n' | orders-parse
	[ ! -e "$STARPHLEET_RUN/orders/echo.json" ]
}

@test "orders-parse: failures are kept too" {
	order echo 'exit 3 # '"$RANDOM"
	bad echo 'echo/orders:1: exit 3 before the end of the file'
	strace -f -qq -e trace=execve -o "$BATS_TEST_TMPDIR/trace" orders-parse < <(records echo) || [ $? = 1 ]
	[ "$(grep -c execve "$BATS_TEST_TMPDIR/trace")" = 1 ]
}

@test "orders-parse FILE: a record for each, the headquarters found or given" {
	order echo 'source ../c; unpublished; export F=$LAYER'
	order api/v1 'unpublished; export F=$LAYER'
	echo 'export C=1' >"$hq/c"
	echo LAYER=hq >"$hq/.starphleet"
	mkdir "$BATS_TEST_TMPDIR/ship"
	echo LAYER=ship >"$BATS_TEST_TMPDIR/ship/x"
	cd "$hq"
	run --separate-stderr -0 orders-parse echo/orders api/v1/orders
	[ "$(jq -r '[.order, .dir, .env.F] | join(" ")' <<<"$output")" = "echo $hq/echo hq
api/v1 $hq/api/v1 hq" ]
	cd echo
	run --separate-stderr -0 orders-parse --ship "$BATS_TEST_TMPDIR/ship" orders
	[ "$(jq -r '[.order, .env.F, .env.C] | join(" ")' <<<"$output")" = 'echo ship 1' ]
	rm "$hq/.starphleet"
	run --separate-stderr -0 orders-parse --headquarters "$hq" ../api/v1/orders
	[ "$(jq -r .order <<<"$output")" = api/v1 ]
	run --separate-stderr -1 orders-parse --headquarters /usr/share orders
	[ "$(jq -r .error.message <<<"$output")" = 'not in the headquarters: orders: /usr/share' ]
	run --separate-stderr -1 orders-parse nothing
	[ "$(jq -r .error.message <<<"$output")" = 'cannot read: echo/nothing: No such file or directory' ]
}

@test "orders-parse --check: file:line: message for everything, silence if all is well" {
	order echo 'autodeploy' 'expose 80' 'PORT=abc'
	order good 'unpublished'
	cd "$BATS_TEST_TMPDIR"
	run --separate-stderr -1 orders-parse --check hq/echo/orders hq/good/orders
	[ "$output" = 'hq/echo/orders:1: autodeploy takes one repository, URL or URL#REF
hq/echo/orders:2: unknown command: expose
hq/echo/orders:3: PORT must be a number from 1 to 65535: abc' ]
	run --separate-stderr -0 orders-parse --check hq/good/orders
	[ -z "$output$stderr" ]
}

@test "orders-parse: 10,000 lines in a second" {
	for i in $(seq 9998); do echo "V$((i % 50))='value $i'"; done >"$BATS_TEST_TMPDIR/lines"
	echo 'export V1; unpublished' >>"$BATS_TEST_TMPDIR/lines"
	order echo <"$BATS_TEST_TMPDIR/lines"
	start=${EPOCHREALTIME/./}
	good echo
	took=$((${EPOCHREALTIME/./} - start))
	[ "$(env_of V1)" = 'value 9951' ]
	[ "$took" -lt 1000000 ]
}

@test "orders-parse: a bad order does not change the record of its neighbour" {
	order bad 'while :; do :; done'
	order good 'unpublished'
	run --separate-stderr -1 orders-parse -j2 < <(records bad good)
	[ "$(jq -r .order <<<"${lines[0]}")" = good ]
	[[ "$(jq -r .error.message <<<"${lines[1]}")" = 'bad/orders: '* ]]
}
