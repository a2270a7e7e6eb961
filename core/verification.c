/*
 * verification - see core/verification.h.
 */
#include "core/verification.h"

#include <assert.h>
#include <stddef.h>
#include <time.h>

#include "filters/authres_claims.h"
#include "net/dns_client.h"

size_t screening_size(void)
{
    return offsetof(struct screening, chain) + chain_size(SCOPE_SESSION);
}

size_t verification_size(void)
{
    return offsetof(struct verification, chain) + chain_size(SCOPE_TRANSACTION);
}

/* ---- the connection ---- */

static struct facts facts_of(const struct session *session, struct findings *findings)
{
    const struct worker *worker = session->worker;
    return (struct facts){
        .conf = &worker->config->verify,
        .dns = dns_client_dns(worker->checker.dns),
        .client = &session->peer.sa,
        .hostname = worker->config->hostname,
        .helo = session->helo,
        .from = "",
        .watch = worker->checker.watch,
        .now_s = (int64_t)time(NULL),
        .findings = findings,
    };
}

static bool is_trusted(const struct session *session)
{
    const struct config_listener *listener = session_listener(session);
    return networks_have(listener->trust_proxy, listener->trust_proxy_count, &session->peer.sa);
}

void screening_begin(struct session *session)
{
    struct worker *worker = session->worker;
    if (worker->config->verify_mode == VERIFY_OFF || session->screening != NULL ||
        is_trusted(session)) {
        return;
    }
    struct facts facts = facts_of(session, NULL);
    if (!chain_is_needed(SCOPE_SESSION, &facts)) {
        return;
    }
    struct screening *screening = pool_get(&worker->checker.screenings);
    assert(screening != NULL); /* there is one for each session */
    findings_init(&screening->findings);
    facts.findings = &screening->findings;
    chain_init(&screening->chain, SCOPE_SESSION, worker->loop, &facts, session_on_checks, session);
    session->screening = screening;
    chain_reach(&screening->chain, PHASE_CONNECT);
}

void screening_end(struct session *session)
{
    if (session->screening != NULL) {
        chain_cancel(&session->screening->chain);
        pool_put(&session->worker->checker.screenings, session->screening);
        session->screening = NULL;
    }
}

/* ---- the transaction ---- */

bool verification_begin(struct session *session)
{
    struct worker *worker = session->worker;
    struct transaction *t = session->transaction;
    struct verification *v = pool_get(&worker->checker.verifications);
    if (v == NULL) {
        return false;
    }
    memset(&v->verdict, 0, sizeof(v->verdict));
    v->has_empty_line = false;
    findings_init(&v->findings);
    memset(v->removed, 0, sizeof(v->removed));
    header_init(&v->header);
    struct facts facts = facts_of(session, &v->findings);
    facts.from = t->envelope.from.at;
    facts.from_len = t->envelope.from.len;
    facts.header = &v->header;
    chain_init(&v->chain, SCOPE_TRANSACTION, worker->loop, &facts, session_on_checks, session);
    t->verification = v;
    chain_reach(&v->chain, PHASE_MAIL);
    return true;
}

void verification_end(struct transaction *transaction, struct worker *worker)
{
    if (transaction->verification != NULL) {
        chain_cancel(&transaction->verification->chain);
        pool_put(&worker->checker.verifications, transaction->verification);
        transaction->verification = NULL;
    }
}

uint32_t verification_feed(struct verification *v, const char *bytes, uint32_t len)
{
    uint32_t taken = chain_take(&v->chain, &v->header, bytes, len);
    v->has_empty_line = v->header.is_complete; /* nothing else has ended it */
    return taken;
}

void verification_finish(struct verification *v)
{
    chain_take_end(&v->chain, &v->header);
}

/* ---- verdicts ---- */

bool verification_await(struct session *session, enum filter_phase phase)
{
    const struct transaction *t = session->transaction;
    int64_t left_ms = session->worker->config->verify_deadline_ms - t->waited_ms;
    int64_t deadline_ms = session->command_ms + (left_ms > 0 ? left_ms : 0);
    bool is_done = chain_await(&t->verification->chain, phase, deadline_ms);
    if (session->screening != NULL) {
        is_done = chain_await(&session->screening->chain, phase, deadline_ms) && is_done;
    }
    return is_done;
}

bool verification_is_awaited(const struct session *session)
{
    const struct screening *screening = session->screening;
    return chain_is_awaited(&session->transaction->verification->chain) ||
           (screening != NULL && chain_is_awaited(&screening->chain));
}

static bool has_temperror(const struct findings *findings)
{
    bool result =
        findings->spf.result == CHECK_TEMPERROR || findings->dmarc.result == CHECK_TEMPERROR;
    for (uint32_t i = 0; i < findings->dkim.count; i++) {
        result = result || findings->dkim.signatures[i].result == CHECK_TEMPERROR;
    }
    for (uint32_t i = 0; i < findings->dnsbl.zone_count; i++) {
        result = result || findings->dnsbl.zones[i].is_temperror;
    }
    for (uint32_t i = 0; i < findings->rhsbl.zone_count; i++) {
        result = result || findings->rhsbl.zones[i].is_temperror;
    }
    return result;
}

static void count(struct checker_stats *stats, enum filter_phase phase,
                  const struct verification *v)
{
    stats->refused += v->verdict.action >= ACTION_DEFER;
    if (phase == PHASE_EOM) {
        stats->checked++;
        stats->tagged += v->verdict.action == ACTION_TAG;
        stats->temperrors += has_temperror(&v->findings);
    }
}

const struct verdict *verification_judge(struct session *session, enum filter_phase phase)
{
    struct verification *v = session->transaction->verification;
    chain_judge(&v->chain, phase, &v->verdict);
    if (session->screening != NULL) {
        struct verdict verdict;
        chain_judge(&session->screening->chain, phase, &verdict);
        v->findings.dnsbl = session->screening->findings.dnsbl;
        if (verdict.action > v->verdict.action) {
            v->verdict = verdict;
        }
    }
    count(&session->worker->checker.stats, phase, v);
    return &v->verdict;
}

void verification_find_forged(const struct session *session)
{
    const struct config *config = session->worker->config;
    struct verification *v = session->transaction->verification;
    for (uint32_t i = 0; i < v->header.count; i++) {
        const struct header_field *field = &v->header.fields[i];
        bool is_ours =
            config->trace_header[0] != '\0' && header_is(&v->header, field, config->trace_header);
        if (is_ours || authres_claims(&v->header, field, config->verify.authserv_id)) {
            v->removed[i / 8] |= (uint8_t)(1u << (i % 8));
        }
    }
}
