/*
 * Theory of operation
 *
 * Three things move here, and none waits for another:
 *
 *   datagrams  UDP -> quic_recv -> quic_dgram_recv -> cip_in -> device, all in
 *              session_on_udp, while the received buffers are still ours;
 *              TUN -> cip_out -> queue in session_on_tun, and from there by
 *              the sender (app/sender.h) into trains in session_flush. Numbered ones
 *              (app/numbered.h) go the same ways, and come out of the order when they are
 *              due, in session_on_udp or by the deadline in session_flush.
 *   streams    quic_stream_peek -> h3_recv -> events, one stream at a time, in
 *              session_next_event; h3_next_out -> quic_stream_write in session_flush.
 *   capsules   DATA of the tunnel's stream -> cip_recv; cip_out_bytes -> h3_data.
 *
 * session_next_event is a generator: what an event lends (fields, bytes) lies in the
 * transport's buffers, so these are given back (`consume_due`) only when the next event
 * is asked for.
 */
#include "app/session.h"

#include "app/address.h"

#include <stdlib.h>
#include <string.h>

#define BURST      64               /* datagrams looked at together */
#define WIDTH_PACE (20 * NS_PER_MS) /* between two looks at the MTU of the paths */

/* Our end of the request stream is over without harm, seen from HTTP/3. */
static void stream_let_go(struct session *s, uint64_t id, bool recv_done, bool send_done)
{
    for (size_t i = 0; i < s->streams; i++) {
        struct session_stream *t = &s->stream[i];
        if (t->id != id)
            continue;
        t->recv_done |= recv_done;
        t->send_done |= send_done;
        if (t->recv_done && t->send_done) {
            *t = s->stream[--s->streams];
            h3_stream_done(s->h3, id);
        }
        return;
    }
}

/* Note a stream; a direction that does not exist is done from the start. */
static void stream_note(struct session *s, uint64_t id)
{
    bool own = quic_stream_by_server(id) == quic_is_server(s->quic);

    for (size_t i = 0; i < s->streams; i++)
        if (s->stream[i].id == id)
            return;
    if (s->streams == SESSION_STREAMS_MAX)
        return; /* above every limit that we announced: only its freeing is late */
    s->stream[s->streams++] = (struct session_stream){id, quic_stream_is_uni(id) && own,
                                                      quic_stream_is_uni(id) && !own};
}

int session_init(struct session *s, struct quic_conn *conn, const struct session_cfg *cfg)
{
    bool server = quic_is_server(conn);
    struct h3_config h3 = {.server = server,
                           .enable_connect_protocol = server,
                           .h3_datagram = true,
                           .max_requests = SESSION_STREAMS_MAX / 2,
                           .max_uni_streams = SESSION_STREAMS_MAX / 4,
                           .grease = cfg->grease,
                           .log = cfg->log};

    memset(s, 0, sizeof(*s));
    s->cfg = *cfg;
    s->quic = conn;
    sender_init(&s->sender, conn, cfg->device, cfg->socks, cfg->sched);
    hold_init(&s->hold, &s->sender.queue, cfg->hash_seed);
    s->h3 = h3_conn_new(&h3);
    return s->h3 ? 0 : QUIC_NOMEM;
}

/* Packets out of the order are written while their bytes are there. */
static void write_numbered(struct session *s)
{
    if (!s->numbered || !numbered_lent(s->numbered))
        return;
    device_flush(s->cfg.device);
    numbered_written(s->numbered);
}

void session_free(struct session *s)
{
    if (s->open)
        cip_free(&s->cip);
    h3_conn_del(s->h3);
    sender_free(&s->sender);
    if (s->numbered) {
        write_numbered(s);
        numbered_free(s->numbered);
        free(s->numbered);
    }
    quic_del(s->quic);
    memset(s, 0, sizeof(*s));
}

/* ---- datagrams in --------------------------------------------------------------------- */

/* A packet that this end makes itself (an ICMP error), towards the peer. */
static void push_own(struct session *s, const uint8_t *pkt, size_t n, ns_t now)
{
    const struct cip_head *head = cip_prefix(&s->cip);
    struct packet *p;

    if (n == 0 || n > ICMP_MAX)
        return;
    p = device_own(s->cfg.device, span_of(pkt, n), span_of(head->b, head->len));
    if (!p)
        return;
    p->node.flow = 0;
    sender_push(&s->sender, p, now);
}

/* One HTTP datagram payload of the tunnel, which came over path `path` (an index). */
static void payload_in(struct session *s, struct span payload, size_t path, ns_t now)
{
    uint8_t answer[ICMP_MAX];
    struct span pkt, rest;
    uint64_t context;
    enum cip_verdict v;

    if (s->numbered && masque_dgram_context(payload, &context, &rest) == 0 &&
        context == s->numbered->context_in) {
        v = numbered_in(s->numbered, &s->cip, s->cfg.device, rest, quic_path_id(s->quic, path),
                        &pkt, now);
    } else {
        v = cip_in(&s->cip, payload, &pkt);
        if (v == CIP_OK) {
            hold_in(&s->hold, (uint8_t *)(uintptr_t)pkt.p, pkt.n);
            device_write(s->cfg.device, (uint8_t *)(uintptr_t)pkt.p, pkt.n);
        }
    }
    if (v != CIP_OK)
        push_own(s, answer, cip_reject_in(&s->cip, v, pkt, now, answer, sizeof(answer)), now);
}

static void dgrams_in(struct session *s, ns_t now)
{
    struct quic_dgram_rx rx[BURST];
    size_t n;

    while ((n = quic_dgram_recv(s->quic, rx, BURST)) > 0) {
        for (size_t i = 0; i < n; i++) {
            struct span payload;
            uint64_t stream;
            int rc = masque_dgram_decode(span_of(rx[i].p, rx[i].n), &stream, &payload);
            if (rc > 0) {
                quic_close(s->quic, (uint64_t)rc, "malformed HTTP datagram", now);
                return;
            }
            if (s->open && stream == s->request)
                payload_in(s, payload, rx[i].path, now);
            else
                s->stats.no_tunnel++;
        }
    }
}

void session_on_udp(struct session *s, uint32_t ifindex, const struct udp_dgram *d, size_t n,
                    ns_t now)
{
    struct quic_rx rx[BURST];

    while (n > 0) {
        size_t k = n < BURST ? n : BURST;
        for (size_t i = 0; i < k; i++) {
            if (i > 0 && udp_dgram_same_route(&d[i], &d[i - 1]))
                rx[i].route = rx[i - 1].route;
            else
                rx[i].route = (struct quic_route){.local = address_quic(d[i].local),
                                                  .remote = address_quic(d[i].remote),
                                                  .ifindex = ifindex};
            rx[i].ecn = d[i].ecn;
            rx[i].p = d[i].p;
            rx[i].n = d[i].n;
        }
        quic_recv(s->quic, rx, k, now);
        dgrams_in(s, now);
        if (s->numbered)
            numbered_fates(s->numbered, s->quic);
        d += k;
        n -= k;
    }
}

/* ---- packets out ---------------------------------------------------------------------- */

/* Tell the sender of a packet that the tunnel refuses. */
static void reject_out(struct session *s, enum cip_verdict v, struct span pkt, size_t room,
                       ns_t now)
{
    uint8_t answer[ICMP_MAX];
    size_t n = cip_reject_out(&s->cip, v, pkt, room, now, answer, sizeof(answer));

    if (n > 0)
        device_write_own(s->cfg.device, span_of(answer, n));
}

void session_on_tun(struct session *s, struct vnet_split *pkts, size_t n, ns_t now)
{
    size_t room = session_mtu(s);
    struct cip_head head;

    if (!s->open || room == 0) {
        s->stats.no_tunnel += n;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        enum cip_verdict v = cip_out(&s->cip, pkts[i].p, pkts[i].n, pkts[i].size, room, &head);
        struct packet *p;

        if (v != CIP_OK) {
            reject_out(s, v, span_of(pkts[i].p, pkts[i].n), room, now);
            continue;
        }
        p = device_keep(s->cfg.device, &pkts[i], span_of(head.b, head.len));
        if (!p)
            continue;
        p->node.flow = head.flow;
        hold_out(&s->hold, pkts[i].p, pkts[i].n, head.flow);
        sender_push(&s->sender, p, now);
    }
}

/* ---- streams out ---------------------------------------------------------------------- */

/* Open the transport's streams in the order in which h3 numbers them. */
static int stream_ensure(struct session *s, uint64_t id)
{
    bool uni = quic_stream_is_uni(id);

    if (quic_stream_by_server(id) != quic_is_server(s->quic))
        return 0;
    while (s->opened[uni] <= id >> 2) {
        uint64_t got;
        int rc = quic_stream_open(s->quic, uni, &got);
        if (rc)
            return rc;
        s->opened[uni]++;
        stream_note(s, got);
    }
    return 0;
}

static void streams_out(struct session *s, ns_t now)
{
    struct h3_out out;
    struct span capsules;

    while (s->open && (capsules = cip_out_bytes(&s->cip)).n > 0 &&
           h3_data(s->h3, s->request, capsules, false) == 0)
        cip_out_done(&s->cip, capsules.n);
    while (h3_next_out(s->h3, &out)) {
        size_t taken = 0;
        bool fin = false;
        int rc = stream_ensure(s, out.stream_id);
        if (rc == 0 && out.bytes.n > 0)
            rc = quic_stream_write(s->quic, out.stream_id, out.bytes, &taken);
        if (rc == QUIC_NOMEM) {
            quic_close(s->quic, H3_INTERNAL_ERROR, "out of memory", now);
            return;
        }
        if (rc == 0 && out.fin && taken == out.bytes.n)
            fin = quic_stream_finish(s->quic, out.stream_id) == 0;
        if (rc == QUIC_CLOSED || rc == QUIC_INVAL)
            taken = out.bytes.n; /* reset meanwhile: its bytes have nowhere to go */
        h3_out_done(s->h3, out.stream_id, taken, fin || rc == QUIC_CLOSED);
        if (taken < out.bytes.n)
            h3_out_blocked(s->h3, out.stream_id);
    }
}

void session_flush(struct session *s, ns_t now)
{
    if (quic_is_established(s->quic))
        streams_out(s, now);
    if (s->numbered) {
        numbered_tick(s->numbered, s->cfg.device, now);
        write_numbered(s);
    }
    sender_flush(&s->sender, now);
    hold_look(&s->hold, s->sender.lookout.away, s->sender.lookout.bps, now);
}

ns_t session_wake(const struct session *s)
{
    return s->numbered ? ns_min(s->sender.wake, numbered_deadline(s->numbered))
                       : s->sender.wake;
}

ns_t session_deadline(const struct session *s, ns_t now)
{
    ns_t at = ns_min(quic_deadline(s->quic), session_wake(s));

    at = s->sender.starved ? ns_max(at, now + SESSION_STARVED) : at;
    return s->width.look_at ? ns_min(at, ns_max(s->width.look_at, s->width_at)) : at;
}

int session_request(struct session *s, const struct h3_field *fields, size_t n)
{
    int rc = h3_request(s->h3, fields, n, false, &s->request);

    s->requested = rc == 0;
    return rc;
}

/* Both ends number flows: make the state for it. */
static int number(struct session *s, uint64_t stream)
{
    int rc;

    s->numbered = calloc(1, sizeof(*s->numbered));
    if (!s->numbered)
        return QUIC_NOMEM;
    rc = numbered_init(s->numbered, quic_is_server(s->quic), stream, s->cfg.cap);
    if (rc) {
        free(s->numbered);
        s->numbered = NULL;
        return rc;
    }
    s->numbered->hold = &s->hold;
    sender_number(&s->sender, s->numbered, cip_prefix(&s->cip)->len);
    return 0;
}

int session_open(struct session *s, uint64_t stream, bool bulk)
{
    struct cip_config cfg = {.stream_id = stream,
                             .hash_seed = s->cfg.hash_seed,
                             .split_quirk = !quic_is_server(s->quic)};
    int rc;

    if (s->open)
        return QUIC_INVAL;
    rc = cip_init(&s->cip, &cfg);
    if (rc)
        return rc;
    if (bulk && (rc = number(s, stream))) {
        cip_free(&s->cip);
        return rc;
    }
    s->request = stream;
    s->open = true;
    s->ended_told = false;
    return 0;
}

int session_rates(struct session *s, const struct path_rate *list, size_t n)
{
    return s->open && s->numbered ? cip_tell_rates(&s->cip, list, n) : 0;
}

/* "name n" for each verdict that refused something, after `line`. */
static void verdicts(const char *way, const uint64_t n[CIP_VERDICTS], const struct log *log)
{
    for (int v = 1; v < CIP_VERDICTS; v++)
        if (n[v] > 0)
            LOG_AT(log, LOG_DEBUG, "  %s refused, %s: %llu", way,
                   cip_verdict_name((enum cip_verdict)v), (unsigned long long)n[v]);
}

void session_log(const struct session *s, ns_t now)
{
    const struct log *log = s->cfg.log;
    const struct queue_stats *q = &s->sender.queue.stats;
    struct quic_path_view v;
    struct quic_stats t;

    quic_stats(s->quic, &t);
    LOG_AT(log, LOG_DEBUG,
           "  queue: %llu in, %llu marked, dropped %llu codel, %llu full, %llu old, %llu too "
           "big; no train %llu, no tunnel %llu",
           (unsigned long long)q->pushed, (unsigned long long)q->marked,
           (unsigned long long)q->dropped_codel, (unsigned long long)q->dropped_full,
           (unsigned long long)q->dropped_old, (unsigned long long)s->sender.stats.too_big,
           (unsigned long long)s->sender.stats.no_train,
           (unsigned long long)s->stats.no_tunnel);
    LOG_AT(
        log, LOG_DEBUG,
        "  quic: datagrams %llu out, %llu in; dropped: crypt %llu, duplicate %llu, keys %llu, "
        "datagrams %llu",
        (unsigned long long)t.dgrams_sent, (unsigned long long)t.dgrams_received,
        (unsigned long long)t.drop_crypt, (unsigned long long)t.drop_duplicate,
        (unsigned long long)t.drop_keys, (unsigned long long)t.drop_dgram);
    for (size_t i = 0; i < quic_path_count(s->quic); i++) {
        if (quic_path_view(s->quic, i, now, &v))
            continue;
        LOG_AT(
            log, LOG_DEBUG,
            "  path %zu: sent %llu, lost %llu, spuriously %llu, received %llu; srtt %.2f ms, "
            "min %.2f, cwnd %llu, in flight %llu, pace %.1f Mbit/s, mtu %zu",
            i, (unsigned long long)v.packets_sent, (unsigned long long)v.packets_lost,
            (unsigned long long)v.packets_spurious, (unsigned long long)v.packets_received,
            (double)v.srtt / 1e6, (double)v.min_rtt / 1e6, (unsigned long long)v.cwnd_bytes,
            (unsigned long long)v.in_flight_bytes, (double)v.pacing_bps / 1e6, v.mtu_bytes);
    }
    if (s->open) {
        verdicts("out", s->cip.stats.out, log);
        verdicts("in", s->cip.stats.in, log);
    }
}

/* ---- events --------------------------------------------------------------------------- */

/* Server: bound what we send by each path as the client wants it, within what a link may have. */
static void cap_paths(struct session *s)
{
    const uint64_t min = LINK_RATE_MIN / 1000, max = LINK_RATE_MAX / 1000;
    size_t n;
    const struct path_rate *list = cip_rates(&s->cip, &n);

    if (!quic_is_server(s->quic))
        return;
    for (size_t i = 0; i < quic_path_count(s->quic); i++) {
        const struct path_rate *rate = path_rates_find(list, n, quic_path_id(s->quic, i));
        uint64_t kbps = rate ? rate->kbps : 0;

        if (kbps)
            kbps = kbps < min ? min : kbps > max ? max : kbps;
        quic_path_cap(s->quic, i, kbps * 1000);
    }
}

/* The tunnel's stream ended, whoever did it. */
static bool tunnel_over(struct session *s, uint64_t id, struct session_event *ev)
{
    if ((!s->open && !s->requested) || id != s->request || s->ended_told)
        return false;
    s->ended_told = true;
    ev->type = SESSION_ENDED;
    ev->stream = id;
    return true;
}

/* DATA of the tunnel's stream: capsules. */
static void data_in(struct session *s, const struct h3_event *he, ns_t now)
{
    struct span in = he->data, dgram;

    if (!s->open || he->stream_id != s->request)
        return;
    while (in.n > 0) {
        int rc = cip_recv(&s->cip, &in, &dgram);
        if (rc) {
            h3_reset(s->h3, s->request, rc > 0 ? (uint64_t)rc : H3_INTERNAL_ERROR);
            return;
        }
        if (dgram.n > 0) {
            payload_in(s, dgram, 0, now);
            device_flush(s->cfg.device); /* before its bytes are gone */
        }
    }
}

/* One event of h3; true if it makes one of ours. */
static bool on_h3(struct session *s, const struct h3_event *he, struct session_event *ev,
                  ns_t now)
{
    ev->stream = he->stream_id;
    ev->fields = he->fields;
    ev->n = he->count;
    switch (he->type) {
    case H3_EV_SETTINGS:
        if (quic_is_server(s->quic) || s->ready_told)
            return false;
        s->ready_told = true;
        ev->type = he->settings->enable_connect_protocol && he->settings->h3_datagram
                       ? SESSION_READY
                       : SESSION_UNFIT;
        return true;
    case H3_EV_HEADERS:
        if (he->trailers || he->informational)
            return false;
        ev->type = quic_is_server(s->quic) ? SESSION_REQUEST : SESSION_RESPONSE;
        return true;
    case H3_EV_DATA:
        data_in(s, he, now);
        return false;
    case H3_EV_FIN:
        if (s->open && he->stream_id == s->request && cip_recv_end(&s->cip))
            h3_reset(s->h3, s->request, H3_MESSAGE_ERROR);
        return tunnel_over(s, he->stream_id, ev);
    case H3_EV_RESET:
    case H3_EV_STOPPED:
        return tunnel_over(s, he->stream_id, ev);
    case H3_EV_ABORT:
        stream_ensure(s, he->stream_id);
        quic_stream_reset(s->quic, he->stream_id, he->code);
        quic_stream_stop(s->quic, he->stream_id, he->code);
        stream_let_go(s, he->stream_id, true, true);
        return tunnel_over(s, he->stream_id, ev);
    case H3_EV_GOAWAY:
    case H3_EV_NONE:
        return false;
    }
    return false;
}

static void h3_failed(struct session *s, int code, ns_t now)
{
    if (code > 0)
        quic_close(s->quic, (uint64_t)code, h3_fail_text(s->h3), now);
}

/* One event of the transport; true if it makes one of ours. */
static bool on_quic(struct session *s, const struct quic_event *qe, struct session_event *ev,
                    ns_t now)
{
    switch (qe->type) {
    case QUIC_EV_STREAM_OPENED:
        stream_note(s, qe->stream);
        return false;
    case QUIC_EV_STREAM_READABLE:
        s->reading = true;
        s->read_id = qe->stream;
        return false;
    case QUIC_EV_STREAM_WRITABLE:
        h3_out_unblocked(s->h3, qe->stream);
        return false;
    case QUIC_EV_STREAMS_ALLOWED:
        for (uint64_t i = 0; i < 3; i++)
            h3_out_unblocked(s->h3, (i << 2) | 2 | quic_is_server(s->quic));
        if (s->requested)
            h3_out_unblocked(s->h3, s->request);
        return false;
    case QUIC_EV_STREAM_RESET:
        h3_failed(s, h3_stream_reset(s->h3, qe->stream, qe->code), now);
        stream_let_go(s, qe->stream, true, false);
        return false;
    case QUIC_EV_STREAM_STOPPED:
        h3_failed(s, h3_stream_stopped(s->h3, qe->stream, qe->code), now);
        stream_let_go(s, qe->stream, false, true);
        return false;
    case QUIC_EV_STREAM_FINISHED:
        stream_let_go(s, qe->stream, false, true);
        return false;
    case QUIC_EV_EVENTS_LOST:
        /* Few streams and coalesced events: only a flood of openings gets here. */
        quic_close(s->quic, H3_EXCESSIVE_LOAD, "too many stream events", now);
        return false;
    case QUIC_EV_PATH_NEW:
    case QUIC_EV_PATH_VALIDATED:
    case QUIC_EV_PATHS_ALLOWED:
    case QUIC_EV_PATH_GONE:
        cap_paths(s);
        ev->type = SESSION_PATHS;
        ev->gone = qe->type == QUIC_EV_PATH_GONE ? qe->path : SESSION_NO_PATH;
        return true;
    case QUIC_EV_DGRAM_MAX:
        return false; /* seen by comparison, see mtu_changed */
    case QUIC_EV_CLOSED:
        if (s->closed_told)
            return false;
        s->closed_told = true;
        ev->type = SESSION_CLOSED;
        return true;
    default:
        return false;
    }
}

/* Feed the stream being read one step; `reading` ends when it has nothing more. */
static void read_step(struct session *s, ns_t now)
{
    bool fin = false;
    struct span data;
    size_t used = 0;
    int rc;

    data = quic_stream_peek(s->quic, s->read_id, &fin);
    if (data.n == 0 && !fin) {
        s->reading = false;
        return;
    }
    stream_note(s, s->read_id);
    rc = h3_recv(s->h3, s->read_id, data, fin, &used);
    if (rc != 0) {
        h3_failed(s, rc, now);
        s->reading = false;
        return;
    }
    s->consume_due = true;
    s->consume_n = used;
    s->consume_fin = fin && used == data.n;
}

static void consume(struct session *s)
{
    s->consume_due = false;
    quic_stream_consume(s->quic, s->read_id, s->consume_n);
    if (s->consume_fin) {
        s->reading = false;
        stream_let_go(s, s->read_id, true, false);
    }
}

static bool on_cip(struct session *s, const struct cip_event *ce, struct session_event *ev)
{
    switch (ce->type) {
    case CIP_ADDRESSES:
        ev->type = SESSION_ADDRESSES;
        return true;
    case CIP_ROUTES:
        ev->type = SESSION_ROUTES;
        return true;
    case CIP_REQUESTED:
        ev->type = SESSION_ASKED;
        ev->asked = ce->request;
        return true;
    case CIP_RATES:
        cap_paths(s);
        return false;
    case CIP_REFUSED:
        return false;
    }
    return false;
}

/* Tell `width` of the paths. */
static void look_at_paths(struct session *s, ns_t now)
{
    size_t head = s->numbered ? numbered_head(s->numbered) : cip_prefix(&s->cip)->len, max;
    struct quic_path_view v;

    width_begin(&s->width);
    for (size_t i = 0; i < quic_path_count(s->quic); i++) {
        enum link_priority p;

        if (quic_path_view(s->quic, i, now, &v) || !v.usable)
            continue;
        p = socks_priority(s->cfg.socks, &v.route);
        if (p == LINK_NEVER)
            continue;
        max = s->cfg.mtu_max ? s->cfg.mtu_max + head : SIZE_MAX;
        max = v.dgram_max_bytes < max ? v.dgram_max_bytes : max;
        width_path(&s->width, max > head ? max - head : 0,
                   (v.pto_count > 1 ? WIDTH_DEAF : 0) + (v.standby || p == LINK_BACKUP));
    }
}

static bool mtu_changed(struct session *s, struct session_event *ev, ns_t now)
{
    if (!s->open || (now < s->width_at && s->width.mtu))
        return false;
    s->width_at = now + WIDTH_PACE;
    look_at_paths(s, now);
    if (!width_look(&s->width, now))
        return false;
    cip_set_mtu(&s->cip, s->width.mtu);
    ev->type = SESSION_MTU;
    return true;
}

bool session_next_event(struct session *s, struct session_event *ev, ns_t now)
{
    for (;;) {
        struct cip_event ce;
        struct h3_event he;
        struct quic_event qe;

        memset(ev, 0, sizeof(*ev));
        if (s->open && cip_next_event(&s->cip, &ce)) {
            if (on_cip(s, &ce, ev))
                return true;
        } else if (h3_next_event(s->h3, &he)) {
            if (on_h3(s, &he, ev, now))
                return true;
        } else if (s->consume_due) {
            consume(s);
        } else if (s->reading) {
            read_step(s, now);
        } else if (quic_next_event(s->quic, &qe)) {
            if (on_quic(s, &qe, ev, now))
                return true;
        } else {
            return mtu_changed(s, ev, now);
        }
    }
}
