/*
 * test_smuggling - checklist, section 1: every string up to eight bytes over {CR, LF, ".", NUL}, in
 * every place of a message, cut at every byte, through the real session code. 0 split, 0 passed.
 *
 * What must come of it is worked out by a reference of ten lines, from the definition alone: the
 * message ends at the first CRLF "." CRLF of CRLF + stream; it is bad when a bare CR, a bare LF or
 * a NUL stands before that. A bad one gets exactly one 550 5.5.2 and the upstream no message; a
 * good one arrives as it was sent. What stands behind the true end is the client's next commands,
 * and none of them may be taken for a message.
 *
 * Strings up to CUTS_LEN are cut behind every byte of the whole message, longer ones behind every
 * byte of the string and on its edges; all of them arrive in one piece and byte by byte as well.
 * All of it with DATA and with BDAT, where a stuffed dot that no dot follows cannot be seen any more;
 * of the longest strings each case goes one way.
 * In `hold` the upstream hears of a bad one not even its beginning.
 * SIM_SMUGGLE_LEN (default 8, the full proof) bounds the length.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/session.h"
#include "test/model_upstream.h"

enum { LEN_MAX = 8, CUTS_LEN = 5, BOTH_LEN = 7, STREAM_MAX = 128, TURNS_MAX = 2000 };

static const char ALPHABET[] = {'\r', '\n', '.', '\0'};

struct place {
    const char *name;
    const char *before;
    const char *behind;
};

static const struct place PLACES[] = {
    {"directly behind our fields", "", "x\r\n\r\nbody\r\n.\r\n"},
    {"header", "A: b\r\nC: d", "e: f\r\n\r\nbody\r\n.\r\n"},
    {"first body line", "A: b\r\n\r\n", "body\r\n.\r\n"},
    {"mid-body", "A: b\r\n\r\nab", "cd\r\n.\r\n"},
};

struct run {
    struct weir *weir;
    struct model model;
    int client;
    uint64_t cuts[STREAM_MAX + 64];
    uint64_t sent; /* bytes of the client so far: cut positions count from the first */
    uint64_t cases;
    uint64_t bad;
    uint64_t good;
    uint64_t whole; /* in `stream`: went with BDAT */
};

/* ---- the reference ---- */

/* Offset behind the true end of the message in the stream; the caller's streams always have one. */
static uint32_t true_end(const char *stream, uint32_t len)
{
    for (uint32_t i = 3; i <= len; i++) {
        if (memcmp(stream + i - 3, ".\r\n", 3) == 0 &&
            (i == 3 || (i >= 5 && memcmp(stream + i - 5, "\r\n", 2) == 0))) {
            return i;
        }
    }
    return 0;
}

static bool is_bad(const char *stream, uint32_t end)
{
    for (uint32_t i = 0; i < end; i++) {
        bool lf_follows = i + 1 < end && stream[i + 1] == '\n';
        bool cr_precedes = i > 0 && stream[i - 1] == '\r';
        if (stream[i] == '\0' || (stream[i] == '\r' && !lf_follows) ||
            (stream[i] == '\n' && !cr_precedes)) {
            return true;
        }
    }
    return false;
}

/* ---- the run ---- */

static void settle(struct run *run)
{
    assert_true(model_settle(&run->model, TURNS_MAX));
}

static void send_bytes(struct run *run, const char *bytes, uint32_t len)
{
    assert_int_equal(sim_write(run->weir->sim, run->client, bytes, len), len);
    run->sent += len;
}

static void send_text(struct run *run, const char *text)
{
    send_bytes(run, text, (uint32_t)strlen(text));
}

/* All replies so far, with a NUL behind. */
static void read_replies(struct run *run, char *out, uint32_t size)
{
    int64_t got = sim_read(run->weir->sim, run->client, out, size - 1);
    out[got > 0 ? got : 0] = '\0';
}

static void open_client(struct run *run)
{
    char replies[1024];
    run->client = weir_dial(run->weir);
    run->sent = 0;
    send_text(run, "EHLO c.example\r\n");
    settle(run);
    read_replies(run, replies, sizeof(replies));
    assert_non_null(strstr(replies, "250 PIPELINING\r\n"));
}

/* The server's end of this client's connection reads in pieces cut behind `cut` bytes (0: byte by
 * byte). */
static void set_cut(struct run *run, uint32_t cut)
{
    int fd = weir_session(run->weir)->client.fd;
    sim_set_read_max(run->weir->sim, fd, cut == 0 ? 1 : 0);
    if (cut > 0) {
        run->cuts[0] = run->sent + cut;
        sim_set_cuts(run->weir->sim, fd, run->cuts, 1);
    }
}

static uint32_t count(const char *text, const char *what)
{
    uint32_t found = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

static bool is_chunking(const struct run *run)
{
    return run->weir->config.upstreams[0].chunking == CHUNKING_AUTO;
}

static void check_arrived(const struct run *run, const char *stream, uint32_t end)
{
    const struct model *model = &run->model;
    char expected[STREAM_MAX];
    uint32_t len = end - 3;
    memcpy(expected, stream, len);
    if (is_chunking(run) || weir_is_checking(run->weir)) {
        len = model_canonical(stream, len, expected);
    }
    assert_true(model->last_len >= len);
    assert_memory_equal(model->last + model->last_len - len, expected, len);
    const char *top = model->last;
    uint32_t top_len = model->last_len - len;
    assert_memory_equal(weir_behind_results(top), "Received: ", 10);
    assert_memory_equal(top + top_len - 2, "\r\n", 2);
}

/* Shows the case before the assertion that it breaks. */
static void explain(const char *stream, uint32_t len, uint32_t cut, const char *replies)
{
    print_error("cut behind byte %u of:", cut);
    for (uint32_t i = 0; i < len; i++) {
        print_error(stream[i] > ' ' ? " %c" : " %02x", stream[i]);
    }
    print_error("\nreplies:\n%s", replies);
}

static void run_case(struct run *run, const char *stream, uint32_t len, uint32_t cut)
{
    char replies[4096];
    uint32_t messages = run->model.messages;
    uint32_t chunks = run->model.chunks;
    uint32_t begun = run->model.begun;
    send_text(run, "MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n");
    settle(run);
    read_replies(run, replies, sizeof(replies));
    assert_non_null(strstr(replies, is_chunking(run) || weir_is_checking(run->weir)
                                        ? "354 end data"
                                        : "354 go on\r\n"));
    set_cut(run, cut);
    send_bytes(run, stream, len);
    send_text(run, "\r\nRSET\r\n");
    settle(run);
    read_replies(run, replies, sizeof(replies));
    uint32_t end = true_end(stream, len);
    bool bad = is_bad(stream, end);
    if (count(replies, "550 5.5.2") != (bad ? 1 : 0) ||
        run->model.messages - messages != (bad ? 0 : 1)) {
        explain(stream, len, cut, replies);
    }
    assert_string_equal(run->model.violations > 0 ? run->model.violation : "none", "none");
    assert_int_equal(count(replies, "550 5.5.2"), bad ? 1 : 0);
    assert_int_equal(count(replies, "250 2.0.0 taken"), bad ? 0 : 1);
    assert_int_equal(run->model.messages - messages, bad ? 0 : 1);
    assert_memory_equal(replies, bad ? "550" : "250", 3); /* the message's reply comes first */
    assert_non_null(strstr(replies, "250 2.0.0 ok\r\n")); /* and RSET is heard behind all of it */
    if (bad && weir_is_checking(run->weir) && !weir_is_streaming(run->weir)) {
        assert_int_equal(run->model.begun, begun);
    }
    uint32_t chunks_now = run->model.chunks - chunks;
    if (weir_is_streaming(run->weir)) { /* whole when it came in one piece, else as it came */
        assert_true(chunks_now <= (!bad && is_chunking(run) ? 1 : 0));
        run->whole += chunks_now;
    } else {
        assert_int_equal(chunks_now, !bad && is_chunking(run) ? 1 : 0);
    }
    if (!bad) {
        check_arrived(run, stream, end);
    }
    run->cases++;
    run->bad += bad;
    run->good += !bad;
}

/* With DATA and BDAT, or with one of them, by chance. */
static void run_ways(struct run *run, const char *stream, uint32_t len, uint32_t cut, bool both)
{
    enum config_chunking *chunking = &run->weir->config.upstreams[0].chunking;
    uint32_t mixed = (uint32_t)run->cases * 2654435761u;
    *chunking = mixed >> 31 ? CHUNKING_AUTO : CHUNKING_OFF;
    run_case(run, stream, len, cut);
    if (both) {
        *chunking = *chunking == CHUNKING_AUTO ? CHUNKING_OFF : CHUNKING_AUTO;
        run_case(run, stream, len, cut);
    }
}

static void run_string(struct run *run, const struct place *place, const char *string,
                       uint32_t string_len)
{
    char stream[STREAM_MAX];
    uint32_t before = (uint32_t)strlen(place->before);
    uint32_t behind = (uint32_t)strlen(place->behind);
    uint32_t len = before + string_len + behind;
    memcpy(stream, place->before, before);
    memcpy(stream + before, string, string_len);
    memcpy(stream + before + string_len, place->behind, behind);
    uint32_t first = string_len <= CUTS_LEN || before == 0 ? 1 : before;
    uint32_t last = string_len <= CUTS_LEN ? len : before + string_len + 1;
    bool both = string_len <= BOTH_LEN;
    run_ways(run, stream, len, 0, both); /* byte by byte */
    for (uint32_t cut = first; cut <= last; cut++) {
        run_ways(run, stream, len, cut, both); /* a cut behind the last byte is none */
    }
}

static void run_all(struct run *run, const struct place *place, uint32_t len_max)
{
    char string[LEN_MAX];
    for (uint32_t len = 0; len <= len_max; len++) {
        for (uint32_t number = 0; number < 1u << (2 * len); number++) {
            for (uint32_t i = 0; i < len; i++) {
                string[i] = ALPHABET[(number >> (2 * i)) & 3];
            }
            run_string(run, place, string, len);
        }
    }
}

static void test_place(void **state)
{
    const struct place *place = *state;
    const char *text = getenv("SIM_SMUGGLE_LEN");
    uint32_t len_max = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : LEN_MAX;
    struct run *run = calloc(1, sizeof(*run));
    run->weir = weir_create(&(struct weir_options){
        .extensions = EXT_PIPELINING | EXT_8BITMIME, .pool_idle = 4, .sim = {.seed = 1}});
    run->weir->config.commands = 1u << 30;
    run->weir->config.errors = 1u << 30;
    run->weir->config.session_timeout_ms = INT64_MAX / 4;
    model_init(&run->model, run->weir);
    run->model.ehlo = "250-up.example\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
    open_client(run);
    run_all(run, place, len_max > LEN_MAX ? LEN_MAX : len_max);
    print_message("%s: %llu cases up to length %u, %llu refused, %llu delivered whole, 0 split\n",
                  place->name, (unsigned long long)run->cases, len_max,
                  (unsigned long long)run->bad, (unsigned long long)run->good);
    if (weir_is_streaming(run->weir)) {
        assert_true(run->whole > run->good / 20 && run->whole < run->good / 2);
    }
    sim_close(run->weir->sim, run->client);
    settle(run);
    weir_destroy(&run->weir);
    free(run);
}

int main(void)
{
    struct CMUnitTest tests[sizeof(PLACES) / sizeof(PLACES[0])];
    for (size_t i = 0; i < sizeof(PLACES) / sizeof(PLACES[0]); i++) {
        tests[i] = (struct CMUnitTest){.name = PLACES[i].name,
                                       .test_func = test_place,
                                       .initial_state = (void *)(uintptr_t)&PLACES[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
