# shellcheck shell=bash
#
# The processes of a script: sourced by each script that starts some, after `set -euo pipefail`.
#
#   run COMMAND...      as a plain line would, but a signal to the script is heard at once
#   start COMMAND...    a role, in the background
#   drain               asks every role to end, and returns when they are gone; fails unless each exited with 0
#
# Whatever ends the script (an error, Ctrl-C, SIGTERM, a terminal that closes), it goes after what it started, and its exit
# code tells: 130 for SIGINT, 143 for SIGTERM. A script that has more to put away defines `put_away`, which is called last.
#
# What is run and started carries LTV_STARTED_BY in its environment, and so does whatever that starts. This mark, not a
# list of numbers, says what is ours to end: a number may be a subshell's, and killing that leaves its program alone in
# the world. The servers of scripts/stack have an environment of their own, and stay.

ltv_mark=${0##*/}-$$
ltv_marks=${LTV_STARTED_BY:+$LTV_STARTED_BY/}$ltv_mark # a script's that runs this one, too
ltv_roles=()     # their numbers: each is the program's own, since nothing on the way to it forks
ltv_patience=60  # seconds to drain: more than twice a worker's grace period

trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
trap end_script EXIT

# Should the script be killed without a word, the kernel asks in its place. It asks nobody who had not told it yet when
# that happened: whoever finds himself with another parent ends by himself.
ltv_with_us='[ "$PPID" = "$0" ] || exit 143; exec "$@"'

run() {
    local starter=$BASHPID # here: what stands in a command that ends in & is expanded by the child
    LTV_STARTED_BY=$ltv_marks setpriv --pdeathsig TERM sh -c "$ltv_with_us" "$starter" "$@" &
    wait $!
}

# In a session of its own: Ctrl-C reaches the script alone, which asks each role once. A second signal would end it
# without draining.
start() {
    local starter=$BASHPID
    LTV_STARTED_BY=$ltv_marks setsid setpriv --pdeathsig TERM sh -c "$ltv_with_us" "$starter" "$@" </dev/null &
    ltv_roles+=($!)
}

drain() {
    local role code failed=0
    end_started || failed=1
    for role in "${ltv_roles[@]}"; do
        code=0
        wait "$role" || code=$?
        if ((code != 0)); then
            echo "${0##*/}: process $role ended with exit code $code" >&2
            failed=1
        fi
    done
    ltv_roles=()
    return $failed
}

# The numbers of what is running. A subshell of ours lacks the mark: those are the jobs.
started() {
    {
        jobs -pr
        grep -lzE "^LTV_STARTED_BY=(.*/)?$ltv_mark(/|\$)" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
    } | sort -u || true
}

# Asks each once, waits until none is left, and kills what does not go.
end_started() {
    local left pid asked=' ' signal=TERM deadline=$((SECONDS + ltv_patience))
    while mapfile -t left < <(started) && ((${#left[@]} > 0)); do
        if [ $signal = TERM ] && ((SECONDS >= deadline)); then
            echo "${0##*/}: killing what does not end within $ltv_patience s: ${left[*]}" >&2
            signal=KILL asked=' ' deadline=$((SECONDS + 10))
        elif ((SECONDS >= deadline)); then
            echo "${0##*/}: these cannot be ended: ${left[*]}" >&2
            return 1
        fi
        for pid in "${left[@]}"; do
            if [[ $asked != *" $pid "* ]]; then
                kill -s $signal "$pid" 2>/dev/null || true
                asked+="$pid "
            fi
        done
        sleep 0.05
    done
    [ $signal = TERM ]
}

end_script() {
    local code=$?
    set +e
    trap - EXIT
    trap '' PIPE                  # the terminal may be gone
    trap 'asked=" "' HUP INT TERM # whoever asks again means it: so do we
    end_started || code=$((code == 0 ? 1 : code))
    if declare -F put_away >/dev/null; then put_away || code=$((code == 0 ? 1 : code)); fi
    exit "$code"
}
