/*
 * conn_memory - what a connection holds on the heap: its sum, its bound, and what it can do
 * without while nothing happens.
 */
#include <stdlib.h>

#include "quic/conn.h"
#include "quic/recovery_ack.h"

size_t conn_memory(const struct quic_conn *c)
{
    size_t sum = sizeof(*c) + c->cfg.max_paths * sizeof(*c->path) + tls_memory(c->tls) +
                 streams_memory(&c->streams) + c->token_len + c->new_token_len;
    if (c->dgram)
        sum += QUIC_DGRAM_RX_MAX * sizeof(*c->dgram);
    if (c->fate)
        sum += CONN_FATES * sizeof(*c->fate);
    for (size_t i = 0; i < c->n_held; i++)
        sum += c->held[i].n;
    for (int s = 0; s < SPACE_N; s++)
        sum += sbuf_memory(&c->crypto[s].tx) + rbuf_memory(&c->crypto[s].rx);
    for (size_t i = 0; i < c->n_paths; i++) {
        const struct quic_path *p = &c->path[i];
        if (p->phase == PATH_FREE)
            continue;
        sum += recovery_memory(&p->recovery);
        for (int s = 0; s < SPACE_N; s++)
            sum += ranges_memory(&p->ack[s].received);
    }
    return sum;
}

void conn_trim(struct quic_conn *c)
{
    bool settled = true;
    for (size_t i = 0; i < c->n_paths; i++) {
        struct recovery *r = &c->path[i].recovery;
        if (!c->path[i].used)
            continue;
        recovery_release(r, c->now);
        for (int s = 0; s < SPACE_N; s++)
            ranges_trim(&c->path[i].ack[s].received);
        settled &= sent_count(&r->space[SPACE_APP].sent) == 0;
    }
    streams_trim(&c->streams);
    for (int s = 0; s < SPACE_N; s++) {
        sbuf_trim(&c->crypto[s].tx);
        rbuf_trim(&c->crypto[s].rx);
    }
    if (c->dgram_first == c->dgram_n) {
        free(c->dgram);
        c->dgram = NULL;
        c->dgram_first = c->dgram_n = 0;
    }
    if (c->fate_n == 0 && settled) {
        free(c->fate);
        c->fate = NULL;
    }
    /* What is on its way, or may turn out to be late, has a fate yet to be told. */
    if (!settled || c->fate)
        c->timer[CONN_TIMER_TRIM] = ns_add(c->now, CONN_TRIM);
}

/* ---- the bound ----------------------------------------------------------------------- */

/* A ring or a table that doubles until it holds `n`. */
static size_t doubled(size_t n)
{
    size_t cap = 1;
    while (cap < n)
        cap *= 2;
    return cap;
}

static size_t set_of(size_t ranges)
{
    return ranges > RANGES_INLINE ? ranges * sizeof(struct range) : 0;
}

/* Sent packets with their records, acknowledged numbers, verdicts; received numbers. */
static size_t path_bound(void)
{
    size_t packets = SENT_MAX_APP + 2 * SENT_MAX_HANDSHAKE;
    size_t sets = set_of(RECOVERY_ACKED_RANGES) + set_of(ACKRX_MAX);
    return packets * (sizeof(struct sent_packet) + sizeof(struct sent_record)) +
           SPACE_N * sets + SENT_MAX_APP * sizeof(struct verdict_run);
}

/* Bytes of the handshake that came or are to go, at each level; the TLS side of it. */
static size_t crypto_bound(void)
{
    size_t rx = 2 * doubled(CONN_CRYPTO_MAX) + doubled(CONN_CRYPTO_LATE) +
                SPACE_N * set_of(RBUF_GAPS + 1);
    size_t tx = SPACE_N * (doubled(CONN_CRYPTO_TX) + 2 * set_of(SBUF_RANGES));
    return rx + tx + tls_memory_max(SPACE_N * CONN_CRYPTO_TX);
}

size_t quic_memory_bound(const struct quic_config *cfg, size_t own_streams)
{
    size_t theirs = cfg->streams_bidi + cfg->streams_uni, n = theirs + own_streams;
    size_t receive = cfg->stream_window_max > cfg->stream_window ? cfg->stream_window_max
                                                                 : cfg->stream_window;
    size_t conn =
        cfg->conn_window_max > cfg->conn_window ? cfg->conn_window_max : cfg->conn_window;
    /* What flow control lets in, in rings of at most RBUF_SLACK times as much; and what stays. */
    size_t each = n * doubled(receive),
           all = RBUF_SLACK * conn + n * RBUF_SMALL + STREAMS_KEPT;
    size_t streams = n * (sizeof(struct stream) + set_of(RBUF_GAPS + 1)) +
                     (own_streams + cfg->streams_bidi) *
                         (doubled(cfg->stream_send_buffer) + 2 * set_of(SBUF_RANGES)) +
                     doubled(n + 8) * sizeof(struct stream *) + set_of(theirs + 2);
    return sizeof(struct quic_conn) +
           cfg->max_paths * (sizeof(struct quic_path) + path_bound()) + crypto_bound() +
           streams + (each < all ? each : all) +
           QUIC_DGRAM_RX_MAX * sizeof(struct quic_dgram_rx) +
           CONN_FATES * sizeof(struct quic_dgram_fate) + CONN_HELD * CONN_HELD_BYTES +
           2 * QUIC_TOKEN_MAX;
}
