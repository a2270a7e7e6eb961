#!/bin/bash
# Runs every libFuzzer target for TIME seconds, two at a time; the last line is "N passed, N failed".
#
#   test/fuzz/run.sh [--keep] [NAME ...]        (default: all that are built in $B/fuzz)
#
# Each target begins with test/fuzz/corpus/NAME. What it learns goes to $B/fuzz/corpus/NAME; --keep
# merges the part of it that reaches new code back into test/fuzz/corpus/NAME afterwards. A finding
# stays in $B/fuzz/NAME.crash-*, and the line says how to repeat it. Environment: B, TIME (60), SEED (1;
# 0: another one each time), FUZZ_JOBS (2).
set -u
cd "$(dirname "$0")/../.." || exit 1

B=${B:-build/clang}
TIME=${TIME:-60}
SEED=${SEED:-1}
FUZZ_JOBS=${FUZZ_JOBS:-2}
keep=no
if [ "${1:-}" = --keep ]; then
    keep=yes
    shift
fi

# One target; a line on stdout, and exit code 1 after a finding.
fuzz_one()
{
    local name=$1 seeds=test/fuzz/corpus/$1 learned=$B/fuzz/corpus/$1 log=$B/fuzz/$1.log options=()
    mkdir -p "$learned"
    [ -d "$seeds" ] || seeds=
    [ -f "test/fuzz/$name.dict" ] && options+=("-dict=test/fuzz/$name.dict")
    if ! timeout -k 10 $((TIME + 120)) "$B/fuzz/$name" -max_total_time="$TIME" -seed="$SEED" \
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$B/fuzz/$name." \
        "${options[@]+"${options[@]}"}" "$learned" $seeds >"$log" 2>&1 </dev/null; then
        echo "$name: FAILED (seed $SEED); repeat with: $B/fuzz/$name $B/fuzz/$name.crash-*"
        tail -n 60 "$log" | sed 's/^/    /'
        return 1
    fi
    local runs
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ -z "$runs" ] || [ "$runs" -lt 100 ]; then
        echo "$name: FAILED: only ${runs:-no} inputs were tried in $TIME s"
        return 1
    fi
    echo "$name: ok, $runs inputs in $TIME s, seed $SEED"
}

keep_learned()
{
    mkdir -p "test/fuzz/corpus/$1"
    "$B/fuzz/$1" -merge=1 "test/fuzz/corpus/$1" "$B/fuzz/corpus/$1" >>"$B/fuzz/$1.log" 2>&1 </dev/null
}

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for path in "$B"/fuzz/fuzz_*; do
        case $path in *.*) continue ;; esac
        [ -x "$path" ] && [ -e "test/fuzz/${path##*/}.c" ] && names+=("${path##*/}")
    done
fi

passed=0
failed=0
running=0
note_end()
{
    if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    running=$((running - 1))
}
for name in "${names[@]+"${names[@]}"}"; do
    [ $running -lt "$FUZZ_JOBS" ] || note_end
    fuzz_one "$name" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    note_end
done
if [ $keep = yes ] && [ $failed -eq 0 ]; then
    for name in "${names[@]+"${names[@]}"}"; do
        keep_learned "$name"
    done
fi
if [ $((passed + failed)) -eq 0 ]; then
    echo "fuzz: nothing was run"
    failed=1
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
