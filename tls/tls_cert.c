/*
 * tls_cert - see tls_cert.h for the promises.
 *
 *   Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }
 *   tbsCertificate ::= SEQUENCE { [0] version?, serial, signature, issuer, validity, subject,
 *                                 subjectPublicKeyInfo, [1]?, [2]?, [3] extensions? }     RFC
 * 5280 4.1
 */
#include "tls/tls_cert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

enum {
    DER_SEQUENCE = 0x30,
    DER_BOOLEAN = 0x01,
    DER_OCTETS = 0x04,
    DER_OID = 0x06,
    DER_VERSION = 0xa0,
    DER_EXTENSIONS = 0xa3,
    DER_DNS_NAME = 0x82,
    DER_ADDRESS = 0x87,
    NAME_SIZE = 256,
    ADDRESS_SIZE_MAX = 16,
    FIELDS_BEFORE_KEY = 5, /* serial, signature, issuer, validity, subject */
};

struct der {
    const uint8_t *at;
    const uint8_t *end;
};

struct element {
    uint8_t tag;
    const uint8_t *start; /* its header */
    struct der content;
};

/* Takes one element off the front. False at the end, and on lengths that do not fit. */
static bool der_next(struct der *der, struct element *ret)
{
    if (der->end - der->at < 2) {
        return false;
    }
    const uint8_t *at = der->at;
    ret->start = at;
    ret->tag = *at++;
    uint32_t len = *at++;
    if (len >= 0x80) {
        uint32_t octets = len - 0x80;
        if (octets == 0 || octets > 3 || (uint32_t)(der->end - at) < octets) {
            return false;
        }
        for (len = 0; octets > 0; octets--) {
            len = len << 8 | *at++;
        }
    }
    if (len > (uint32_t)(der->end - at)) {
        return false;
    }
    ret->content = (struct der){at, at + len};
    der->at = at + len;
    return true;
}

static bool der_expect(struct der *der, uint8_t tag, struct element *ret)
{
    return der_next(der, ret) && ret->tag == tag;
}

static bool der_is(const struct der *der, const void *bytes, size_t len)
{
    return (size_t)(der->end - der->at) == len && memcmp(der->at, bytes, len) == 0;
}

/* AlgorithmIdentifier ::= SEQUENCE { algorithm OID, parameters: for an EC key its curve's OID } */
static enum tls_key key_of(struct der spki)
{
    static const struct {
        enum tls_key key;
        uint8_t algorithm[10]; /* length first */
        uint8_t curve[10];
    } kinds[] = {
        {TLS_KEY_RSA, {9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1}, {0}},
        {TLS_KEY_P256,
         {7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1},
         {8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}},
        {TLS_KEY_P384, {7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}, {5, 0x2b, 0x81, 4, 0, 34}},
        {TLS_KEY_P521, {7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}, {5, 0x2b, 0x81, 4, 0, 35}},
        {TLS_KEY_ED25519, {3, 0x2b, 0x65, 0x70}, {0}},
    };
    struct element algorithm, oid, curve;
    if (!der_expect(&spki, DER_SEQUENCE, &algorithm) ||
        !der_expect(&algorithm.content, DER_OID, &oid)) {
        return TLS_KEY_OTHER;
    }
    bool has_curve = der_expect(&algorithm.content, DER_OID, &curve);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (der_is(&oid.content, kinds[i].algorithm + 1, kinds[i].algorithm[0]) &&
            (kinds[i].curve[0] == 0 ||
             (has_curve && der_is(&curve.content, kinds[i].curve + 1, kinds[i].curve[0])))) {
            return kinds[i].key;
        }
    }
    return TLS_KEY_OTHER;
}

/* Extension ::= SEQUENCE { extnID OID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } */
static void find_names(struct der extensions, struct tls_cert *cert)
{
    static const uint8_t subject_alt_name[] = {0x55, 0x1d, 0x11};
    struct element list, extension, part, names;
    if (!der_expect(&extensions, DER_SEQUENCE, &list)) {
        return;
    }
    while (der_expect(&list.content, DER_SEQUENCE, &extension)) {
        if (!der_expect(&extension.content, DER_OID, &part) ||
            !der_is(&part.content, subject_alt_name, sizeof(subject_alt_name))) {
            continue;
        }
        bool found = der_next(&extension.content, &part);
        if (found && part.tag == DER_BOOLEAN) {
            found = der_next(&extension.content, &part);
        }
        if (found && part.tag == DER_OCTETS && der_expect(&part.content, DER_SEQUENCE, &names)) {
            cert->names = names.content.at;
            cert->names_len = (uint32_t)(names.content.end - names.content.at);
        }
        return;
    }
}

int tls_cert_parse(const void *der, uint32_t len, struct tls_cert *ret_cert)
{
    const uint8_t *bytes = der;
    struct der whole = {bytes, bytes + len};
    struct element certificate, tbs, field;
    if (!der_expect(&whole, DER_SEQUENCE, &certificate) ||
        !der_expect(&certificate.content, DER_SEQUENCE, &tbs) || !der_next(&tbs.content, &field)) {
        return -EINVAL;
    }
    int before = field.tag == DER_VERSION ? FIELDS_BEFORE_KEY : FIELDS_BEFORE_KEY - 1;
    for (int i = 0; i < before; i++) {
        if (!der_next(&tbs.content, &field)) {
            return -EINVAL;
        }
    }
    if (!der_expect(&tbs.content, DER_SEQUENCE, &field)) {
        return -EINVAL;
    }
    *ret_cert = (struct tls_cert){
        .key = key_of(field.content),
        .spki = field.start,
        .spki_len = (uint32_t)(field.content.end - field.start),
    };
    while (der_next(&tbs.content, &field)) {
        if (field.tag == DER_EXTENSIONS) {
            find_names(field.content, ret_cert);
        }
    }
    return 0;
}

/* Copies in lower case. False for what cannot be a host name. */
static bool copy_name(const struct der *from, char *ret_name, uint32_t size)
{
    uint32_t len = (uint32_t)(from->end - from->at);
    if (len == 0 || len >= size) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        uint8_t byte = from->at[i];
        if (byte <= ' ' || byte >= 0x7f) {
            return false;
        }
        ret_name[i] = (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
    }
    ret_name[len] = '\0';
    return true;
}

bool tls_cert_next_name(const struct tls_cert *cert, uint32_t *at, char *ret_name, uint32_t size)
{
    if (cert->names == NULL || *at >= cert->names_len) {
        return false;
    }
    struct der names = {cert->names + *at, cert->names + cert->names_len};
    struct element name;
    while (der_next(&names, &name)) {
        if (name.tag == DER_DNS_NAME && copy_name(&name.content, ret_name, size)) {
            *at = (uint32_t)(names.at - cert->names);
            return true;
        }
    }
    *at = cert->names_len;
    return false;
}

static bool has_address(const struct tls_cert *cert, const uint8_t *address, size_t len)
{
    struct der names = {cert->names, cert->names + cert->names_len};
    struct element name;
    while (der_next(&names, &name)) {
        if (name.tag == DER_ADDRESS && der_is(&name.content, address, len)) {
            return true;
        }
    }
    return false;
}

/* "*.example.org" stands for one label, the leftmost; it must leave two of its own at least. */
static bool pattern_fits(const char *pattern, const char *name)
{
    if (strncmp(pattern, "*.", 2) != 0) {
        return strcasecmp(pattern, name) == 0;
    }
    const char *rest = strchr(name, '.');
    return rest != NULL && rest != name && strchr(pattern + 2, '.') != NULL &&
           strcasecmp(pattern + 1, rest) == 0;
}

bool tls_cert_is_for(const struct tls_cert *cert, const char *name)
{
    uint8_t address[ADDRESS_SIZE_MAX];
    char plain[NAME_SIZE];
    char pattern[NAME_SIZE];
    size_t len = strlen(name);
    if (cert->names == NULL) {
        return false;
    }
    if (inet_pton(AF_INET, name, address) == 1) {
        return has_address(cert, address, sizeof(struct in_addr));
    }
    if (inet_pton(AF_INET6, name, address) == 1) {
        return has_address(cert, address, sizeof(struct in6_addr));
    }
    if (len > 0 && name[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len >= sizeof(plain)) {
        return false;
    }
    memcpy(plain, name, len);
    plain[len] = '\0';
    for (uint32_t at = 0; tls_cert_next_name(cert, &at, pattern, sizeof(pattern));) {
        if (pattern_fits(pattern, plain)) {
            return true;
        }
    }
    return false;
}
