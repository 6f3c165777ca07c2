/*
 * streams_core - what streams.c (table, queues, the user's calls) offers to
 * streams_frames.c (the frames both ways), and to nobody else.
 */
#ifndef QUIC_STREAMS_CORE_H
#define QUIC_STREAMS_CORE_H

#include "quic/streams.h"

/* stream.queue: the list that a stream is in. */
enum { QUEUE_NONE, QUEUE_CONTROL, QUEUE_URGENT, QUEUE_DATA, QUEUE_HELD };

/* Bits of a stream ID (RFC 9000 2.1). */
#define ID_BY_SERVER 1u
#define ID_UNI       2u

static inline bool streams_is_ours(const struct streams *s, uint64_t id)
{
    return !!(id & ID_BY_SERVER) == s->cfg.server;
}

static inline struct streams_type *streams_type_of(struct streams *s, uint64_t id)
{
    return streams_is_ours(s, id) ? &s->ours[!!(id & ID_UNI)] : &s->theirs[!!(id & ID_UNI)];
}

/* Make the object for a stream that is open. Null if memory is lacking. */
struct stream *streams_create(struct streams *s, uint64_t id);

/* Move a stream to the end of `queue`. */
void streams_join(struct streams *s, struct stream *st, uint8_t queue);

/* The queue where a stream belongs. */
uint8_t streams_right_queue(const struct streams *s, const struct stream *st);

/* The connection's credit was raised: all that it held back may go on. */
void streams_release_held(struct streams *s);

/* The peer set the number of our streams of a type; a smaller one is ignored. */
void streams_allow(struct streams_type *t, uint64_t limit);

/* What the connection counts of a stream, before something is done to it. */
struct streams_counts {
    uint64_t received, consumed;
};

static inline struct streams_counts streams_counts_of(const struct stream *st)
{
    return (struct streams_counts){st->rx.received, st->rx.consumed};
}

/*
 * After anything was done to a stream: count what changed for the connection, put it where
 * it belongs, and forget it (`st` is then gone) if it is over and there is nothing to tell.
 */
void streams_settle(struct streams *s, struct stream *st, struct streams_counts before);

#endif
