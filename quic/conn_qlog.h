/*
 * conn_qlog - a connection's events for qlog.
 *
 * Packets are told of where they are made, opened, dropped or lost. Everything else is found by
 * comparing: conn_qlog_update, at the end of each verb, looks at what a trace tells about
 * (handshake, keys, parameters, routes, MTU, RTT, window, timer, close) and logs what is not
 * as it was at the last time. So the mechanisms themselves know nothing of it; what comes and
 * goes within one verb is not seen.
 *
 * Without a sink, conn->qlog is null and each place costs a branch. The inline functions are
 * what the rest of the connection calls.
 */
#ifndef QUIC_CONN_QLOG_H
#define QUIC_CONN_QLOG_H

#include "quic/conn.h"

struct conn_qlog;

/* Where the configuration has a sink and that or memory doesn't refuse: begin. */
void conn_qlog_start(struct quic_conn *c);

/* The last words, and the end of the trace. */
void conn_qlog_stop(struct quic_conn *c);

/* A packet about to be sealed, or just sealed: `frames` deciphered, `bytes` the whole packet. */
struct conn_qlog_sent {
    const struct quic_path *path;
    const struct quic_cid *dcid;
    enum quic_level level;
    uint64_t pn;
    size_t bytes;
    struct span frames;
    size_t dgram_rest; /* as in struct qlog_packet */
    bool mtu_probe;
};

void conn_qlog_log_sent(struct quic_conn *c, const struct conn_qlog_sent *s);
void conn_qlog_log_received(struct quic_conn *c, const struct rx_packet *pkt,
                            const struct packet_head *h, bool held, struct span frames);
void conn_qlog_log_bare(struct quic_conn *c, const struct packet_head *h);
void conn_qlog_log_dropped(struct quic_conn *c, const struct packet_head *h,
                           const char *trigger);
void conn_qlog_log_unparsed(struct quic_conn *c, size_t bytes);
void conn_qlog_log_buffered(struct quic_conn *c, const struct packet_head *h);
void conn_qlog_log_lost(struct quic_conn *c, const struct quic_path *p,
                        const struct verdict *v);
void conn_qlog_log_update(struct quic_conn *c);

#define CONN_QLOG(c, what, ...)                                                                \
    do {                                                                                       \
        if (__builtin_expect((c)->qlog != NULL, 0))                                            \
            conn_qlog_log_##what((c)__VA_OPT__(, ) __VA_ARGS__);                               \
    } while (0)

#endif
