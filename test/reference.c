/*
 * reference - see test/reference.h.
 */
#include "test/reference.h"

static void forget(struct reference *r)
{
    r->in_transaction = false;
    r->in_body = false;
    r->accepted = 0;
}

/* A reply of the proxy's own. */
static int own(struct reference *r, int code)
{
    r->errors += code >= 500 ? 1 : 0;
    return code;
}

static int upstream_said(struct reference *r, int code)
{
    r->ended = code == 421;
    return code;
}

static int mail(struct reference *r, enum action action, const struct plan *plan)
{
    if (!r->helo || r->in_transaction) {
        return own(r, 503);
    }
    if (action != ACT_MAIL) {
        bool has_size = r->has_size && r->extended;
        return own(r, action == ACT_MAIL_SYNTAX             ? 501
                      : action == ACT_MAIL_SIZE && has_size ? 552
                                                            : 555);
    }
    r->plan = *plan;
    if (r->mail_at_once) {
        r->in_transaction = plan->mail < 300;
        return upstream_said(r, plan->mail);
    }
    r->in_transaction = true;
    return 250;
}

static int rcpt(struct reference *r, enum action action, const struct plan *plan)
{
    if (!r->in_transaction) {
        return own(r, 503);
    }
    if (action == ACT_RCPT_SYNTAX) {
        return own(r, 501);
    }
    if (r->accepted >= r->recipients_max) {
        return 452;
    }
    if (r->plan.mail >= 300) {
        return upstream_said(r, r->plan.mail);
    }
    if (plan->rcpt < 300) {
        r->accepted++;
        r->commands--;
    }
    return upstream_said(r, plan->rcpt);
}

static int data(struct reference *r, enum action action)
{
    if (!r->in_transaction) {
        return own(r, 503);
    }
    if (action == ACT_DATA_ARGUMENT) {
        return own(r, 501);
    }
    if (r->accepted == 0) {
        return own(r, 554);
    }
    int code = r->chunking || r->checking ? 354 : r->plan.data;
    if (code == 354) {
        r->in_body = true;
        return code;
    }
    forget(r);
    return upstream_said(r, code);
}

static int body(struct reference *r, enum action action)
{
    bool hears_data = r->checking ? !r->chunking : r->chunking && action == ACT_BODY_LONG;
    int code = hears_data && r->plan.data != 354 ? r->plan.data : r->plan.eom;
    forget(r);
    if (action == ACT_BODY_BAD) {
        return own(r, 550);
    }
    if (code < 300) {
        r->commands = 0;
    }
    return upstream_said(r, code);
}

static int simple(struct reference *r, enum action action)
{
    switch ((int)action) {
    case ACT_EHLO:
    case ACT_HELO:
        forget(r);
        r->helo = true;
        r->extended = action == ACT_EHLO;
        return 250;
    case ACT_EHLO_EMPTY:
        return own(r, 501);
    case ACT_RSET:
        forget(r);
        return 250;
    case ACT_NOOP:
        return 250;
    case ACT_VRFY:
        return 252;
    case ACT_HELP:
        return 214;
    case ACT_STARTTLS:
        return own(r, 502);
    case ACT_XCLIENT:
        return own(r, 550);
    case ACT_QUIT:
        forget(r);
        r->ended = true;
        return 221;
    default:
        return own(r, 500); /* unknown, bare LF, overlong */
    }
}

static int answer(struct reference *r, enum action action, const struct plan *plan)
{
    switch ((int)action) {
    case ACT_MAIL:
    case ACT_MAIL_SYNTAX:
    case ACT_MAIL_PARAM:
    case ACT_MAIL_SIZE:
        return mail(r, action, plan);
    case ACT_RCPT:
    case ACT_RCPT_SYNTAX:
        return rcpt(r, action, plan);
    case ACT_DATA:
    case ACT_DATA_ARGUMENT:
        return data(r, action);
    default:
        return simple(r, action);
    }
}

int reference_apply(struct reference *r, enum action action, const struct plan *plan,
                    int ret_codes[REFERENCE_REPLIES_MAX])
{
    int count = 0;
    if (action == ACT_BODY || action == ACT_BODY_LONG || action == ACT_BODY_BAD) {
        ret_codes[count++] = body(r, action);
    } else {
        r->commands++;
        bool counted_out =
            r->commands > r->commands_max && action != ACT_BARE_LF && action != ACT_LONG;
        if (counted_out) {
            forget(r);
            r->ended = true;
            ret_codes[count++] = 421;
            return count;
        }
        ret_codes[count++] = answer(r, action, plan);
    }
    if (!r->ended && !r->in_body && r->errors >= r->errors_max) {
        r->ended = true;
        ret_codes[count++] = 421;
    }
    if (r->ended) {
        forget(r);
    }
    return count;
}
