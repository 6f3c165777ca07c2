/*
 * h3c - the smallest HTTP/3 client on our own layers, for test programs.
 *
 * One connection to a numeric address, one UDP socket (or two, with h3c_multipath), poll. The
 * program makes requests and pulls HTTP/3 events by h3c_next, which waits for them; nothing of
 * app/'s loop is used.
 */
#ifndef TEST_E2E_H3C_H
#define TEST_E2E_H3C_H

#include "app/address.h"
#include "app/qlog_file.h"
#include "app/random.h"
#include "h3/h3.h"
#include "mp/mp.h"
#include "quic/quic.h"
#include "quic/tls.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define H3C_SEGMENTS 16

struct h3c {
    struct tls_ctx *tls;
    struct qlog_dir qlog;
    struct quic_conn *quic;
    struct h3_conn *h3;
    struct quic_route route;
    union udp_addr to;
    int fd;
    uint64_t opened[2]; /* streams that we opened: both ways, one way */
    bool settings;      /* the peer's have arrived */
    bool reading, consume_fin;
    uint64_t read_id;
    size_t consume; /* bytes of the last h3_recv, to be consumed before the next */
    bool consume_due;
    const char *closed; /* why the connection is over */

    struct span session, token; /* of a former connection */

    /* A second path, from another local port. */
    bool multipath, more_valid, gone;
    int more_fd; /* -1: none */
    size_t more_path;
    struct quic_route more;
};

static inline ns_t h3c_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (ns_t)ts.tv_sec * NS_PER_S + (ns_t)ts.tv_nsec;
}

/* Connect `c->fd` and tell its own address. 0, or -1 with a word to stderr. */
static inline int h3c_socket(const union udp_addr *to, int *fd, struct quic_addr *local)
{
    union udp_addr own;
    socklen_t len = sizeof(own);

    *fd = socket(to->sa.sa_family, SOCK_DGRAM, 0);
    if (*fd < 0 || connect(*fd, &to->sa, udp_addr_len(to)) || getsockname(*fd, &own.sa, &len)) {
        perror("socket");
        return -1;
    }
    *local = address_quic(&own);
    return 0;
}

/* What the layers have to say, for a person who looks for a fault: DEBUG=1 in the environment. */
static inline void h3c_line(void *ctx, enum log_level level, const char *text)
{
    (void)ctx, (void)level;
    fprintf(stderr, "%s\n", text);
}

/*
 * Connect to `ip`:`port`; the certificate is not looked at. Of `c` only these are read:
 * `multipath`, to open a second path as soon as that is allowed; `session` and `token`, to be
 * used. From the environment: SUITES=... are the cipher suites to offer, QLOG=DIR is where a
 * qlog file goes. 0, or -1 with a word to stderr.
 */
static inline int h3c_open(struct h3c *c, const char *ip, uint16_t port, const char *name)
{
    static const char *const alpn[] = {"h3"};
    struct h3c asked = *c;
    bool multipath = c->multipath;
    static const struct log log = {.line = h3c_line, .level = LOG_TRACE};
    struct tls_ctx_config t = {.alpn = alpn, .n_alpn = 1, .verify = TLS_VERIFY_NONE};
    t.suites = getenv("SUITES");
    struct quic_config q;
    struct h3_config h = {.h3_datagram = true};
    union udp_addr to;
    char err[512] = "";

    memset(c, 0, sizeof(*c));
    c->multipath = multipath;
    c->more_fd = -1;
    if (udp_addr_parse(ip, port, &to)) {
        fprintf(stderr, "\"%s\" is no address\n", ip);
        return -1;
    }
    udp_addr_set_port(&to, port);
    if (h3c_socket(&to, &c->fd, &c->route.local))
        return -1;
    c->to = to;
    c->route.remote = address_quic(&to);
    c->tls = tls_ctx_new(&t, err, sizeof(err));
    quic_config_default(&q);
    q.tls = c->tls;
    if (getenv("QLOG") && qlog_dir_open(&c->qlog, getenv("QLOG"), &log) == 0)
        q.qlog = &c->qlog.sink;
    q.log = getenv("DEBUG") ? &log : NULL;
    q.rng = random_system();
    q.idle = 20 * NS_PER_S;
    q.handshake = 10 * NS_PER_S;
    q.streams_uni = 8;
    q.max_datagram_frame_size = 65535;
    q.max_udp_payload = 1452;
    q.max_paths = multipath ? 9 : 1;
    q.ext = multipath ? &mp_ext : NULL;
    q.session = asked.session;
    q.token = asked.token;
    c->quic = c->tls ? quic_connect(&q, name, &c->route, h3c_now()) : NULL;
    c->h3 = h3_conn_new(&h);
    if (!c->quic || !c->h3) {
        fprintf(stderr, "can't make a connection %s\n", err);
        return -1;
    }
    return 0;
}

static inline void h3c_streams_out(struct h3c *c)
{
    struct h3_out out;

    while (h3_next_out(c->h3, &out)) {
        bool uni = quic_stream_is_uni(out.stream_id), fin = false;
        size_t taken = 0;
        uint64_t id;
        int rc = 0;
        while (rc == 0 && c->opened[uni] <= out.stream_id >> 2) {
            rc = quic_stream_open(c->quic, uni, &id);
            c->opened[uni] += rc == 0;
        }
        if (rc == 0 && out.bytes.n > 0)
            rc = quic_stream_write(c->quic, out.stream_id, out.bytes, &taken);
        if (rc == 0 && out.fin && taken == out.bytes.n)
            fin = quic_stream_finish(c->quic, out.stream_id) == 0;
        h3_out_done(c->h3, out.stream_id, taken, fin);
        if (taken < out.bytes.n || rc)
            h3_out_blocked(c->h3, out.stream_id);
    }
}

/* Everything that is due. */
static inline void h3c_flush(struct h3c *c)
{
    static uint8_t buf[H3C_SEGMENTS * 1452];
    struct quic_train t = {.buf = buf, .cap = sizeof(buf), .max_count = H3C_SEGMENTS};

    if (quic_is_established(c->quic))
        h3c_streams_out(c);
    for (size_t path = 0; path < quic_path_count(c->quic); path++)
        while (quic_send(c->quic, path, &t, h3c_now()) > 0 || t.count > 0) {
            int fd = c->more_fd >= 0 && path == c->more_path ? c->more_fd : c->fd;
            for (size_t i = 0; i < t.count; i++)
                if (send(fd, t.buf + i * t.segment, quic_train_size(&t, i), 0) < 0 &&
                    errno != ECONNREFUSED)
                    perror("send");
            quic_train_reset(&t);
        }
}

static inline void h3c_receive(struct h3c *c, int fd, const struct quic_route *route)
{
    static uint8_t buf[65536];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        struct quic_dgram_rx drop[64];
        struct quic_rx rx = {.route = *route, .p = buf, .n = (size_t)n};
        quic_recv(c->quic, &rx, 1, h3c_now());
        while (quic_dgram_recv(c->quic, drop, ARRAY_LEN(drop)) > 0)
            ;
    }
}

/* Wait for datagrams or the deadline; feed the connection. */
static inline void h3c_wait(struct h3c *c)
{
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN},
                          {.fd = c->more_fd, .events = POLLIN}};
    ns_t now = h3c_now(), at;

    h3c_flush(c);
    at = quic_deadline(c->quic);
    poll(p, 2, at <= now ? 0 : at - now > NS_PER_S ? 1000 : (int)((at - now) / NS_PER_MS) + 1);
    h3c_receive(c, c->fd, &c->route);
    if (c->more_fd >= 0)
        h3c_receive(c, c->more_fd, &c->more);
    if (quic_deadline(c->quic) <= h3c_now())
        quic_tick(c->quic, h3c_now());
    h3c_flush(c);
}

static inline void h3c_failed(struct h3c *c, int code)
{
    if (code > 0)
        quic_close(c->quic, (uint64_t)code, h3_fail_text(c->h3), h3c_now());
}

/* A second path, from another local port. */
static inline void h3c_second(struct h3c *c)
{
    c->more = c->route;
    if (c->more_fd >= 0 || h3c_socket(&c->to, &c->more_fd, &c->more.local))
        return;
    if (mp_open(c->quic, &c->more, h3c_now(), &c->more_path) == 0)
        return;
    close(c->more_fd);
    c->more_fd = -1;
}

static inline void h3c_on_quic(struct h3c *c, const struct quic_event *ev)
{
    struct quic_close_info info;

    switch (ev->type) {
    case QUIC_EV_STREAM_READABLE:
        c->reading = true;
        c->read_id = ev->stream;
        break;
    case QUIC_EV_STREAM_WRITABLE:
        h3_out_unblocked(c->h3, ev->stream);
        break;
    case QUIC_EV_STREAMS_ALLOWED:
        for (uint64_t i = 0; i < 3; i++)
            h3_out_unblocked(c->h3, (i << 2) | 2);
        for (uint64_t i = 0; i < 64; i++)
            h3_out_unblocked(c->h3, i << 2);
        break;
    case QUIC_EV_STREAM_RESET:
        h3c_failed(c, h3_stream_reset(c->h3, ev->stream, ev->code));
        break;
    case QUIC_EV_STREAM_STOPPED:
        h3c_failed(c, h3_stream_stopped(c->h3, ev->stream, ev->code));
        break;
    case QUIC_EV_PATHS_ALLOWED:
        h3c_second(c);
        break;
    case QUIC_EV_PATH_VALIDATED:
        c->more_valid |= c->more_fd >= 0 && ev->path == c->more_path;
        break;
    case QUIC_EV_PATH_GONE:
        c->gone = true;
        break;
    case QUIC_EV_CLOSED:
        quic_close_info(c->quic, &info);
        c->closed = info.text;
        break;
    default:
        break;
    }
}

/* Give the stream being read to HTTP/3, a step. */
static inline void h3c_read(struct h3c *c)
{
    bool fin = false;
    struct span data;
    size_t used = 0;
    int rc;

    if (c->consume_due) {
        c->consume_due = false;
        quic_stream_consume(c->quic, c->read_id, c->consume);
        if (c->consume_fin)
            c->reading = false;
        return;
    }
    data = quic_stream_peek(c->quic, c->read_id, &fin);
    if (data.n == 0 && !fin) {
        c->reading = false;
        return;
    }
    rc = h3_recv(c->h3, c->read_id, data, fin, &used);
    if (rc) {
        h3c_failed(c, rc);
        c->reading = false;
        return;
    }
    c->consume_due = true;
    c->consume = used;
    c->consume_fin = fin && used == data.n;
}

/*
 * The next HTTP/3 event, waiting for it until `until`. 1; 0 when time is up; -1 when the
 * connection is over (`closed`). What the event lends is good until the next call.
 */
static inline int h3c_next(struct h3c *c, struct h3_event *ev, ns_t until)
{
    struct quic_event qe;

    for (;;) {
        if (h3_next_event(c->h3, ev)) {
            if (ev->type == H3_EV_SETTINGS)
                c->settings = true;
            if (ev->type == H3_EV_ABORT) {
                quic_stream_reset(c->quic, ev->stream_id, ev->code);
                quic_stream_stop(c->quic, ev->stream_id, ev->code);
            }
            return 1;
        }
        if (c->reading)
            h3c_read(c);
        else if (quic_next_event(c->quic, &qe))
            h3c_on_quic(c, &qe);
        else if (c->closed)
            return -1;
        else if (h3c_now() >= until)
            return 0;
        else
            h3c_wait(c);
    }
}

/* Go on from another local port. Whether that was allowed now. */
static inline bool h3c_move(struct h3c *c)
{
    struct quic_route route = c->route;
    int fd;

    if (h3c_socket(&c->to, &fd, &route.local) ||
        quic_path_move(c->quic, 0, &route, h3c_now()) != 0) {
        close(fd);
        return false;
    }
    close(c->fd);
    c->fd = fd;
    c->route = route;
    return true;
}

static inline void h3c_close(struct h3c *c)
{
    if (c->quic) {
        quic_close(c->quic, H3_NO_ERROR, "", h3c_now());
        h3c_flush(c);
    }
    h3_conn_del(c->h3);
    quic_del(c->quic);
    tls_ctx_del(c->tls);
    qlog_dir_close(&c->qlog);
    if (c->fd >= 0)
        close(c->fd);
    if (c->more_fd >= 0)
        close(c->more_fd);
}

#endif
