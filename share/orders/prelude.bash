# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Run by bash before the layers of an order, in a sandbox. It reports over descriptor 63; every
# field ends in NUL. The reader takes the whole report for what it is, the word of a file that
# others wrote: nothing here guards anything, it only has to be right for honest files.
#
#   begin FILE                          a layer begins
#   command NAME FILE LINE COUNT WORD...  a command of the orders
#   unknown NAME FILE LINE              a command that nobody knows
#   error FILE LINE TEXT                whatever else is wrong
#   port FILE VALUE                     PORT, as this layer left it
#   setting NAME VALUE                  a variable of the ship's own
#   environment NAME=VALUE...           all layers came to their end; the rest of the report, but
#                                       for errors

# bash exports these of itself.
declare +x PWD OLDPWD SHLVL
# Strings are UTF-8 to bash here, whatever the ship's locale; not exported.
LC_CTYPE=C.UTF-8
# shellcheck disable=SC2034 # for the orders
HEADQUARTERS=/headquarters

__starphleet_report() {
	builtin printf '%s\0' "$@" >&63
}

__starphleet_command() {
	local __starphleet_name=$1
	shift
	__starphleet_report command "$__starphleet_name" "${BASH_SOURCE[2]}" "${BASH_LINENO[1]}" "$#" "$@"
}

autodeploy() { __starphleet_command autodeploy "$@"; }
unpublished() { __starphleet_command unpublished "$@"; }

command_not_found_handle() {
	__starphleet_report unknown "$1" "${BASH_SOURCE[1]}" "${BASH_LINENO[0]}"
	return 127
}

__starphleet_begin() {
	__starphleet_file=$1
	__starphleet_report begin "$1"
}

# After a layer: STATUS is what its last command left, and 1 or 2 may mean that bash could not read
# it to its end, which nothing else tells where the file sent its standard error elsewhere.
__starphleet_layer() {
	local __starphleet_text __starphleet_at
	if [[ $1 == [12] ]]; then
		__starphleet_text=$(BASH_ENV='' /bin/bash --norc --noprofile -O extglob -n -- "$__starphleet_file" 2>&1) || {
			__starphleet_text=${__starphleet_text%%$'\n'*}
			__starphleet_text=${__starphleet_text#*: line }
			__starphleet_at=${__starphleet_text%%:*}
			__starphleet_report error "$__starphleet_file" "$__starphleet_at" "${__starphleet_text#*: }"
		}
	fi
	__starphleet_ports+=(port "$__starphleet_file" "${PORT-}")
}

# bash does not tell a trap where the exit was.
exit() {
	local __starphleet_status=$?
	__starphleet_exit=("${BASH_SOURCE[1]}" "${BASH_LINENO[0]}")
	builtin exit "${@-$__starphleet_status}"
}

__starphleet_left() {
	__starphleet_report error "${__starphleet_exit[0]-$__starphleet_file}" "${__starphleet_exit[1]-0}" \
		"exit $1 before the end of the file"
}
trap '__starphleet_left "$?"' EXIT

# The end: none of the options and traps that the layers left may matter here. What is exported the
# kernel knows best, so env tells it, in the place of this shell: that is the end of the report.
__starphleet_end() {
	local __starphleet_name
	local -a __starphleet_found
	trap - EXIT ERR DEBUG RETURN
	set +eufx
	shopt -u nullglob failglob nocasematch
	shopt -s execfail
	__starphleet_found=(/proc/[0-9]*)
	if ((${#__starphleet_found[@]} > 1)); then
		__starphleet_report error "$__starphleet_file" 0 'leaves processes running in the background'
	fi
	__starphleet_found=()
	for __starphleet_name in PORT PUBLISH_PORT SECURITY_MODE HTPASSWD BUILDPACK_URL CORS MEMORY_LIMIT \
		CPU_LIMIT DISABLE_AUTO_AUTH CAPTAINAUTHKEYS STARPHLEET_PULSE STARPHLEET_DRAINSTOP_WAIT \
		STARPHLEET_BUILDS STARPHLEET_AUTHENTIC_TOKEN "${!HEALTHCHECK@}" "${!JWT_@}" "${!LDAP_@}" \
		"${!USER_IDENTITY_@}" "${!DEVMODE_@}"; do
		if [[ -v $__starphleet_name ]]; then
			__starphleet_found+=(setting "$__starphleet_name" "${!__starphleet_name}")
		fi
	done
	__starphleet_report "${__starphleet_ports[@]}" "${__starphleet_found[@]}" environment
	builtin exec /usr/bin/env -0 >&63
	# A program can be given 128 KiB in one string (MAX_ARG_STRLEN in execve(2)): who has more?
	LC_ALL=C
	for __starphleet_name in $(builtin compgen -e); do
		__starphleet_found=("${!__starphleet_name}")
		if ((${#__starphleet_name} + ${#__starphleet_found[0]} > 131070)); then
			__starphleet_report error "$__starphleet_file" 0 "$__starphleet_name is longer than 128 KiB"
		fi
	done
	builtin exit 126
}
