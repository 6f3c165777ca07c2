/*
 * What the tests of loss recovery share: sending packets without a connection, ACK frames
 * from lists of ranges, and the fate of each packet as the verdicts told it.
 */
#ifndef TEST_QUIC_RECOVERY_H
#define TEST_QUIC_RECOVERY_H

#include <string.h>

#include "quic/recovery.h"
#include "quic/wire.h"

#define MS NS_PER_MS

/* An ACK frame in the form in which it is decoded. */
struct ack_frame {
    struct frame_ack ack;
    uint8_t pairs[2000];
};

/* Of `n` ranges, both ends inclusive, descending. */
static inline void ack_make(struct ack_frame *f, const struct range *r, size_t n)
{
    struct wire_w w = wire_w_of(f->pairs, sizeof f->pairs);

    memset(&f->ack, 0, sizeof f->ack);
    f->ack.largest = r[0].end;
    f->ack.first = r[0].end - r[0].start;
    for (size_t i = 1; i < n; i++) {
        wire_w_varint(&w, r[i - 1].start - r[i].end - 2);
        wire_w_varint(&w, r[i].end - r[i].start);
    }
    f->ack.range_count = n - 1;
    f->ack.ranges = span_of(f->pairs, (size_t)(w.p - f->pairs));
}

static inline struct recovery_config config_of(const char *cc, const struct rng *rng)
{
    return (struct recovery_config){.cc = cc, .max_datagram = 1200, .rng = rng};
}

/* Past the handshake, as a server. */
static const struct recovery_state confirmed = {.server = true,
                                                .handshake_keys = true,
                                                .peer_validated = true,
                                                .confirmed = true,
                                                .max_ack_delay = 25 * MS};

/* Send packet `pn` with one record that names it. */
static inline int send_packet(struct recovery *r, enum quic_space space, uint64_t pn,
                              uint8_t flags, uint32_t bytes, ns_t now)
{
    struct sent_packet p = {
        .time = now, .bytes = bytes, .flags = flags, .ack_largest = SENT_NO_ACK};
    struct sent_record rec = {.kind = 1, .a = pn, .b = space};
    int err = sent_begin(&r->space[space].sent, pn);

    if (!err)
        err = sent_record_add(&r->space[space].sent, &rec);
    if (!err)
        recovery_on_sent(r, space, &p);
    return err;
}

#endif
