#!/bin/bash
# Makes the certificates of the TLS tests in directory $1, with openssl alone. Each NAME is NAME.pem
# (with what leads to a root behind it) and NAME.key.
#
#   ca        the root that tests trust           clone     a root with the same subject and key id,
#   inter     an intermediate under ca                      and a key of its own
#   rsa, ec   mx.example.org, one of each kind    other     other.example.net and two more names
#   wild      *.wild.example                      chained   chained.example, under inter
#   expired   mx.example.org, of January 2020     selfmade  mx.example.org, signed by itself
#   forged    mx.example.org, signed by clone     client    client.example
#   small     mx.example.org with 1024 bits of RSA      local     mailhost
set -eu
cd "$1"

cat >conf <<'END'
[req]
distinguished_name = name
prompt = no
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = 00112233445566778899AABBCCDDEEFF00112233
[inter]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[leaf]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${ENV::NAMES}
[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = none
[any]
commonName = supplied
END
: >index
export NAMES=DNS:unused.example
ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)

quietly()
{
    "$@" >log 2>&1 || { cat log >&2; exit 1; }
}

root()
{
    quietly openssl req -config conf -x509 "${ec[@]}" -nodes -days 3650 -extensions root \
        -subj "/CN=Test CA" -keyout "$1.key" -out "$1.pem"
}

# leaf NAME ISSUER SECTION SUBJECT_ALT_NAMES KEY_OPTION...
leaf()
{
    local name=$1 issuer=$2 section=$3
    export NAMES=$4
    shift 4
    quietly openssl req -config conf "$@" -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
    quietly openssl x509 -req -in "$name.csr" -CA "$issuer.pem" -CAkey "$issuer.key" -CAcreateserial \
        -days 3650 -extfile conf -extensions "$section" -out "$name.pem"
}

root ca
root clone
leaf inter ca inter DNS:unused.example "${ec[@]}"
leaf rsa ca leaf DNS:mx.example.org -newkey rsa:2048
leaf ec ca leaf DNS:mx.example.org "${ec[@]}"
leaf other ca leaf DNS:other.example.net,DNS:Upper.Example.NET,DNS:deep.wild.example,IP:127.0.0.1 "${ec[@]}"
leaf wild ca leaf 'DNS:*.wild.example' "${ec[@]}"
leaf chained inter leaf DNS:chained.example "${ec[@]}"
cat inter.pem >>chained.pem
leaf forged clone leaf DNS:mx.example.org "${ec[@]}"
leaf local ca leaf DNS:mailhost "${ec[@]}"
leaf client ca leaf DNS:client.example "${ec[@]}"
leaf small ca leaf DNS:mx.example.org -newkey rsa:1024
leaf expired ca leaf DNS:mx.example.org "${ec[@]}"
quietly openssl ca -config conf -batch -cert ca.pem -keyfile ca.key -in expired.csr -extensions leaf \
    -startdate 20200101000000Z -enddate 20200201000000Z -notext -out expired.pem
export NAMES=DNS:mx.example.org
quietly openssl req -config conf -x509 "${ec[@]}" -nodes -days 3650 -extensions leaf \
    -subj "/CN=selfmade" -keyout selfmade.key -out selfmade.pem
for name in rsa ec other wild chained forged selfmade client; do
    openssl x509 -in "$name.pem" -noout -pubkey | openssl pkey -pubin -outform DER 2>/dev/null |
        openssl dgst -sha256 -binary >"$name.pin"
done
