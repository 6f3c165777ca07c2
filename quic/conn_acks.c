#include "quic/conn.h"

uint64_t conn_min_ack_delay_us(const struct quic_conn *c)
{
    return c->cfg.ack_frequency ? ns_min(CONN_MIN_ACK_DELAY, c->cfg.max_ack_delay) / NS_PER_US
                                : TPARAM_NO_ACK_FREQUENCY;
}

void conn_acks_start(struct quic_conn *c)
{
    uint64_t us = c->peer.min_ack_delay_us;
    bool on = c->cfg.ack_frequency && us != TPARAM_NO_ACK_FREQUENCY;
    ackfreq_init(&c->ackfreq, on ? us * NS_PER_US : NS_NEVER, c->peer.max_ack_delay);
}

/* Paths that have a round-trip time; the others have nothing to say yet. */
static size_t snapshot(const struct quic_conn *c, struct ackfreq_path *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_paths && n < max; i++) {
        const struct recovery *r = &c->path[i].recovery;
        if (!c->path[i].used || !rtt_has_sample(&r->rtt))
            continue;
        out[n++] = (struct ackfreq_path){.window_packets = r->cc.cwnd / r->cc.mss,
                                         .srtt = r->rtt.smoothed,
                                         .slow_start = cc_in_slow_start(&r->cc),
                                         .packet_threshold = reorder_packets(&r->reorder)};
    }
    return n;
}

void conn_acks_update(struct quic_conn *c)
{
    struct ackfreq_path paths[CONN_ACKFREQ_PATHS];
    if (!c->confirmed || !ackfreq_wants_update(&c->ackfreq, c->now))
        return;
    size_t n = snapshot(c, paths, ARRAY_LEN(paths));
    if (n)
        ackfreq_update(&c->ackfreq, paths, n, c->now);
}

uint64_t conn_ping_type(const struct quic_conn *c, enum quic_level level)
{
    return level == LEVEL_APP && c->complete && c->ackfreq.on ? FRAME_IMMEDIATE_ACK
                                                              : FRAME_PING;
}

int conn_on_ack_frequency(struct quic_conn *c, const struct frame *f)
{
    if (!c->cfg.ack_frequency)
        return QUIC_FRAME_ENCODING_ERROR;
    if (f->ack_frequency.max_delay_us < c->local.min_ack_delay_us ||
        f->ack_frequency.max_delay_us >= TPARAM_MAX_ACK_DELAY_END / NS_PER_US)
        return QUIC_PROTOCOL_VIOLATION;
    if (f->ack_frequency.seq < c->ackfreq_got)
        return 0;
    c->ackfreq_got = f->ack_frequency.seq + 1;
    for (size_t i = 0; i < c->n_paths; i++)
        if (c->path[i].used)
            ackrx_ask(&c->path[i].ack[SPACE_APP], f->ack_frequency.threshold,
                      f->ack_frequency.max_delay_us * NS_PER_US, f->ack_frequency.reordering);
    return 0;
}

int conn_on_immediate_ack(struct quic_conn *c, struct quic_path *p)
{
    if (!c->cfg.ack_frequency)
        return QUIC_FRAME_ENCODING_ERROR;
    ackrx_at_once(&p->ack[SPACE_APP]);
    return 0;
}
