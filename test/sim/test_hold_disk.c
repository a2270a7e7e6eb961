/*
 * test_hold_disk - a message that is held while the disk is slower than its client, or says at the very
 * last write that it is full.
 */
#include "core/message.h"
#include "test/sim/dialogue.h"

enum { LONG = 100000, MESSAGE_MAX = 1 << 17, BLOCK = MESSAGE_BLOCK_SIZE };

static struct dialogue world; /* 10 MB, used by one test after the other */
static char message[MESSAGE_MAX];

/* No fields of ours on top. */
static void open_plain(const struct weir_options *options)
{
    struct weir_options plain = *options;
    plain.no_received = true;
    open_world_with(&world, &plain);
    struct config *config = &world.weir->config;
    config->trace_header[0] = '\0';
    config->verify.spf.action = ACTION_OFF;
    config->verify.dkim.action = ACTION_OFF;
    config->verify.dmarc.action = ACTION_OFF;
    config->verify.dnsbl.action = ACTION_OFF;
}

/* As much as there is room for, and then what comes of it. */
static void send_all(const char *bytes, uint32_t len)
{
    while (len > 0) {
        uint32_t room = sim_room(world.weir->sim, world.client.fd);
        uint32_t part = room < len ? room : len;
        assert_true(part == 0 || client_send(&world.client, bytes, part));
        client_settle(&world.client);
        bytes += part;
        len -= part;
    }
}

static void expect_arrived(uint32_t len)
{
    assert_int_equal(world.model.last_len, len);
    assert_memory_equal(world.model.last, message, len);
}

/* `len` octets and the end-of-data: a header, then lines of 50. */
static void make_message(uint32_t len)
{
    static const char header[] = "Subject: x\r\n\r\n";
    memcpy(message, header, sizeof(header) - 1);
    for (uint32_t i = sizeof(header) - 1; i < len; i++) {
        message[i] = i % 50 == 48 ? '\r' : i % 50 == 49 ? '\n' : (char)('a' + i % 23);
    }
    message[len - 3] = 'x';
    message[len - 4] = message[len - 4] == '\r' ? 'x' : message[len - 4];
    memcpy(message + len - 2, "\r\n.\r\n", 5);
}

/* As few octets in a line as there can be, the CR of each at an odd or at an even place. */
static void make_line_ends(uint32_t len, uint32_t first)
{
    static const char header[] = "Subject: x\r\n\r\n";
    uint32_t at = sizeof(header) - 1;
    memcpy(message, header, at);
    for (; at < sizeof(header) - 1 + first; at++) {
        message[at] = 'x';
    }
    for (; at + 2 <= len; at += 2) {
        memcpy(message + at, "\r\n", 2);
    }
    memcpy(message + at, ".\r\n", 3);
}

/* ---- the disk ---- */

/* The last octet that there was room for is a CR, which the scanner keeps back; with the next piece both
 * have to be stored. */
static void test_disk_slower_than_the_client(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint32_t len = LONG + (uint32_t)seed % 2;
        open_plain(&(struct weir_options){
            .sim = {.seed = seed, .short_write = 900, .delay = 900},
            .extensions = EXT_PIPELINING,
            .verify = VERIFY_HOLD,
            .hold_memory = 1,
        });
        say_hello(&world, &world.client);
        make_line_ends(len, 2 + (uint32_t)seed % 2);
        say_envelope(&world.client);
        send_all(message, len + 3);
        expect_reply(&world.client, "250 2.0.0 taken\r\n");
        expect_arrived(len);
        close_world(&world);
    }
}

static void test_full_disk_shows_before_anything_is_forwarded(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        open_plain(&(struct weir_options){
            .sim = {.seed = seed, .delay = (uint32_t)seed % 4 * 300},
            .extensions = EXT_PIPELINING,
            .pool_idle = 1,
            .verify = VERIFY_HOLD,
            .hold_memory = BLOCK,
        });
        if (seed % 2 == 0) {
            world.model.ehlo = "250-up.example\r\n250-CHUNKING\r\n250 PIPELINING\r\n";
        }
        say_hello(&world, &world.client);
        make_message(60000);
        say_envelope(&world.client);
        sim_set_files(world.weir->sim, &(struct sim_files){.space_max = 60000 - 15});
        send_all(message, 60000 + 3);
        expect_reply(&world.client, "452 4.3.1 insufficient system storage\r\n");
        assert_int_equal(world.model.begun, 0);
        assert_int_equal(world.datas, 0);
        assert_int_equal(sim_file_bytes(world.weir->sim), 0);
        sim_set_files(world.weir->sim, &(struct sim_files){0});
        say_envelope(&world.client);
        send_all(message, 60000 + 3);
        expect_reply(&world.client, "250 2.0.0 taken\r\n");
        expect_arrived(60000);
        assert_int_equal(world.model.connections, 1); /* the one that was not needed before */
        close_world(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_slower_than_the_client),
        cmocka_unit_test(test_full_disk_shows_before_anything_is_forwarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
