/*
 * sink - see bench/sink.h.
 */
#include "bench/sink.h"

#include <assert.h>

#include "bench/sink_session.h"

int sink_init(struct sink *sink, uint32_t session_count)
{
    list_init(&sink->live);
    list_init(&sink->gone);
    sink->random = 0x9e3779b97f4a7c15u;
    int result = pool_init(&sink->sessions, sizeof(struct sink_session), session_count);
    if (result < 0) {
        return result;
    }
    result = pool_init(&sink->chunks, STREAM_CHUNK_SIZE, 2 * session_count);
    if (result < 0) {
        pool_fini(&sink->sessions);
    }
    return result;
}

void sink_fini(struct sink *sink)
{
    assert(list_is_empty(&sink->live));
    assert(list_is_empty(&sink->gone));
    pool_fini(&sink->sessions);
    pool_fini(&sink->chunks);
}

bool sink_is_full(const struct sink *sink)
{
    return sink->sessions.used == sink->sessions.count_max;
}

void sink_turn_end(struct sink *sink)
{
    struct list_node *node;
    if (sink->journal != NULL) {
        sink_journal_commit(sink->journal);
    }
    while ((node = list_pop_front(&sink->gone)) != NULL) {
        sink_session_release(list_entry(node, struct sink_session, node));
    }
}

void sink_stop_sessions(struct sink *sink)
{
    struct list_node *node = sink->live.next;
    while (node != &sink->live) {
        struct sink_session *session = list_entry(node, struct sink_session, node);
        node = node->next; /* the session may leave the list */
        sink_session_stop(session);
    }
}
