/*
 * fuzz_body - a message as it comes from the network: in one piece and cut, both against the
 * reference. The first byte is the seed of the cuts, the second the longest piece.
 */
#include "core/smtp_body.h"
#include "test/body_reference.h"

#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct smtp_body body;
    char out[BODY_REFERENCE_MAX];
    size_t out_len;
    size_t taken;
    bool end;
};

static void put(struct outcome *outcome, const char *bytes, size_t len)
{
    assert(outcome->out_len + len <= sizeof(outcome->out));
    memcpy(outcome->out + outcome->out_len, bytes, len);
    outcome->out_len += len;
}

/* Each piece is copied to a block of its own length, so that a read outside is seen. */
static void feed(struct outcome *outcome, const char *piece, size_t len)
{
    char *copy = malloc(len + (len == 0));
    struct smtp_body_step step;
    assert(copy != NULL);
    memcpy(copy, piece, len);
    smtp_body_scan(&outcome->body, copy, (uint32_t)len, &step);
    assert(step.held.len <= 1 && step.clean <= step.taken && step.taken <= len);
    assert(step.end || step.taken == len);
    put(outcome, step.held.at, step.held.len);
    put(outcome, copy, step.clean);
    outcome->taken += step.taken;
    outcome->end = step.end;
    free(copy);
}

static void run(struct outcome *outcome, const char *stream, size_t len, uint32_t seed,
                size_t piece_max)
{
    smtp_body_init(&outcome->body);
    outcome->out_len = 0;
    outcome->taken = 0;
    outcome->end = false;
    for (size_t at = 0, piece; at < len && !outcome->end; at += piece) {
        seed = seed * 1664525u + 1013904223u;
        piece = 1 + (seed >> 16) % piece_max;
        piece = piece < len - at ? piece : len - at;
        feed(outcome, stream + at, piece);
    }
}

static void check(const struct outcome *outcome, const char *stream,
                  const struct body_reference *expected)
{
    assert(outcome->end == expected->end);
    assert(outcome->taken == expected->taken);
    assert(outcome->body.fault == expected->fault);
    assert(outcome->out_len == expected->clean);
    assert(outcome->body.size == expected->size);
    assert(memcmp(outcome->out, stream, outcome->out_len) == 0);
    assert(bytes_are_safe(outcome->out, outcome->out_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole;
    static struct outcome cut;
    if (size < 2 || size - 2 > BODY_REFERENCE_MAX) {
        return 0;
    }
    const char *stream = (const char *)data + 2;
    size_t len = size - 2;
    struct body_reference expected = body_reference(stream, len);
    run(&whole, stream, len, 0, 1);
    check(&whole, stream, &expected);
    run(&cut, stream, len, data[0], 1 + (size_t)data[1]);
    check(&cut, stream, &expected);
    assert(whole.body.hops == cut.body.hops);
    assert(whole.body.in_header == cut.body.in_header);
    smtp_body_init(&whole.body);
    whole.out_len = 0;
    whole.taken = 0;
    feed(&whole, stream, len);
    check(&whole, stream, &expected);
    assert(whole.body.hops == cut.body.hops);
    return 0;
}
