#!/bin/bash
# `make run`: mailweir in front of its own little mail server, with one message sent through it.
#
#   client (you) --> mailweir 127.0.0.1:$PORT --> build/weir-sink 127.0.0.1:$SINK_PORT --> build/run/mail
#
# Needs bash, openssl and what was built, nothing more. Environment: B (build folder), PORT (2525), SINK_PORT
# (2626), IO (auto, io_uring or epoll). Everything that it writes is under $B/run. Ctrl-C or SIGTERM
# (its process id is in $B/run/pid) stops both servers by their process ids.
set -u
cd "$(dirname "$0")/.." || exit 1

B=${B:-build}
PORT=${PORT:-2525}
SINK_PORT=${SINK_PORT:-2626}
IO=${IO:-auto}
RUN=$B/run
HOST=127.0.0.1
sink_pid=
mailweir_pid=
tail_pid=
shown=0

say()
{
    printf '== %s\n' "$*"
}

# The end, whatever the cause: mailweir first, so that what it still holds finds its upstream.
stop_children()
{
    trap '' INT TERM
    if [ -n "$mailweir_pid" ]; then
        kill -TERM "$mailweir_pid" 2>/dev/null
        wait "$mailweir_pid" 2>/dev/null
    fi
    if [ -n "$sink_pid" ]; then
        kill -TERM "$sink_pid" 2>/dev/null
        wait "$sink_pid" 2>/dev/null
    fi
    [ -n "$tail_pid" ] && kill "$tail_pid" 2>/dev/null
    rm -f "$RUN/pid"
}

fail()
{
    printf 'run: %s\n' "$@" >&2
    exit 1
}

on_signal()
{
    echo
    say "stopping (what is under way may end first)"
    exit 0
}

require_free_port()
{
    if (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null; then
        fail "port $1 on $HOST is taken by another program." \
            "Stop that one, or choose another port: make run $2=$(($1 + 1000))"
    fi
}

# Nobody has reason to trust it; it is there so that STARTTLS can be tried. Kept for the next run.
make_certificate()
{
    [ -s "$RUN/cert.pem" ] && [ -s "$RUN/key.pem" ] && return
    say "making a self-signed certificate, $RUN/cert.pem"
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=mailweir.example" -addext "subjectAltName=DNS:mailweir.example" \
        -keyout "$RUN/key.pem" -out "$RUN/cert.pem" 2>"$RUN/openssl.log") ||
        fail "openssl made no certificate; it said:" "$(cat "$RUN/openssl.log")"
}

# The domain of the sample: who may send for it, the key of its signatures, what to do with forgeries. The
# zone file stands in for the DNS, so that all of this needs no network.
make_domain()
{
    local public
    [ -s "$RUN/dkim.pem" ] ||
        (umask 077 && openssl genrsa -out "$RUN/dkim.pem" 2048 2>"$RUN/openssl.log") ||
        fail "openssl made no key; it said:" "$(cat "$RUN/openssl.log")"
    public=$(openssl rsa -in "$RUN/dkim.pem" -pubout -outform DER 2>/dev/null | openssl base64 -A)
    cat >"$RUN/zone" <<END
; Written by \`make run\`: asked before any DNS server.
\$TTL 300
\$ORIGIN example.
@ IN SOA ns hostmaster 1 3600 900 604800 300
\$ORIGIN client.example.
@ IN SOA ns hostmaster 1 3600 900 604800 300
@ IN TXT "v=spf1 ip4:127.0.0.0/8 -all"
_dmarc IN TXT "v=DMARC1; p=reject"
sample._domainkey IN TXT ( "v=DKIM1; k=rsa; p=" "${public:0:200}" "${public:200}" )
END
}

# A DKIM-Signature field (RFC 6376; c=relaxed/simple) for fields of one line each, in $1, and the body $2.
sign()
{
    local body_hash value names=From:To:Subject:Date:Message-ID
    body_hash=$(printf '%s' "$2" | openssl dgst -sha256 -binary | openssl base64 -A)
    value="v=1; a=rsa-sha256; c=relaxed/simple; d=client.example; s=sample; h=$names; bh=$body_hash; b="
    printf 'DKIM-Signature: %s' "$value"
    { sed -E 's/^([^:]*): */\L\1\E:/' <<<"${1%$'\n'}" && printf 'dkim-signature:%s' "$value"; } |
        { sed '$!s/$/\r/' | openssl dgst -sha256 -sign "$RUN/dkim.pem" | openssl base64 -A; }
}

write_config()
{
    cat >"$RUN/proxy.ini" <<END
; Written by \`make run\`; proxy.ini in the source tree shows every key.
[proxy]
hostname = mailweir.example
io = $IO

[listen:mx]
bind = $HOST:$PORT
mode = gateway
tls = starttls
upstream = default

[upstream:default]
server = $HOST:$SINK_PORT

[tls]
certificate = $RUN/cert.pem $RUN/key.pem

[dns]
local_zone = $RUN/zone

[verify]
mode = hold

[dmarc]
action = reject

[log]
target = stderr
format = json
END
}

# Waits until a line with $2 stands in file $1, as long as process $3 lives and for $4 tenths of a second.
wait_for_line()
{
    local turn
    for ((turn = 0; turn < $4; turn++)); do
        grep -q -- "$2" "$1" 2>/dev/null && return 0
        kill -0 "$3" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# Starts both servers; their process ids are sink_pid and mailweir_pid.
start_servers()
{
    "$B/weir-sink" -l "$HOST:$SINK_PORT" -d "$RUN/mail" >"$RUN/sink.counts" 2>"$RUN/sink.log" &
    sink_pid=$!
    wait_for_line "$RUN/sink.log" "listening on" "$sink_pid" 50 ||
        fail "weir-sink did not start; it said:" "$(cat "$RUN/sink.log")"
    "$B/mailweir" -c "$RUN/proxy.ini" >"$RUN/mailweir.log" 2>&1 &
    mailweir_pid=$!
}

# Connects descriptor 3 to mailweir, which may still be starting.
connect_client()
{
    local turn
    for ((turn = 0; turn < 50; turn++)); do
        { exec 3<>"/dev/tcp/$HOST/$PORT"; } 2>/dev/null && return 0
        kill -0 "$mailweir_pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "mailweir did not start; it said:" "$(cat "$RUN/mailweir.log")"
}

# Reads one reply, all its lines, and fails unless its code begins with $1.
expect()
{
    local line
    while IFS= read -r -t 30 -u 3 line; do
        line=${line%$'\r'}
        printf '   < %s\n' "$line"
        case $line in
        [0-9][0-9][0-9]-*) ;;
        "$1"*) return 0 ;;
        *) fail "the sample message was not taken: $line" ;;
        esac
    done
    fail "no reply within 30 s; mailweir said:" "$(tail -n 5 "$RUN/mailweir.log")"
}

dialogue()
{
    printf '   > %s\n' "$2"
    printf '%s\r\n' "$2" >&3
    expect "$1"
}

send_sample()
{
    local fields body
    connect_client
    expect 2
    dialogue 2 "EHLO client.example"
    dialogue 2 "MAIL FROM:<alice@client.example>"
    dialogue 2 "RCPT TO:<bob@example.org>"
    dialogue 3 "DATA"
    printf '   > (the message, with a DKIM signature)\n   > .\n'
    printf -v fields '%s\r\n' "From: Alice <alice@client.example>" "To: Bob <bob@example.org>" \
        "Subject: A sample" "Date: $(date -R)" "Message-ID: <$$.$SECONDS@client.example>"
    printf -v body '%s\r\n' "This message went through mailweir."
    printf '%s\r\n%s\r\n%s.\r\n' "$(sign "${fields//$'\r'/}" "$body")" "$fields" "$body" >&3
    expect 2
    dialogue 2 "QUIT"
    exec 3>&-
}

show_result()
{
    wait_for_line "$RUN/mailweir.log" '"event":"transaction"' "$mailweir_pid" 50 ||
        fail "no record of the sample; mailweir said:" "$(cat "$RUN/mailweir.log")"
    say "what mailweir said, and the record that the message left (one JSON line):"
    shown=$(wc -l <"$RUN/mailweir.log")
    head -n "$shown" "$RUN/mailweir.log"
    say "the message as the upstream got it is in $RUN/mail (journal: $RUN/mail/journal)"
    say "SPF, DKIM and DMARC of client.example are in $RUN/zone. A forgery, which its owner wants refused:"
    echo "     swaks --server $HOST:$PORT --from x@elsewhere.example --h-From alice@client.example --to bob@example.org"
    say "serving on $HOST:$PORT. Try it from another terminal:"
    echo "     swaks --server $HOST:$PORT --from alice@client.example --to bob@example.org   (package swaks)"
    echo "     with TLS: openssl s_client -starttls smtp -crlf -connect $HOST:$PORT"
    echo "     or by hand: telnet $HOST $PORT, then: EHLO me, MAIL FROM:<a@b.example>, RCPT TO:<c@d.example>, DATA"
    say "records follow here. Stop with Ctrl-C, or: kill $$"
}

for program in mailweir weir-sink; do
    [ -x "$B/$program" ] || fail "$B/$program is not built; use: make run"
done
mkdir -p "$RUN/mail" || exit 1
require_free_port "$PORT" PORT
require_free_port "$SINK_PORT" SINK_PORT
make_certificate
make_domain
write_config
trap stop_children EXIT
trap on_signal INT TERM
echo $$ >"$RUN/pid"
say "starting weir-sink on $HOST:$SINK_PORT and mailweir on $HOST:$PORT (configuration: $RUN/proxy.ini)"
start_servers
say "sending a sample message"
send_sample
show_result
tail -n +$((shown + 1)) -f "$RUN/mailweir.log" --pid="$mailweir_pid" &
tail_pid=$!
wait -n "$mailweir_pid" "$sink_pid"
sleep 1 # Ctrl-C reaches the servers as well, and perhaps before this shell: then the trap ends it here
fail "a server ended by itself; the last lines of $RUN/mailweir.log and $RUN/sink.log:" \
    "$(tail -n 5 "$RUN/mailweir.log" "$RUN/sink.log")"
