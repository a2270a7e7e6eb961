/*
 * transaction - what is known of one mail transaction, from MAIL to its record (RFC 5321, 3.3).
 *
 * Taken from the worker's pool at MAIL and given back when the transaction ends, in whatever way:
 * an idle session has none, and nothing of one transaction can reach the next.
 */
#ifndef CORE_TRANSACTION_H
#define CORE_TRANSACTION_H

#include "core/deliver.h"
#include "core/envelope.h"
#include "core/record.h"
#include "core/smtp_body.h"
#include "core/smtp_command.h"
#include "core/smtp_reply.h"

struct message;
struct verification;

enum {
    TRANSACTION_PARAMS_MAX = 256, /* RET, ENVID as given: 4 + 5 and 6 + 100 octets, with room */
    TRANSACTION_REPLY_MAX = 512,  /* of the last reply, for the record; longer ones are cut there */
    TRANSACTION_UPSTREAM_MAX = 120, /* "unix:" and a path of 107 is the longest address */
    TRANSACTION_HOPS_MAX = 50,      /* "Received:" fields; one more is a loop (RFC 5321, 6.3) */
};

struct transaction {
    struct envelope envelope;
    struct smtp_body body;
    uint32_t needs;    /* enum smtp_ext that MAIL or a RCPT made necessary at the upstream */
    uint8_t body_type; /* enum smtp_body_type */
    bool smtputf8;
    bool has_size;
    bool mail_done;    /* the upstream said 2xx to MAIL */
    bool mail_refused; /* it refused MAIL in the same write as RCPT: the RCPT's own reply is not the
                          client's */
    bool
        is_broken; /* the upstream was lost in mid-transaction: 451 until the client starts again */
    bool lease_replaced;     /* a dead pooled connection has been replaced once */
    bool has_unnoted;        /* the upstream has recipients that are missing in the envelope */
    bool body_begun;         /* the first bytes of the message have been looked at */
    bool at_line_start;      /* of what has come of a held message */
    bool is_open;            /* the upstream has been asked to take a held message */
    bool is_tagged;          /* a check's result was bad, and it goes on all the same */
    struct message *message; /* the body that is held, or NULL */
    struct verification *verification; /* where messages are checked, from MAIL on */
    struct delivery delivery;
    struct envelope_cursor replay; /* recipients that the new connection has heard */
    uint32_t gathered;      /* bytes of the client's window that have been scanned, in GATHER */
    uint64_t declared_size; /* of SIZE= */
    const char
        *refusal; /* reply after the true end-of-data, decided while the message came; static */
    const char *decided_by; /* rule behind `refusal` or the last reply; static */
    int64_t begun_ms;       /* the loop's clock: MAIL */
    int64_t connect_ms;     /* how long the upstream connection took to open; 0 for a pooled one */
    int64_t data_ms;        /* 354 sent */
    int64_t heard_ms;       /* the client has sent something of its message */
    int64_t eom_ms;         /* end-of-data seen */
    int64_t waited_ms;      /* for the checks, so far */
    int64_t verify_ms;      /* from the end-of-data to the verdict */
    uint64_t size;          /* octets of the message */
    char upstream[TRANSACTION_UPSTREAM_MAX]; /* address of the last lease; empty: there was none */
    uint16_t reply_code;
    uint16_t reply_len;
    uint32_t params_len; /* " RET=FULL ENVID=abc" */
    char params[TRANSACTION_PARAMS_MAX];
    char reply_text[TRANSACTION_REPLY_MAX];
    uint32_t refusal_len;             /* of `early_reply`, when that is the refusal */
    struct smtp_rcpt rcpt;            /* the RCPT that is being forwarded; in the client's window */
    char early_reply[SMTP_REPLY_MAX]; /* the upstream's own refusal in mid-message; last, since
                                         hardly ever touched */
};

/* The address of the last lease, for the record. */
static inline void transaction_note_upstream(struct transaction *transaction, const char *address)
{
    size_t len = strnlen(address, sizeof(transaction->upstream) - 1);
    memcpy(transaction->upstream, address, len);
    transaction->upstream[len] = '\0';
}

#endif
