# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Fault tests come in two lengths. Short, as `webinstall test` runs them; and in full, by
# `make check-faults ROW=N` (STARPHLEET_FAULTS=full), which goes on where it was interrupted: the
# seed and the steps done lie in faults/<test> below the current folder (STARPHLEET_FAULTS_STATE).
#
#   faults_steps SHORT FULL     sets steps, first (1, or the step to resume at) and RANDOM's seed
#   faults_done STEP            this step is survived

faults_steps() {
	local state=${STARPHLEET_FAULTS_STATE:-$PWD/faults}
	faults_file=$state/$(basename "${BATS_TEST_FILENAME:-manual}" .bats)-${BATS_TEST_NUMBER:-0}
	steps=$1
	first=1
	faults_seed=${STARPHLEET_FAULTS_SEED:-$(($(date +%s) % 32768))}
	if [ "${STARPHLEET_FAULTS:-short}" = full ]; then
		steps=$2
		mkdir -p "$state"
		if [ -e "$faults_file" ]; then
			read -r faults_seed first <"$faults_file"
			first=$((first + 1))
		fi
		# A finished run begins anew.
		[ "$first" -le "$steps" ] || first=1
	fi
	RANDOM=$((faults_seed + first))
	echo "# seed $faults_seed, steps $first to $steps" >&3
}

faults_done() {
	[ "${STARPHLEET_FAULTS:-short}" = full ] || return 0
	echo "$faults_seed $1" >"$faults_file.new"
	mv "$faults_file.new" "$faults_file"
}
