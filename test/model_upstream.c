/*
 * model_upstream - see test/model_upstream.h.
 */
#include "test/model_upstream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char MODEL_DROP[] = "drop";
const char MODEL_RESET[] = "reset";
const char MODEL_SILENT[] = "silent";

void model_init(struct model *model, struct weir *weir)
{
    memset(model, 0, offsetof(struct model, conns));
    model->weir = weir;
    model->listener = weir->listener;
    model->ehlo = "250-up.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
                  "250-ENHANCEDSTATUSCODES\r\n250-SIZE 1000000\r\n250 DSN\r\n";
    for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
        model->conns[i].fd = -1;
    }
}

static void violate(struct model *model, const char *what)
{
    if (model->violations++ == 0) {
        model->violation = what;
    }
}

static const char *usual(const struct model *model, enum model_stage stage)
{
    switch (stage) {
    case STAGE_CONNECT:
        return "220 up.example ESMTP\r\n";
    case STAGE_EHLO:
        return model->ehlo;
    case STAGE_HELO:
        return "250 up.example\r\n";
    case STAGE_RSET:
    case STAGE_MAIL:
        return "250 2.1.0 ok\r\n";
    case STAGE_RCPT:
        return "250 2.1.5 ok\r\n";
    case STAGE_DATA:
        return "354 go on\r\n";
    case STAGE_EOM:
        return "250 2.0.0 taken\r\n";
    case STAGE_QUIT:
        return "221 2.0.0 bye\r\n";
    case STAGE_BODY:
    case STAGE_COUNT:
        break;
    }
    return "";
}

static void conn_close(struct model *model, struct model_conn *conn)
{
    sim_close(model->weir->sim, conn->fd);
    conn->fd = -1;
}

/* Sends an answer. False when the connection is over or silent. */
static bool say(struct model *model, struct model_conn *conn, const char *answer)
{
    struct sim *sim = model->weir->sim;
    if (answer == MODEL_DROP) {
        conn_close(model, conn);
        return false;
    }
    if (answer == MODEL_RESET) {
        sim_reset(sim, conn->fd);
        conn_close(model, conn);
        return false;
    }
    if (answer == MODEL_SILENT) {
        conn->is_silent = true;
        return false;
    }
    uint32_t len = (uint32_t)strlen(answer);
    if (model->drip > 0) {
        assert(len <= sizeof(conn->queue) - conn->queued);
        memcpy(conn->queue + conn->queued, answer, len);
        conn->queued += len;
        return true;
    }
    (void)sim_write(sim, conn->fd, answer, len); /* the other side may be gone */
    return true;
}

static const char *ask(struct model *model, struct model_conn *conn, enum model_stage stage,
                       const char *line, uint32_t len)
{
    const char *answer = NULL;
    if (model->script != NULL) {
        answer = model->script(model, conn, stage, line, len);
    }
    return answer != NULL ? answer : usual(model, stage);
}

static enum model_stage stage_of(const char *line, uint32_t len)
{
    static const struct {
        const char *verb;
        enum model_stage stage;
    } verbs[] = {{"EHLO ", STAGE_EHLO},      {"HELO ", STAGE_HELO},    {"RSET\r", STAGE_RSET},
                 {"MAIL FROM:", STAGE_MAIL}, {"RCPT TO:", STAGE_RCPT}, {"DATA\r", STAGE_DATA},
                 {"QUIT\r", STAGE_QUIT}};
    for (uint32_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        size_t verb_len = strlen(verbs[i].verb);
        if (len >= verb_len && strncasecmp(line, verbs[i].verb, verb_len) == 0) {
            return verbs[i].stage;
        }
    }
    return STAGE_COUNT;
}

static void check_order(struct model *model, const struct model_conn *conn, enum model_stage stage)
{
    if (conn->is_failed && stage != STAGE_RSET && stage != STAGE_QUIT) {
        violate(model, "a BDAT that failed, and no RSET behind it");
    }
    if (stage == STAGE_COUNT) {
        violate(model, "unknown command");
    }
    if (stage == STAGE_MAIL && conn->has_mail) {
        violate(model, "nested MAIL");
    }
    if (stage == STAGE_DATA && conn->rcpts == 0) {
        violate(model, "DATA without a recipient");
    }
}

static void take_effect(struct model *model, struct model_conn *conn, enum model_stage stage,
                        const char *answer)
{
    bool good = answer[0] == '2';
    if (stage == STAGE_EHLO) {
        conn->offers_chunking = strstr(answer, "CHUNKING") != NULL;
    }
    if (stage == STAGE_RSET || stage == STAGE_EHLO || stage == STAGE_HELO || stage == STAGE_EOM) {
        conn->has_mail = false;
        conn->is_failed = false;
        conn->rcpts = 0;
    } else if (stage == STAGE_MAIL) {
        conn->has_mail = good;
    } else if (stage == STAGE_RCPT && good) {
        conn->rcpts++;
    } else if (stage == STAGE_DATA) {
        conn->in_data = strncmp(answer, "354", 3) == 0;
        model->begun += conn->in_data;
        conn->body_told = false;
    }
}

static bool has_bare(const char *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        bool cr = bytes[i] == '\r';
        bool lf = bytes[i] == '\n';
        if (bytes[i] == '\0' || (lf && (i == 0 || bytes[i - 1] != '\r')) ||
            (cr && i + 1 < len && bytes[i + 1] != '\n')) {
            return true;
        }
    }
    return false;
}

/* One command line with its CRLF. */
static void on_line(struct model *model, struct model_conn *conn, const char *line, uint32_t len)
{
    enum model_stage stage = stage_of(line, len);
    if (has_bare(line, len)) {
        violate(model, "bare CR, bare LF or NUL in a command");
    }
    check_order(model, conn, stage);
    if (stage == STAGE_RCPT && !conn->has_mail) {
        (void)say(model, conn, "503 5.5.1 need MAIL\r\n");
        return;
    }
    const char *answer =
        stage == STAGE_COUNT ? "500 5.5.1 what?\r\n" : ask(model, conn, stage, line, len);
    take_effect(model, conn, stage, answer);
    if (say(model, conn, answer) && stage == STAGE_QUIT) {
        conn_close(model, conn);
    }
}

/* Offset behind the end-of-data, or 0. */
static uint32_t find_end(const char *bytes, uint32_t len)
{
    if (len >= 3 && memcmp(bytes, ".\r\n", 3) == 0) {
        return 3;
    }
    const char *end = memmem(bytes, len, "\r\n.\r\n", 5);
    return end == NULL ? 0 : (uint32_t)(end - bytes) + 5;
}

bool model_has_all(const struct model_conn *conn)
{
    return conn->in_chunk ? conn->len >= conn->chunk_len : find_end(conn->bytes, conn->len) > 0;
}

/* A message with its end-of-data. */
static void on_message(struct model *model, struct model_conn *conn, const char *bytes,
                       uint32_t end)
{
    model->last_len = end - 3;
    memcpy(model->last, bytes, model->last_len);
    const char *answer = ask(model, conn, STAGE_EOM, model->last, end);
    if (answer[0] == '2' && answer != MODEL_SILENT) {
        model->messages++;
    }
    take_effect(model, conn, STAGE_EOM, answer);
    conn->is_failed = conn->in_chunk && answer[0] != '2';
    conn->has_mail = conn->is_failed;
    conn->in_data = false;
    conn->in_chunk = false;
    (void)say(model, conn, answer);
}

/* The octets of a BDAT as DATA would have brought them. Returns the length. */
static uint32_t stuff(const char *octets, uint32_t len, char *out)
{
    uint32_t out_len = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (octets[i] == '.' && (i == 0 || octets[i - 1] == '\n')) {
            out[out_len++] = '.';
        }
        out[out_len++] = octets[i];
    }
    memcpy(out + out_len, ".\r\n", 3);
    return out_len + 3;
}

uint32_t model_canonical(const char *bytes, uint32_t len, char *out)
{
    uint32_t out_len = 0;
    for (uint32_t i = 0; i < len; i++) {
        bool is_stuffed = bytes[i] == '.' && (i == 0 || bytes[i - 1] == '\n');
        if (!is_stuffed || (i + 1 < len && bytes[i + 1] == '.')) {
            out[out_len++] = bytes[i];
        }
    }
    return out_len;
}

static void on_chunk(struct model *model, struct model_conn *conn)
{
    static char message[2 * MODEL_MESSAGE_MAX];
    uint32_t len = conn->chunk_len;
    if (len > 0 && (len < 2 || memcmp(conn->bytes + len - 2, "\r\n", 2) != 0)) {
        violate(model, "the octets of a BDAT do not end in CRLF");
    }
    uint32_t end = stuff(conn->bytes, len, message);
    assert(end <= MODEL_MESSAGE_MAX);
    model->chunks++;
    on_message(model, conn, message, end);
}

/* "BDAT n LAST": its answer comes behind the octets. */
static void on_bdat(struct model *model, struct model_conn *conn, const char *line, uint32_t len)
{
    char *behind;
    conn->chunk_len = (uint32_t)strtoul(line + 5, &behind, 10);
    if (behind + 7 != line + len || memcmp(behind, " LAST\r\n", 7) != 0 ||
        conn->chunk_len > MODEL_MESSAGE_MAX / 2) {
        violate(model, "a strange BDAT");
    }
    if (conn->rcpts == 0 || conn->is_failed || !conn->offers_chunking) {
        violate(model, "BDAT without a recipient or where it is not offered");
    }
    model->begun++;
    conn->in_chunk = true;
    conn->body_told = false;
}

static void drop_front(struct model_conn *conn, uint32_t len)
{
    conn->len -= len;
    memmove(conn->bytes, conn->bytes + len, conn->len);
}

/* A part of a message, or the last one. False when there is nothing to do with it. */
static bool digest_message(struct model *model, struct model_conn *conn)
{
    bool has_all = model_has_all(conn);
    if (!conn->body_told && !(conn->in_chunk && has_all)) {
        conn->body_told = true;
        const char *answer = ask(model, conn, STAGE_BODY, conn->bytes, conn->len);
        return say(model, conn, answer);
    }
    if (has_bare(conn->bytes, conn->len)) {
        violate(model, "bare CR, bare LF or NUL in a message");
    }
    if (!has_all) {
        return false;
    }
    uint32_t end = conn->in_chunk ? conn->chunk_len : find_end(conn->bytes, conn->len);
    if (conn->len > end) {
        violate(model, "bytes behind a message");
    }
    if (conn->in_chunk) {
        on_chunk(model, conn);
    } else {
        on_message(model, conn, conn->bytes, end);
    }
    if (conn->fd >= 0) {
        drop_front(conn, end);
    }
    return true;
}

/* Works on one command or message of what has been received. False when it is incomplete. */
static bool digest(struct model *model, struct model_conn *conn)
{
    bool is_empty = conn->len == 0 && !(conn->in_chunk && conn->chunk_len == 0);
    if (is_empty || conn->fd < 0 || conn->is_silent) {
        return false;
    }
    if (conn->in_data || conn->in_chunk) {
        return digest_message(model, conn);
    }
    const char *lf = memchr(conn->bytes, '\n', conn->len);
    if (lf == NULL) {
        return false;
    }
    uint32_t len = (uint32_t)(lf - conn->bytes) + 1;
    if (len > 5 && memcmp(conn->bytes, "BDAT ", 5) == 0) {
        on_bdat(model, conn, conn->bytes, len);
    } else {
        on_line(model, conn, conn->bytes, len);
    }
    if (conn->fd >= 0) {
        drop_front(conn, len);
    }
    return true;
}

static bool conn_act(struct model *model, struct model_conn *conn)
{
    struct sim *sim = model->weir->sim;
    if (!conn->greeted) {
        conn->greeted = true;
        (void)say(model, conn, ask(model, conn, STAGE_CONNECT, "", 0));
        return true;
    }
    if (conn->is_deaf) {
        return false;
    }
    int64_t got = sim_read(sim, conn->fd, conn->bytes + conn->len, MODEL_MESSAGE_MAX - conn->len);
    if (got == 0 || (got < 0 && sim_at_end(sim, conn->fd))) {
        conn_close(model, conn);
        return true;
    }
    if (got > 0) {
        conn->len += (uint32_t)got;
    }
    bool acted = got > 0;
    while (digest(model, conn)) {
        acted = true;
    }
    return acted;
}

static bool drip(struct model *model, struct model_conn *conn)
{
    uint32_t len = conn->queued < model->drip ? conn->queued : model->drip;
    if (len == 0) {
        return false;
    }
    (void)sim_write(model->weir->sim, conn->fd, conn->queue, len); /* the other side may be gone */
    conn->queued -= len;
    memmove(conn->queue, conn->queue + len, conn->queued);
    return true;
}

bool model_act(struct model *model)
{
    bool acted = false;
    int fd;
    for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
        struct model_conn *conn = &model->conns[i];
        if (conn->fd < 0 && (fd = sim_accept(model->weir->sim, model->listener)) >= 0) {
            memset(conn, 0, offsetof(struct model_conn, queue));
            conn->fd = fd;
            conn->number = ++model->connections;
        }
        if (conn->fd >= 0) {
            acted |= conn_act(model, conn);
        }
        if (conn->fd >= 0 && model->drip > 0) {
            acted |= drip(model, conn);
        }
    }
    return acted;
}

bool model_settle(struct model *model, uint32_t turns_max)
{
    for (uint32_t turn = 0; turn < turns_max; turn++) {
        bool moved = weir_turn(model->weir);
        if (!model_act(model) && !moved) {
            return true;
        }
    }
    return false;
}

void model_hang_up(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_CONNS_MAX; i++) {
        if (model->conns[i].fd >= 0) {
            conn_close(model, &model->conns[i]);
        }
    }
}
