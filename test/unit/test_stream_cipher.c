/*
 * test_stream_cipher - a stream's bytes through a cipher, on all three backends: handshake, records
 * that are cut anywhere, what the cipher says by itself, the end of both directions.
 *
 * Stops in every state and a pool that is empty are in test_stream_stop.c.
 */
#include "test/unit/stream_rig.h"

static uint32_t draw(uint64_t *random, uint32_t below)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*random >> 33) % below;
}

/* ---- handshake ---- */

static void both_roles_shake_hands_and_talk(struct world *world)
{
    const struct toy_step *const roles[] = {as_server, as_client};
    for (int i = 0; i < 2; i++) {
        rig_open_secured(world, roles[i]);
        rig.reads = true;
        assert_int_equal(rig_read(), 0);
        far_put(TOY_DATA, 1000);
        rig_send(5000);
        rig_run(STEP_WHOLE, false);
        assert_int_equal(rig.got, 1000);
        assert_int_equal(rig.far_got, 5000);
        assert_int_equal(rig.counts[STREAM_SENT], 1);
        rig_stop(STOP_DRAIN);
        rig_run(0, false);
        assert_int_equal(rig.closes, 1);
        rig_close();
    }
}

/* The last flight of ours is what the owner waits for; its result is 0, not a number of bytes. */
static void secured_says_0_when_the_last_flight_is_out(struct world *world)
{
    rig_open(world);
    rig_secure(as_client);
    assert_true(stream_is_shaking(&rig.stream));
    far_put_flights(as_client);
    rig_run(7, false);
    assert_int_equal(rig.counts[STREAM_SECURED], 1);
    assert_int_equal(rig.results[STREAM_SECURED], 0);
    rig_close();
}

static void data_behind_the_handshake_is_not_lost(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        rig_open(world);
        const struct toy_step *steps = i == 0 ? as_server : as_client;
        rig_secure(steps);
        far_put_flights(steps);
        far_put(TOY_DATA, 500);
        far_put(TOY_CLOSE, 0);
        rig_run(STEP_WHOLE, false);
        assert_int_equal(rig.results[STREAM_SECURED], 0);
        assert_int_equal(rig.got, 500);
        rig.reads = true;
        assert_int_equal(rig_read(), 0);
        rig_run(0, false);
        assert_int_equal(rig.got, 500);
        assert_int_equal(rig.counts[STREAM_ENDED], 1);
        assert_int_equal(rig.results[STREAM_ENDED], 0);
        rig_close();
    }
}

/* As session tickets are, which some servers send in one piece with their last flight. */
static void words_of_the_cipher_behind_the_handshake_are_no_data(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        rig_open(world);
        const struct toy_step *steps = i == 0 ? as_server : as_client;
        rig_secure(steps);
        far_put_flights(steps);
        far_put(TOY_UPDATE, 0);
        far_put(TOY_UPDATE, 0);
        rig_run(STEP_WHOLE, false);
        assert_int_equal(rig.results[STREAM_SECURED], 0);
        assert_int_equal(stream_len(&rig.stream), 0);
        assert_int_equal(rig.answers, 2);
        rig.reads = true;
        assert_int_equal(rig_read(), 0);
        far_put(TOY_DATA, 9);
        rig_run(STEP_WHOLE, false);
        assert_int_equal(rig.got, 9);
        assert_int_equal(rig.counts[STREAM_SENT], 0);
        rig_close();
    }
}

/* One more of them than there is room to answer at once: the last answer goes out as well. */
static void answers_behind_the_handshake_all_go_out(struct world *world)
{
    enum { UPDATES = CIPHER_OUT_MIN / TOY_HEADER + 1 };
    rig_open(world);
    rig_secure(as_server);
    far_put_flights(as_server);
    for (int i = 0; i < UPDATES; i++) {
        far_put(TOY_UPDATE, 0);
    }
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.results[STREAM_SECURED], 0);
    assert_int_equal(rig_read(), 0);
    rig_run(0, false);
    assert_int_equal(rig.answers, UPDATES);
    assert_int_equal(rig.counts[STREAM_SENT], 0);
    rig_close();
}

/* What is in the window when the cipher comes in goes through it. */
static void window_goes_through_the_cipher(struct world *world)
{
    rig_open(world);
    rig.keep = 1 << 20;
    assert_int_equal(rig_read(), 0);
    far_put_flights(as_server);
    rig_run(STEP_WHOLE, false);
    assert_true(stream_len(&rig.stream) > 0);
    rig.keep = 0;
    rig_secure(as_server);
    rig_run(0, false);
    assert_int_equal(rig.counts[STREAM_SECURED], 1);
    assert_int_equal(rig.results[STREAM_SECURED], 0);
    rig_close();
}

static void flight_larger_than_a_chunk_goes_out_in_parts(struct world *world)
{
    static const struct toy_step steps[] = {{false, 30},   {true, 16000}, {true, 16000},
                                            {true, 16000}, {false, 10},   {false, 0}};
    rig_open_secured(world, steps);
    rig_close();
}

static void failed_handshake_says_why(struct world *world)
{
    rig_open(world);
    rig_secure(as_server);
    far_put(TOY_HANDSHAKE, 41); /* not what is due */
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.counts[STREAM_SECURED], 1);
    assert_int_equal(rig.results[STREAM_SECURED], TOY_ERROR);
    rig_stop(STOP_LINGER);
    rig_run(0, false);
    assert_int_equal(rig.alerts, 1);
    assert_int_equal(rig.closes, 0);
    rig_close();
}

static void peer_that_goes_during_the_handshake(struct world *world)
{
    for (uint32_t cut = 0; cut < 68; cut += 23) {
        for (int how = 0; how < 2; how++) {
            rig_open(world);
            rig_secure(as_server);
            far_put_flights(as_server);
            rig.far_out_len = cut;
            rig_run(STEP_WHOLE, false);
            assert_int_equal(rig.counts[STREAM_SECURED], 0);
            if (how == 0) {
                far_eof(world, rig.far);
            } else {
                far_reset(world, rig.far);
                rig.far = -1;
            }
            rig_run(0, false);
            assert_int_equal(rig.counts[STREAM_SECURED], 1);
            assert_int_equal(rig.results[STREAM_SECURED], how == 0 ? -ECONNABORTED : -ECONNRESET);
            rig_close();
        }
    }
}

static void endless_first_flight_is_refused(struct world *world)
{
    static const struct toy_step steps[] = {{false, 16384}, {false, 0}};
    rig_open(world);
    rig_secure(steps);
    far_put(TOY_HANDSHAKE, 16384);
    rig.far_out_len -= 1;
    rig_run(1000, false);
    assert_int_equal(rig.results[STREAM_SECURED], -EMSGSIZE);
    rig_close();
}

/* ---- records, cut anywhere ---- */

/* Everything a peer may send, once; 0 bytes of it are left in the end. */
static void put_exchange(void)
{
    far_put_flights(as_server);
    far_put(TOY_DATA, 3);
    far_put(TOY_DATA, 0);
    far_put(TOY_UPDATE, 0);
    far_put(TOY_DATA, 40);
    far_put(TOY_UPDATE, 0);
    far_put(TOY_UPDATE, 0);
    far_put(TOY_DATA, 1);
    far_put(TOY_CLOSE, 0);
}

static void check_exchange(void)
{
    assert_int_equal(rig.counts[STREAM_SECURED], 1);
    assert_int_equal(rig.got, 44);
    assert_int_equal(rig.answers, 3);
    assert_int_equal(rig.counts[STREAM_SENT], 0);
    assert_int_equal(rig.counts[STREAM_ENDED], 1);
    assert_int_equal(rig.results[STREAM_ENDED], 0);
    assert_int_equal(rig.asked_read, 0);
    assert_int_equal(stream_read(&rig.stream, RECV_LATER), -EPIPE);
}

static void begin_exchange(struct world *world)
{
    rig_open(world);
    rig_secure(as_server);
    put_exchange();
}

static void end_exchange(uint32_t step)
{
    rig_run(step, false);
    rig.reads = true;
    assert_int_equal(rig_read(), 0);
    rig_run(step, false);
    check_exchange();
    rig_stop(STOP_DRAIN);
    rig_run(0, false);
    assert_int_equal(rig.closes, 1);
    rig_close();
}

static void exchange_cut_at_every_byte(struct world *world)
{
    begin_exchange(world);
    uint32_t len = rig.far_out_len;
    rig_close();
    for (uint32_t first = 1; first < len; first++) {
        uint64_t cuts[2] = {first, first + 1 + first % 5};
        begin_exchange(world);
        sim_set_cuts(world->sim, rig.stream.fd, cuts, 2);
        sim_set_write_max(world->sim, rig.stream.fd, 1 + first % 3);
        end_exchange(STEP_WHOLE);
    }
}

static void exchange_in_small_steps(struct world *world)
{
    for (uint32_t step = 1; step < 9; step += 3) {
        begin_exchange(world);
        end_exchange(step);
    }
}

/* Large and small records in both directions, with bytes left unread all the time. */
static void long_streams_in_random_pieces(struct world *world)
{
    uint64_t random = SEED;
    for (int round = 0; round < 6; round++) {
        rig_open_secured(world, round % 2 == 0 ? as_server : as_client);
        uint32_t before = rig.far_out_len;
        rig.toy.record_max = 1 + draw(&random, TOY_RECORD_MAX);
        for (int i = 0; i < 30; i++) {
            far_put(TOY_DATA, draw(&random, 3) == 0 ? TOY_RECORD_MAX : draw(&random, 900));
            if (draw(&random, 3) == 0) {
                far_put(TOY_UPDATE, 0);
            }
        }
        assert_true(rig.far_out_len > before);
        rig.reads = true;
        rig.keep = draw(&random, STREAM_UNREAD_MAX);
        assert_int_equal(rig_read(), 0);
        for (int i = 0; i < 12; i++) {
            for (int wait = 0; stream_room(&rig.stream) == 0; wait++) {
                assert_true(wait < 100);
                rig_run(1 + draw(&random, 9000), false);
            }
            rig_send(1 + draw(&random, STREAM_CHUNK_SIZE - 1));
            rig_run(1 + draw(&random, 20000), draw(&random, 2) == 0);
        }
        rig_run(STEP_WHOLE, false);
        assert_int_equal(rig.got + stream_len(&rig.stream), rig.far_put);
        assert_int_equal(rig.far_got, rig.put);
        assert_int_equal(rig.asked_send, 0);
        assert_int_equal(rig.asked_read, 1);
        rig_close();
    }
}

/*
 * A record that was begun in earlier receives becomes more plaintext than fits, together with what is
 * unread. The rest is in the cipher, or, with one more record behind it, in the buffer as well: then
 * the window is a chunk of the stream's own and cannot be taken. The next read needs no receive.
 */
static void fill_window(bool more_behind)
{
    rig.keep = STREAM_UNREAD_MAX;
    far_put(TOY_DATA, STREAM_UNREAD_MAX);
    assert_int_equal(rig_read(), 0);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(stream_len(&rig.stream), STREAM_UNREAD_MAX);
    far_put(TOY_DATA, 15000); /* all but its last byte first */
    uint32_t whole = rig.far_out_len;
    rig.far_out_len--;
    assert_int_equal(rig_read(), 0);
    rig_run(STEP_WHOLE, false);
    rig.far_out_len = whole;
    far_put(TOY_DATA, 1500);
    if (more_behind) {
        far_put(TOY_DATA, 5000);
    }
    rig.keep = 1 << 20;
    rig_run(STEP_WHOLE, false);
    assert_int_equal(stream_len(&rig.stream), STREAM_CHUNK_SIZE);
}

static void window_is_the_carry_when_more_is_left(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        rig_open_secured(world, as_server);
        fill_window(i == 1);
        assert_int_equal(rig.stream.in == NULL, i == 1);
        uint64_t recvs = loop_stats(world->loop)->recvs;
        if (i == 1) {
            assert_null(stream_take(&rig.stream));
        }
        rig.keep = 100;
        rig_take();
        rig.keep = 0;
        assert_int_equal(rig_read(), 0);
        rig_run(0, false);
        assert_int_equal(loop_stats(world->loop)->recvs, recvs);
        assert_int_equal(rig.got, rig.far_put);
        rig_close();
    }
}

static void taken_buffer_holds_plaintext(struct world *world)
{
    rig_open_secured(world, as_server);
    rig.keep = 1 << 20;
    far_put(TOY_DATA, 2000);
    assert_int_equal(rig_read(), 0);
    rig_run(STEP_WHOLE, false);
    struct buf *buf = stream_take(&rig.stream);
    assert_non_null(buf);
    assert_int_equal(buf_len(buf), 2000);
    assert_int_equal(stream_len(&rig.stream), 0);
    rig.put += buf_len(buf);
    rig.asked_send++;
    stream_send_buf(&rig.stream, buf);
    rig_run(0, false);
    assert_int_equal(rig.far_got, 2000);
    rig_close();
}

/* ---- the end ---- */

static void end_comes_behind_the_plaintext(struct world *world)
{
    static const struct {
        enum toy_type last;
        bool eof;
        uint32_t cut; /* bytes of the last record that never come */
        int result;
        uint32_t alerts;
    } rows[] = {
        {TOY_CLOSE, false, 0, 0, 0},
        {TOY_CLOSE, true, 0, 0, 0},
        {TOY_CLOSE, true, 1, -ECONNABORTED, 0},
        {TOY_UPDATE, true, 0, -ECONNABORTED, 0},
        {TOY_DATA, true, 3, -ECONNABORTED, 0},
        {TOY_ALERT, false, 0, TOY_ERROR, 1},
        {TOY_HANDSHAKE, true, 0, TOY_ERROR, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rig_open_secured(world, as_server);
        rig.keep = 1 << 20;
        far_put(TOY_DATA, 700);
        far_put(rows[i].last, rows[i].last == TOY_DATA ? 50 : 0);
        rig.far_out_len -= rows[i].cut;
        assert_int_equal(rig_read(), 0);
        rig_run(STEP_WHOLE, false);
        if (rows[i].eof) {
            far_eof(world, rig.far);
        }
        assert_int_equal(rig.counts[STREAM_RECEIVED], 1);
        assert_int_equal(rig.counts[STREAM_ENDED], 0);
        assert_int_equal(rig_read(), 0);
        rig_run(0, false);
        assert_int_equal(rig.counts[STREAM_RECEIVED], 1);
        assert_int_equal(rig.counts[STREAM_ENDED], 1);
        assert_int_equal(rig.results[STREAM_ENDED], rows[i].result);
        assert_int_equal(rig.alerts, rows[i].alerts);
        assert_int_equal(stream_len(&rig.stream), 700); /* stays readable */
        assert_int_equal(rig.counts[STREAM_SENT], 0);
        assert_int_equal(stream_read(&rig.stream, RECV_LATER), -EPIPE);
        rig.keep = 0;
        rig_take();
        rig_close();
    }
}

static void failing_encryption_is_told(struct world *world)
{
    rig_open_secured(world, as_server);
    rig.toy.encrypt_error = -EIO;
    rig_send(10);
    rig_run(0, false);
    assert_int_equal(rig.counts[STREAM_SENT], 1);
    assert_int_equal(rig.results[STREAM_SENT], -EIO);
    assert_int_equal(rig.far_got, 0);
    rig_close();
}

/* ---- what the cipher says by itself ---- */

static void updates_in_a_row_are_answered_and_not_told(struct world *world)
{
    rig_open_secured(world, as_server);
    rig.reads = true;
    assert_int_equal(rig_read(), 0);
    for (int i = 0; i < 3000; i++) {
        far_put(TOY_UPDATE, 0);
    }
    far_put(TOY_DATA, 9);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.answers, 3000);
    assert_int_equal(rig.got, 9);
    assert_int_equal(rig.chunks.used, 0); /* an idle stream owns no memory but itself */
    assert_int_equal(rig.counts[STREAM_SENT], 0);
    assert_int_equal(rig.counts[STREAM_RECEIVED], 1);
    rig_close();
}

/* Decrypting waits for a send of the owner's: both go on when it is out, and he hears of it. */
static void send_is_told_while_decrypting_awaits_it(struct world *world)
{
    rig_open_secured(world, as_server);
    world_shrink(world, rig.stream.fd, rig.far);
    rig.reads = true;
    assert_int_equal(rig_read(), 0);
    int sends = 0;
    while (!stream_is_sending(&rig.stream) && sends < 400) {
        rig_send(STREAM_CHUNK_SIZE);
        sends++;
        rig_run(0, true);
    }
    assert_true(stream_is_sending(&rig.stream));
    far_put(TOY_UPDATE, 0);
    rig_run(STEP_WHOLE, true);
    assert_true(rig.stream.awaits_flush);
    assert_true(stream_is_reading(&rig.stream));
    assert_int_equal(rig.counts[STREAM_SENT], sends - 1);
    rig_run(0, false);
    assert_int_equal(rig.counts[STREAM_SENT], sends);
    assert_int_equal(rig.answers, 1);
    far_put(TOY_DATA, 20);
    rig_run(STEP_WHOLE, false);
    assert_int_equal(rig.got, 20);
    assert_int_equal(rig.far_got, rig.put);
    rig_close();
}

/* The peer does not take the cipher's answer: the owner has sent nothing, may gather and flush. */
static void answer_in_flight_is_no_send_of_the_owner(struct world *world)
{
    rig_open_secured(world, as_server);
    sim_set_queue(world->sim, rig.far, 8);
    rig.reads = true;
    assert_int_equal(rig_read(), 0);
    for (int i = 0; i < 3; i++) {
        far_put(TOY_UPDATE, 0);
    }
    rig_run(STEP_WHOLE, true);
    assert_false(op_is_idle(&rig.stream.tx));
    assert_false(stream_is_sending(&rig.stream));
    assert_false(stream_has_unsent(&rig.stream));
    assert_false(stream_is_drained(&rig.stream));
    assert_int_equal(stream_room(&rig.stream), STREAM_CHUNK_SIZE);
    assert_int_equal(rig_gather(50), 0);
    assert_true(stream_has_unsent(&rig.stream));
    rig_run(0, false); /* the answer is out, and what is only gathered is not */
    assert_int_equal(rig.answers, 3);
    assert_int_equal(rig.far_got, 0);
    assert_int_equal(rig.counts[STREAM_SENT], 0);
    far_put(TOY_UPDATE, 0);
    far_put(TOY_UPDATE, 0);
    far_put(TOY_UPDATE, 0);
    rig_run(STEP_WHOLE, true);
    assert_false(op_is_idle(&rig.stream.tx));
    rig_flush();
    assert_true(stream_is_sending(&rig.stream));
    rig_run(0, false);
    assert_int_equal(rig.counts[STREAM_SENT], 1);
    assert_int_equal(rig.far_got, 50);
    assert_int_equal(rig.answers, 6);
    rig_close();
}

int main(int argc, char **argv)
{
    static const struct clause clauses[] = {
        CLAUSE(both_roles_shake_hands_and_talk),
        CLAUSE(secured_says_0_when_the_last_flight_is_out),
        CLAUSE(data_behind_the_handshake_is_not_lost),
        CLAUSE(words_of_the_cipher_behind_the_handshake_are_no_data),
        CLAUSE(answers_behind_the_handshake_all_go_out),
        CLAUSE(window_goes_through_the_cipher),
        CLAUSE(flight_larger_than_a_chunk_goes_out_in_parts),
        CLAUSE(failed_handshake_says_why),
        CLAUSE(peer_that_goes_during_the_handshake),
        CLAUSE(endless_first_flight_is_refused),
        CLAUSE(exchange_cut_at_every_byte, .skip = ON_URING | ON_EPOLL,
               .reason = "a kernel cuts where it likes"),
        CLAUSE(exchange_in_small_steps),
        CLAUSE(long_streams_in_random_pieces),
        CLAUSE(window_is_the_carry_when_more_is_left),
        CLAUSE(taken_buffer_holds_plaintext),
        CLAUSE(end_comes_behind_the_plaintext),
        CLAUSE(failing_encryption_is_told),
        CLAUSE(updates_in_a_row_are_answered_and_not_told),
        CLAUSE(send_is_told_while_decrypting_awaits_it),
        CLAUSE(answer_in_flight_is_no_send_of_the_owner, .skip = ON_URING | ON_EPOLL,
               .reason = "a kernel's queue cannot be made that small"),
    };
    return clauses_run("stream_cipher", clauses, sizeof(clauses) / sizeof(clauses[0]), argc, argv);
}
