/*
 * build - one datagram under construction in a train.
 *
 *     build_begin(&b, ...)                     a datagram on a route
 *       build_room(&b, level, n)               a packet of that level, with n bytes free?
 *         ... write frames to b.w ...
 *         build_mark / build_record            what they are
 *     build_end(&b)                            seals, pads, adds it to the train
 *
 * Packets of different levels are coalesced: asking for room at another level seals the
 * packet that is open, unless nothing would fit behind it. The last packet is sealed by
 * build_end, so that padding always has somewhere to go.
 *
 * build_room is the one place that knows what headers, packet numbers and tags cost.
 *
 * Invariant: the datagram never exceeds `cap`, which is the least of the path MTU, what the
 * train can take, the segment size of a train that is begun, and the amplification limit.
 */
#ifndef QUIC_BUILD_H
#define QUIC_BUILD_H

#include "quic/conn.h"

#define QUIC_BIT 0x40

struct build {
    struct quic_conn *conn;
    struct quic_path *path;
    struct path_route *route;
    struct quic_train *train;
    uint8_t *base; /* of the datagram */
    size_t cap;    /* most bytes of the datagram */
    size_t len;    /* bytes of sealed packets */
    size_t pad_to; /* the datagram's least size, 0 if any will do */
    uint8_t ecn;   /* its ECN bits, whatever its packets do to those of the next */
    bool flight;   /* holds a packet that counts as in flight */
    bool failed;   /* the connection failed: nothing is added */

    bool open;
    enum quic_level level;
    uint64_t pn;
    size_t pn_len;
    uint8_t *start, *length_at, *pn_at, *payload;
    struct wire_w w; /* frames go here; ends where the tag will begin */
    struct sent_packet proto;
};

/*
 * Begin a datagram of at most `limit` bytes on route `r`.
 *
 * Returns 0; QUIC_AGAIN if the train has no room for another datagram there;
 * QUIC_BLOCKED if the amplification limit or a missing connection ID forbids.
 */
int build_begin(struct build *b, struct quic_conn *c, struct quic_path *p, struct path_route *r,
                struct quic_train *t, size_t limit);

/*
 * Have a packet of `level` open with at least `n` bytes free for frames, n > 0. The first
 * call for a level opens its packet.
 *
 * Returns the bytes free, or 0 if they can't be had; what was open is then still open.
 */
size_t build_room(struct build *b, enum quic_level level, size_t n);

/* A frame with these FRAME_* flags was written. */
void build_mark(struct build *b, uint8_t flags);

/* What is to be known when the packet is acknowledged or lost. */
void build_record(struct build *b, const struct sent_record *rec);

/*
 * Finish. Returns the size of the datagram that was added to the train, or 0 if nothing was
 * written or the connection failed.
 */
size_t build_end(struct build *b);

/*
 * Header of 1-RTT packet `pn`, without its number. A peer that allows it gets the QUIC bit set
 * and cleared at random (RFC 9287 3.1).
 */
static inline void build_short_head(struct wire_w *w, const struct quic_conn *c,
                                    const struct quic_cid *dcid, uint64_t pn, size_t pn_len)
{
    uint8_t *first = w->p;
    packet_short_head(w, dcid, false, c->keys.tx_phase, pn_len);
    if (c->peer.grease_quic_bit && (c->grease ^ pn) * 0x9e3779b97f4a7c15u >> 63)
        *first &= (uint8_t)~QUIC_BIT;
}

/* The bytes that a 1-RTT packet adds to its frames: header, packet number, tag. */
size_t build_app_overhead(const struct quic_cid *dcid, size_t pn_len);

/* The ECN bits of a datagram on `r`: none where that isn't the path's route (yet). */
uint8_t build_ecn(const struct quic_path *p, const struct path_route *r);

/* Reports of a sent datagram, common to build_end and the fast path of dgram.c. */
void build_sent(struct quic_conn *c, struct quic_path *p, struct path_route *r,
                struct quic_train *t, size_t size, uint8_t ecn, bool flight);

/*
 * How many bytes one more datagram on `r` may have: 0 if the train takes none, at most `want`
 * in an empty one, else at most the segment.
 */
size_t build_train_room(const struct quic_train *t, const struct quic_path *p,
                        const struct path_route *r, size_t want);

/* Its two parts: whether a train that is begun goes where `r` does, */
bool build_train_joins(const struct quic_train *t, const struct quic_path *p,
                       const struct path_route *r);

/* and what a datagram may have that does. */
static inline size_t build_train_left(const struct quic_train *t, size_t want)
{
    size_t left = t->cap < 65507 ? t->cap : 65507;
    left = left > t->len ? left - t->len : 0;
    if (t->count && (t->count >= t->max_count || t->len != t->count * t->segment))
        return 0;
    want = t->count ? t->segment : want;
    return want < left ? want : left;
}

#endif
