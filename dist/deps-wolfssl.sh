#!/bin/bash
# Builds the lean wolfSSL that mailweir links: DIR/include and DIR/lib/libwolfssl.a (position-independent).
#
#   dist/deps-wolfssl.sh [DIR]        (default: build/deps)
#
# The source is the newest that Debian's archive offers, found by apt with a configuration of its own
# under DIR/work: newer suites, the distribution's keyring, own lists. The machine's sources, lists and
# caches are neither read for packages nor changed; only the mirror's address is taken from them. apt
# verifies the suite's signature, the index against it, and each file against the index.
#
# Suites are tried in order, and a suite counts only when all its files are there and compile. One
# exception: in sid, upstream's tarball alone is enough (its digest stands in the signed index), since
# Debian's patches matter in stable suites, where they are the security updates.
#
# It runs as any user, and needs apt; dpkg-dev only when sid's tarball is out of reach.
#
# DIR/choice.mk, which the Makefile includes, is the result: `LEAN := VERSION/RECIPE`, or `LEAN :=` with
# the reason above it: build with the system's package. A failure is remembered there, so that `make`
# warns once and does not ask again; FORCE=1 (`make deps`) forgets it. SUITES names other suites to try.
# Exit: 0 choice.mk is written (at once when nothing has changed), 1 it cannot be.
set -u
cd "$(dirname "$0")/.." || exit 1

suites=(${SUITES:-sid testing stable})
settings=dist/wolfssl/user_settings.h
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
unreachable='Could not (connect|resolve)|Temporary failure|Connection (failed|timed out|refused)|Cannot initiate'
PATIENCE=${PATIENCE:-240} # seconds for one call of apt
deps=$(realpath -m "${1:-build/deps}")
work=$deps/work
compiler=${CC:-gcc}
flags=(-O2 -fPIC -fomit-frame-pointer -fno-strict-aliasing -fstack-protector-strong -w
    -DBUILDING_WOLFSSL -DWOLFSSL_USER_SETTINGS)

say()
{
    printf 'deps: %s\n' "$*" >&2
}

# The last step, whole or not at all: lines for choice.mk.
choose()
{
    printf '%s\n' "# Written by dist/deps-wolfssl.sh, recipe $recipe." "$@" >"$deps/choice.new" &&
        mv "$deps/choice.new" "$deps/choice.mk"
    exit
}

unavailable()
{
    say "warning: no lean wolfSSL ($*); building with the system's package, which is slower and" \
        "takes about 80 KiB per TLS session. This is said once; \`make deps\` tries again."
    rm -rf "$work/source" "$work/object" "$work/apt"
    choose "# $*" "LEAN :="
}

# What the result depends on, besides the source.
recipe=$(cat "$0" "$settings" | cksum | cut -d ' ' -f 1)
mkdir -p "$deps" || exit 1
exec 9>"$deps/lock"
flock 9
if grep -qs "recipe $recipe\.$" "$deps/choice.mk"; then
    lean=$(sed -n 's/^LEAN := *//p' "$deps/choice.mk")
    if [ -n "$lean" ] && [ -e "$deps/lib/libwolfssl.a" ] || [ "$lean${FORCE:-0}" = 0 ]; then
        touch "$deps/choice.mk"
        exit 0
    fi
fi
rm -rf "$work" "$deps/choice.mk"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" || exit 1
log=$work/log

# The mirror that this machine takes its own release from. apt knows it once it has lists; before that
# it is the first address of the sources.
mirror_of_machine()
{
    local VERSION_CODENAME= mirror
    . /etc/os-release 2>/dev/null
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v release="$VERSION_CODENAME" '$1 == release { print $2; exit }')
    if [ -z "$mirror" ]; then
        mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{sources,list} 2>/dev/null |
            grep -E '^(deb |URIs:)' | grep -oE '(https?|mirror\+file|file):/[^] ]+' | head -n 1)
    fi
    echo "$mirror"
}

# $1 is the mirror, $2 the suite. -c is read last, so it can clear the machine's hooks.
write_apt_configuration()
{
    echo "deb-src [signed-by=$keyring] $1 $2 main" >"$work/apt/sources.list"
    cat >"$work/apt/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::Preferences "-";
Dir::Etc::PreferencesParts "-";
Dir::State::Lists "$work/apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$work/apt/cache";
Dir::Cache::PkgCache "";
Dir::Cache::SrcPkgCache "";
Acquire::Retries "1";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Acquire::AllowInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
END
}

private_apt()
{
    timeout -k 5 "$PATIENCE" apt-get -q -c "$work/apt/apt.conf" "$@" </dev/null >>"$log" 2>&1
}

# Puts the source of suite $1 into $work/source and sets `version`; `reachable` says whether it is worth
# while to try another suite.
fetch()
{
    rm -rf "$work/source" "$work/download"
    mkdir -p "$work/download"
    private_apt -o APT::Update::Error-Mode=any update
    local result=$?
    if [ $result -ne 0 ]; then
        [ $result -lt 124 ] && ! grep -qE "$unreachable" "$log" || reachable=no
        return 1
    fi
    version=$(apt-cache -c "$work/apt/apt.conf" showsrc wolfssl 2>>"$log" |
        sed -n 's/^Version: //p' | sort -V | tail -n 1)
    [ -n "$version" ] || return 1
    cd "$work/download" || return 1
    if type dpkg-source >/dev/null 2>&1 && private_apt source --download-only "wolfssl=$version"; then
        dpkg-source -x ./*.dsc "$work/source" >>"$log" 2>&1
    elif [ "$1" = sid ] && private_apt source --download-only --tar-only "wolfssl=$version"; then
        version="$version, upstream's tarball alone"
        mkdir "$work/source" && tar -xf ./*.orig.tar.gz --strip-components=1 -C "$work/source"
    else
        false
    fi
    result=$?
    cd "$OLDPWD" && return $result
}

compile_one()
{
    local object extra=()
    object=$work/object/$(tr / _ <<<"${1%.*}").${1##*.}.o
    # The one file with intrinsics; it asks the processor before it uses them.
    [ "$1 $(uname -m)" = "wolfcrypt/src/aes.c x86_64" ] && extra=(-maes -msse4.1 -mpclmul)
    # Assembler files of older releases do not ask for the settings.
    [ "${1##*.}" = S ] && extra=(-include "$work/result/include/user_settings.h")
    nice "$compiler" "${flags[@]}" "${extra[@]}" -I"$work/result/include" -I"$work/source" \
        -c "$work/source/$1" -o "$object" >>"$log" 2>&1
}

# Compiles $work/source into $work/result.
compile()
{
    local result=$work/result assembler='wolfcrypt/src/*_asm.S'
    rm -rf "$result" "$work/object"
    mkdir -p "$result/include" "$result/lib" "$work/object" || return 1
    cp -r "$work/source/wolfssl" "$result/include/" && cp "$settings" "$result/include/" || return 1
    printf '%s\n' '#define WOLFSSL_USER_SETTINGS' '#include <user_settings.h>' \
        >"$result/include/wolfssl/options.h"
    [ "$(uname -m)" = x86_64 ] || assembler=
    # The 32-bit x86 assembler file cannot be assembled here; all others guard themselves.
    (cd "$work/source" && ls src/*.c wolfcrypt/src/*.c $assembler | grep -v x86_asm) |
        xargs -P "$(nproc)" -I{} bash -c 'compile_one {}' || return 1
    ar rcs "$result/lib/libwolfssl.a" "$work/object"/*.o >>"$log" 2>&1 && try_library
}

# The library must link and know one digest before it is taken.
try_library()
{
    cat >"$work/try.c" <<'END'
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/hash.h>
int main(void)
{
    unsigned char sum[WC_SHA256_DIGEST_SIZE];
    return !(wolfSSL_Init() == WOLFSSL_SUCCESS && wolfSSL_CTX_new(wolfSSLv23_server_method()) != NULL &&
             wc_Sha256Hash((const unsigned char *)"abc", 3, sum) == 0 && sum[0] == 0xba && sum[31] == 0xad);
}
END
    "$compiler" -w -I"$work/result/include" "$work/try.c" "$work/result/lib/libwolfssl.a" -lm -pthread \
        -o "$work/try" >>"$log" 2>&1 && "$work/try"
}

install_result()
{
    rm -rf "$deps/include" "$deps/lib"
    mv "$work/result/include" "$work/result/lib" "$deps/" || exit 1
    say "wolfSSL $version is in $deps"
    rm -rf "$work"
    choose "# $version" "LEAN := ${version%%,*}/$recipe"
}

export -f compile_one
export work log compiler
# bash exports no arrays: the flags travel as one word each through this.
printf 'flags=(%s)\n' "${flags[*]@Q}" >"$work/flags"
export BASH_ENV=$work/flags

type apt-get >/dev/null 2>&1 || unavailable "there is no apt here"
[ -r "$keyring" ] || unavailable "$keyring is missing"
mirror=$(mirror_of_machine)
[ -n "$mirror" ] || unavailable "apt names no Debian mirror for this release"
say "building a lean wolfSSL from Debian's source archive (once; log: $log)"
reachable=yes
reasons=
for suite in "${suites[@]}"; do
    write_apt_configuration "$mirror" "$suite"
    if ! fetch "$suite"; then
        reasons+="$suite: no complete source there; "
    elif compile; then
        install_result
    else
        reasons+="$suite: wolfSSL $version does not compile; "
    fi
    [ $reachable = yes ] || unavailable "Debian's archive is out of reach"
done
unavailable "${reasons}see $log"
