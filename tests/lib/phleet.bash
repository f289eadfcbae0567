# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A phleet to deploy on a private ship: a headquarters and services as bare Git repositories on this
# machine, pushed to as a user would push. Needs lib/ship.bash loaded and ship_up done.
#
#   phleet_init                     an empty headquarters; STARPHLEET_HEADQUARTERS names it
#   phleet_static NAME              a service that is one page: "NAME 1"
#   phleet_push NAME TEXT           a new version of that page
#   phleet_revert NAME              git revert of the newest version
#   phleet_order ORDER [LINE...]    an order (public, deploying service $service or its own name)
#   phleet_forget ORDER             the order is gone from the headquarters
#   phleet_deploy [JQ FILTER]       the whole pipe by hand; records on standard output
#   phleet_get PATH                 the body that nginx answers

phleet_git() {
	git -c user.name=Tester -c user.email=tester@example.org -c init.defaultBranch=main \
		-c commit.gpgsign=false -c protocol.file.allow=always "$@"
}

# A bare repository and a work tree beside it with one commit of what stands in it.
phleet_repository() {
	local name=$1
	phleet_git init -q --bare "$SHIP_DIR/git/$name.git"
	phleet_git init -q "$SHIP_DIR/work/$name"
	phleet_git -C "$SHIP_DIR/work/$name" remote add origin "$SHIP_DIR/git/$name.git"
}

phleet_commit() {
	local name=$1 message=$2
	phleet_git -C "$SHIP_DIR/work/$name" add -A
	phleet_git -C "$SHIP_DIR/work/$name" commit -q --allow-empty -m "$message"
	phleet_git -C "$SHIP_DIR/work/$name" push -q origin HEAD:main
}

phleet_init() {
	mkdir -p "$SHIP_DIR/git" "$SHIP_DIR/work"
	export STARPHLEET_ALLOW_FILE_URLS=1 STARPHLEET_HEADQUARTERS="file://$SHIP_DIR/git/hq.git"
	phleet_repository hq
	echo 'export SECURITY_MODE=public' >"$SHIP_DIR/work/hq/.starphleet"
	phleet_commit hq 'an empty headquarters'
}

phleet_static() {
	local name=$1
	phleet_repository "$name"
	echo "$name 1" >"$SHIP_DIR/work/$name/index.html"
	phleet_commit "$name" 'version 1'
}

phleet_push() {
	local name=$1 text=$2
	echo "$text" >"$SHIP_DIR/work/$name/index.html"
	phleet_commit "$name" "$text"
}

phleet_revert() {
	local name=$1
	phleet_git -C "$SHIP_DIR/work/$name" revert --no-edit HEAD >/dev/null
	phleet_git -C "$SHIP_DIR/work/$name" push -q origin HEAD:main
}

phleet_order() {
	local order=$1 directory=$SHIP_DIR/work/hq/$1
	shift
	mkdir -p "$directory"
	{
		printf 'autodeploy "file://%s/git/%s.git"\n' "$SHIP_DIR" "${service:-$order}"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >"$directory/orders"
	phleet_commit hq "order $order"
}

phleet_forget() {
	rm -r "$SHIP_DIR/work/hq/$1"
	phleet_commit hq "no more $1"
}

phleet_deploy() {
	hq-sync | jq -c "${1:-.}" | orders-parse | hq-sync --services |
		container-build -j2 | healthcheck | nginx-render
}

phleet_get() {
	curl -sS --max-time 10 "http://127.0.0.1:$STARPHLEET_HTTP_PORT$1"
}
