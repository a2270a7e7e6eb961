/*
 * tls_hello - see tls_hello.h for the promises.
 *
 *   record:    type(22) version(2) length(2) | fragment
 *   handshake: type(1) length(3) | client_version(2) random(32) session_id<1> cipher_suites<2>
 *              compression<1> extensions<2>?                                 RFC 8446 4.1.2, 5.1
 */
#include "tls/tls_hello.h"

#include <errno.h>
#include <string.h>

enum {
    RECORD_HEADER = 5,
    RECORD_HANDSHAKE = 22,
    HANDSHAKE_HEADER = 4,
    HANDSHAKE_CLIENT_HELLO = 1,
    RANDOM_SIZE = 32,
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_SIGNATURES = 13,
    EXTENSION_ALPN = 16,
    EXTENSION_VERSIONS = 43,
    VERSION_1_3 = 0x0304,
};

/* A reader that never passes its end: what is missing reads as zero and sets `bad`. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static uint32_t take_number(struct reader *reader, uint32_t octets)
{
    uint32_t value = 0;
    if ((uint32_t)(reader->end - reader->at) < octets) {
        reader->bad = true;
        reader->at = reader->end;
        return 0;
    }
    for (; octets > 0; octets--) {
        value = value << 8 | *reader->at++;
    }
    return value;
}

static struct reader take_bytes(struct reader *reader, uint32_t len)
{
    if ((uint32_t)(reader->end - reader->at) < len) {
        reader->bad = true;
        len = (uint32_t)(reader->end - reader->at);
    }
    struct reader taken = {reader->at, reader->at + len, reader->bad};
    reader->at += len;
    return taken;
}

static struct reader take_vector(struct reader *reader, uint32_t length_octets)
{
    uint32_t len = take_number(reader, length_octets);
    return take_bytes(reader, len);
}

static bool is_empty(const struct reader *reader)
{
    return reader->at == reader->end;
}

static bool reads(const struct reader *reader, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(reader->end - reader->at) == len && memcmp(reader->at, text, len) == 0;
}

/* ServerNameList: of names of type 0 (host_name) there may be one. RFC 6066 section 3. */
static bool parse_name(struct reader extension, struct tls_hello *hello)
{
    struct reader list = take_vector(&extension, 2);
    while (!is_empty(&list) && !list.bad) {
        uint32_t type = take_number(&list, 1);
        struct reader name = take_vector(&list, 2);
        uint32_t len = (uint32_t)(name.end - name.at);
        if (type != 0 || list.bad) {
            continue;
        }
        if (len == 0 || len > TLS_NAME_MAX || memchr(name.at, '\0', len) != NULL) {
            return false;
        }
        for (uint32_t i = 0; i < len; i++) {
            uint8_t byte = name.at[i];
            hello->name[i] = (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
        }
        hello->name[len] = '\0';
    }
    return !list.bad && !extension.bad && is_empty(&extension);
}

/* What a peer can verify, in 1.3: the curve belongs to the scheme. In 1.2 0x0403 is "ECDSA with
 * SHA-256" on any curve, and the library judges the curve. PKCS 1 v1.5 with RSA only helps in 1.2.
 */
static bool parse_signatures(struct reader extension, struct tls_hello *hello)
{
    struct reader list = take_vector(&extension, 2);
    while (!is_empty(&list) && !list.bad) {
        switch (take_number(&list, 2)) {
        case 0x0401:
        case 0x0501:
        case 0x0601: /* rsa_pkcs1_sha256, 384, 512 */
        case 0x0804:
        case 0x0805:
        case 0x0806: /* rsa_pss_rsae_sha256, 384, 512 */
            hello->keys |= 1u << TLS_KEY_RSA;
            break;
        case 0x0403:
            hello->keys |= 1u << TLS_KEY_P256;
            break;
        case 0x0503:
            hello->keys |= 1u << TLS_KEY_P384;
            break;
        case 0x0603:
            hello->keys |= 1u << TLS_KEY_P521;
            break;
        case 0x0807:
            hello->keys |= 1u << TLS_KEY_ED25519;
            break;
        default:
            break;
        }
    }
    return !list.bad && !extension.bad && is_empty(&extension);
}

static bool parse_alpn(struct reader extension, struct tls_hello *hello)
{
    struct reader list = take_vector(&extension, 2);
    hello->has_alpn = true;
    while (!is_empty(&list) && !list.bad) {
        struct reader protocol = take_vector(&list, 1);
        if (is_empty(&protocol)) {
            return false;
        }
        hello->has_smtp |= reads(&protocol, "smtp");
    }
    return !list.bad && !extension.bad && is_empty(&extension);
}

static bool parse_versions(struct reader extension, struct tls_hello *hello)
{
    struct reader list = take_vector(&extension, 1);
    while (!is_empty(&list) && !list.bad) {
        hello->is_1_3 |= take_number(&list, 2) == VERSION_1_3;
    }
    return !list.bad && !extension.bad && is_empty(&extension);
}

static bool parse_extension(uint32_t type, struct reader extension, struct tls_hello *hello)
{
    switch (type) {
    case EXTENSION_SERVER_NAME:
        return parse_name(extension, hello);
    case EXTENSION_SIGNATURES:
        return parse_signatures(extension, hello);
    case EXTENSION_ALPN:
        return parse_alpn(extension, hello);
    case EXTENSION_VERSIONS:
        return parse_versions(extension, hello);
    default:
        return true;
    }
}

/* Which keys the suites of TLS 1.2 allow: those we offer are 0xc02b, 2c, 2f, 30 and 0xcca8, cca9.
 */
static uint8_t keys_of_suites(struct reader suites)
{
    uint8_t keys = 0;
    while (!is_empty(&suites) && !suites.bad) {
        uint32_t suite = take_number(&suites, 2);
        if (suite == 0xc02b || suite == 0xc02c || suite == 0xcca9) {
            keys |= 1u << TLS_KEY_P256 | 1u << TLS_KEY_P384 | 1u << TLS_KEY_P521 |
                    1u << TLS_KEY_ED25519;
        } else if (suite == 0xc02f || suite == 0xc030 || suite == 0xcca8) {
            keys |= 1u << TLS_KEY_RSA;
        }
    }
    return keys;
}

static int parse_body(struct reader body, struct tls_hello *hello)
{
    (void)take_number(&body, 2); /* client_version: the library's */
    (void)take_bytes(&body, RANDOM_SIZE);
    (void)take_vector(&body, 1);
    struct reader suites = take_vector(&body, 2);
    (void)take_vector(&body, 1);
    if (body.bad) {
        return -EPROTO;
    }
    if (!is_empty(&body)) {
        struct reader extensions = take_vector(&body, 2);
        while (!is_empty(&extensions) && !extensions.bad) {
            uint32_t type = take_number(&extensions, 2);
            struct reader extension = take_vector(&extensions, 2);
            if (extensions.bad || !parse_extension(type, extension, hello)) {
                return -EPROTO;
            }
        }
        if (extensions.bad || body.bad || !is_empty(&body)) {
            return -EPROTO;
        }
    }
    if (!hello->is_1_3) {
        hello->keys &= keys_of_suites(suites);
    }
    return 0;
}

/* Gathers the message from its records. As tls_hello_parse(), 1: `gathered` holds it whole. */
static int gather(struct reader wire, uint8_t *gathered, uint32_t *ret_len)
{
    uint32_t have = 0;
    uint32_t want = HANDSHAKE_HEADER;
    uint32_t wire_len = (uint32_t)(wire.end - wire.at);
    while (have < want) {
        const uint8_t *at = wire.at;
        uint32_t left = (uint32_t)(wire.end - at);
        if ((left > 0 && at[0] != RECORD_HANDSHAKE) || (left > 1 && at[1] != 3)) {
            return -EPROTO;
        }
        if (left < RECORD_HEADER) {
            return wire_len >= TLS_HELLO_MAX ? -EMSGSIZE : 0;
        }
        uint32_t record = (uint32_t)at[3] << 8 | at[4];
        if (record == 0) {
            return -EPROTO;
        }
        uint32_t part = left - RECORD_HEADER < record ? left - RECORD_HEADER : record;
        if (have + part > TLS_HELLO_MAX) {
            return -EMSGSIZE;
        }
        memcpy(gathered + have, at + RECORD_HEADER, part);
        have += part;
        if (have > 0 && gathered[0] != HANDSHAKE_CLIENT_HELLO) {
            return -EPROTO;
        }
        if (have >= HANDSHAKE_HEADER) {
            want = HANDSHAKE_HEADER +
                   ((uint32_t)gathered[1] << 16 | (uint32_t)gathered[2] << 8 | gathered[3]);
            if (want > TLS_HELLO_MAX - RECORD_HEADER) {
                return -EMSGSIZE;
            }
        }
        if (part < record) {
            break;
        }
        wire.at += RECORD_HEADER + record;
    }
    *ret_len = want;
    return have >= want ? 1 : wire_len >= TLS_HELLO_MAX ? -EMSGSIZE : 0;
}

int tls_hello_parse(const void *bytes, uint32_t len, struct tls_hello *ret_hello)
{
    uint8_t gathered[TLS_HELLO_MAX];
    const uint8_t *wire = bytes;
    uint32_t message = 0;
    int result = gather((struct reader){wire, wire + len, false}, gathered, &message);
    if (result != 1) {
        return result;
    }
    struct tls_hello hello = {0};
    struct reader body = {gathered + HANDSHAKE_HEADER, gathered + message, false};
    result = parse_body(body, &hello);
    if (result != 0) {
        return result;
    }
    *ret_hello = hello;
    return 1;
}
