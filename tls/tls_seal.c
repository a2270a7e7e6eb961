/*
 * tls_seal - seals and opens session tickets with the shared keys: AES-256-GCM in place.
 *
 * The library gives a name, an IV and a MAC field of 16, 16 and 16 or more bytes, and the ticket.
 * The nonce is the first 96 bits of the IV field, random for each ticket; at one key an hour that
 * is far from the bound of 2^32 tickets. Name and IV are authenticated as well.
 */
#include "tls/tls_internal.h"

#include <wolfssl/wolfcrypt/aes.h>

#include <string.h>
#include <strings.h>
#include <sys/random.h>

enum {
    NONCE_SIZE = 12,
    TAG_SIZE = 16,
    AAD_SIZE = WOLFSSL_TICKET_NAME_SZ + WOLFSSL_TICKET_IV_SZ,
};

_Static_assert(WOLFSSL_TICKET_NAME_SZ == TLS_TICKET_NAME_SIZE, "names have one size");
_Static_assert(WOLFSSL_TICKET_IV_SZ >= NONCE_SIZE, "the nonce has room");
_Static_assert(WOLFSSL_TICKET_MAC_SZ >= TAG_SIZE, "the tag has room");

struct sealed {
    unsigned char *name;
    unsigned char *iv;
    unsigned char *mac;
    unsigned char *ticket;
    int len;
};

/* 0 or the library's error. */
static int apply(const struct tls_ticket_key *key, const struct sealed *sealed, bool seal)
{
    Aes aes;
    uint8_t aad[AAD_SIZE];
    memcpy(aad, sealed->name, WOLFSSL_TICKET_NAME_SZ);
    memcpy(aad + WOLFSSL_TICKET_NAME_SZ, sealed->iv, WOLFSSL_TICKET_IV_SZ);
    int result = wc_AesInit(&aes, NULL, INVALID_DEVID);
    if (result != 0) {
        return result;
    }
    result = wc_AesGcmSetKey(&aes, key->key, sizeof(key->key));
    if (result == 0 && seal) {
        result = wc_AesGcmEncrypt(&aes, sealed->ticket, sealed->ticket, (word32)sealed->len,
                                  sealed->iv, NONCE_SIZE, sealed->mac, TAG_SIZE, aad, sizeof(aad));
    } else if (result == 0) {
        result = wc_AesGcmDecrypt(&aes, sealed->ticket, sealed->ticket, (word32)sealed->len,
                                  sealed->iv, NONCE_SIZE, sealed->mac, TAG_SIZE, aad, sizeof(aad));
    }
    wc_AesFree(&aes);
    explicit_bzero(&aes, sizeof(aes));
    return result;
}

static int seal_ticket(const struct tls_tickets *tickets, const struct sealed *sealed)
{
    struct tls_ticket_key key;
    if (!tls_tickets_newest(tickets, &key)) {
        return WOLFSSL_TICKET_RET_FATAL;
    }
    memset(sealed->iv, 0, WOLFSSL_TICKET_IV_SZ);
    memset(sealed->mac, 0, WOLFSSL_TICKET_MAC_SZ);
    memcpy(sealed->name, key.name, sizeof(key.name));
    bool done =
        getrandom(sealed->iv, NONCE_SIZE, 0) == NONCE_SIZE && apply(&key, sealed, true) == 0;
    explicit_bzero(&key, sizeof(key));
    return done ? WOLFSSL_TICKET_RET_OK : WOLFSSL_TICKET_RET_FATAL;
}

/* Never asks for a new ticket (CREATE): TLS 1.3 sends one after each handshake anyway, and the
 * library takes CREATE for a refusal there. A TLS 1.2 client shakes hands in full once its ticket's
 * key is gone. */
static int open_ticket(const struct tls_tickets *tickets, const struct sealed *sealed)
{
    struct tls_ticket_key key;
    if (!tls_tickets_find(tickets, sealed->name, &key)) {
        return WOLFSSL_TICKET_RET_REJECT;
    }
    bool done = apply(&key, sealed, false) == 0;
    explicit_bzero(&key, sizeof(key));
    return done ? WOLFSSL_TICKET_RET_OK : WOLFSSL_TICKET_RET_REJECT;
}

int tls_on_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac,
                  int seal, unsigned char *ticket, int len, int *ret_len, void *user)
{
    (void)ssl;
    const struct tls_ctx *ctx = user;
    struct sealed sealed = {name, iv, mac, ticket, len};
    if (len <= 0 || ctx->tickets == NULL) {
        return WOLFSSL_TICKET_RET_REJECT;
    }
    int result = seal ? seal_ticket(ctx->tickets, &sealed) : open_ticket(ctx->tickets, &sealed);
    if (result == WOLFSSL_TICKET_RET_OK) {
        *ret_len = len; /* the cipher adds nothing */
    }
    return result;
}
