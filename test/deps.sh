#!/bin/bash
# Installs the Debian packages that a part of the project needs, and only those that are missing.
#
#   test/deps.sh [--check] [build|lean|run|test|fuzz|lint|bench|all ...]     (default: build)
#
# With everything there it does nothing, in a few hundredths of a second. --check installs nothing: it
# names what is missing, the command that installs it, and exits 1. `lean` is what dist/deps-wolfssl.sh
# likes to have. SKIP_DEPS=1 makes it trust the
# machine (other systems, libraries from source). Needs apt and dpkg alone; root, or sudo, to install.
set -u

declare -A packages=(
    [build]="gcc libc6-dev make pkg-config liburing-dev libwolfssl-dev libinih-dev libldns-dev"
    [run]="openssl"
    [lean]="dpkg-dev debian-archive-keyring"
    [test]="libcmocka-dev python3 python3-pytest python3-pytest-timeout python3-yaml python3-authres python3-aiosmtpd
            postfix swaks haproxy openssl procps util-linux git sslscan testssl.sh libnet-ssleay-perl
            nsd python3-dkim python3-nacl perl libmail-dkim-perl valgrind"
    [fuzz]="clang-14 libclang-rt-14-dev llvm-14"
    [lint]="clang-format-14 clang-tidy-14 python3"
    [bench]="haproxy postfix python3 nsd iproute2 openssl"
)

fail()
{
    printf 'deps: %s\n' "$@" >&2
    exit 1
}

# Prints the packages among "$@" that are not installed.
missing_of()
{
    local installed package
    installed=$'\n'$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null)$'\n'
    for package in "$@"; do
        [[ $installed == *$'\n'"installed $package"$'\n'* ]] || echo "$package"
    done
}

check_only=no
parts=()
for word in "$@"; do
    case $word in
    --check) check_only=yes ;;
    all) parts+=(build lean run test fuzz lint bench) ;;
    build | lean | run | test | fuzz | lint | bench) parts+=("$word") ;;
    *) fail "unknown part '$word' (known: build lean run test fuzz lint bench all)" ;;
    esac
done
[ "${SKIP_DEPS:-0}" = 1 ] && exit 0

wanted=(${packages[build]})
for part in "${parts[@]+"${parts[@]}"}"; do
    wanted+=(${packages[$part]})
done
type dpkg-query >/dev/null 2>&1 ||
    fail "this is not Debian. Install the equivalents of: ${wanted[*]}" "and run again with SKIP_DEPS=1."

missing=($(missing_of "${wanted[@]}" | sort -u))
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo)
fi
command="${sudo[*]+${sudo[*]} }apt-get install --no-install-recommends ${missing[*]}"
if [ $check_only = yes ]; then
    fail "missing packages: ${missing[*]}" "install them with: $command"
fi
if [ ${#sudo[@]} -gt 0 ] && ! type sudo >/dev/null 2>&1; then
    fail "missing packages: ${missing[*]}" "neither root nor sudo here; run as root: $command"
fi

echo "deps: installing ${missing[*]}"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
apt()
{
    "${sudo[@]+"${sudo[@]}"}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1
}
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
    tail -n 30 "$log" >&2
    fail "apt-get failed (its last lines are above); try: $command"
fi
missing=($(missing_of "${wanted[@]}"))
[ ${#missing[@]} -eq 0 ] || fail "apt-get ran, yet these are still missing: ${missing[*]}"
echo "deps: done"
