#!/bin/bash
# What a compiler's warnings do not find: format, house rules, clang-tidy, gcc -fanalyzer.
#
# Called by `make lint`. One line per check, findings below it; the last line is "N passed, N failed".
# JOBS: files at a time (default: cores).
set -u
cd "$(dirname "$0")/.." || exit 1

JOBS=${JOBS:-$(nproc)}
passed=0
failed=0

# Runs a check; its output is shown only when it fails.
check()
{
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "lint: $name: ok"
        passed=$((passed + 1))
    else
        echo "lint: $name: FAILED"
        printf '%s\n' "$output" | tail -n 200 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

list()
{
    local folder
    for folder in "$@"; do
        find "$folder" -name '*.c' -not -path '*/corpus/*' 2>/dev/null
    done | sort
}

format()
{
    find core net filters tls bench test -name '*.[ch]' -print0 | xargs -0 clang-format-14 --dry-run -Werror
}

# The path-sensitive checks are for our code only: they do not know that a test's assertion never returns.
tidy()
{
    local run='clang-tidy-14 --quiet $CHECKS "$@" -- -std=gnu17 -I. -D_GNU_SOURCE -pthread 2>/dev/null'
    list core net filters tls bench | CHECKS='' xargs -P "$JOBS" -n 4 sh -c "$run" tidy &&
        list test | CHECKS='--checks=-clang-analyzer-*' xargs -P "$JOBS" -n 4 sh -c "$run" tidy
}

# The analyzer follows one file at a time; tests, which leave by longjmp, only confuse it. Its flags are
# its own: under -fno-strict-aliasing gcc 12 forgets that a list which is not empty has a first node.
analyze()
{
    list core net filters tls bench | xargs -P "$JOBS" -n 1 sh -c \
        'gcc -std=gnu17 -O2 -I. -D_GNU_SOURCE -pthread -fanalyzer -Werror \
            -fdiagnostics-path-format=separate-events -c -o /dev/null "$1"' analyze
}

scripts()
{
    bash -n test/deps.sh && bash -n test/lint.sh && bash -n test/fuzz/run.sh && bash -n dist/run.sh &&
        bash -n dist/deps-wolfssl.sh && bash -n test/tls_pki.sh && bash -n .ci/run && /usr/bin/python3 - <<'END'
import ast, glob
for path in ["test/run", *glob.glob("test/**/*.py", recursive=True), *glob.glob("bench/*.py")]:
    with open(path, encoding="utf-8") as file:
        ast.parse(file.read(), path)
END
}

check "format (clang-format 14)" format
check "house rules (test/structure.py)" /usr/bin/python3 test/structure.py
check "scripts parse" scripts
check "clang-tidy 14" tidy
check "gcc -fanalyzer" analyze
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
