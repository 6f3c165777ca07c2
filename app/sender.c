#include "app/sender.h"

#include "app/address.h"
#include "masque/ippkt.h"

#include <string.h>

#define BURST 64 /* packets looked at together; as many as one GSO send may hold */

void sender_init(struct sender *s, struct quic_conn *quic, struct device *device,
                 const struct socks *socks, const struct sched *sched)
{
    *s = (struct sender){
        .quic = quic, .device = device, .socks = socks, .sched = sched, .wake = NS_NEVER};
    queue_init(&s->queue, SENDER_QUEUE_BYTES, SENDER_QUEUE_AGE);
}

static struct packet *packet_of(struct queue_pkt *node)
{
    return (struct packet *)(void *)node;
}

/* Back to the pool with what the queue has dropped. */
static void put_dropped(struct sender *s)
{
    struct queue_pkt *node;

    while ((node = queue_dropped(&s->queue)))
        device_put(s->device, packet_of(node));
}

void sender_free(struct sender *s)
{
    queue_clear(&s->queue);
    put_dropped(s);
    queue_free(&s->queue);
    sched_state_del(s->state);
}

/* An empty queue: what is measured from here on is the speed of those who fill it. */
static void tell_idle(struct sender *s, ns_t now)
{
    if (s->queue.count == 0)
        for (size_t path = 0; path < quic_path_count(s->quic); path++)
            quic_app_limited(s->quic, path, now);
}

void sender_push(struct sender *s, struct packet *pkt, ns_t now)
{
    const uint8_t *inner = pkt->split.p;

    tell_idle(s, now);
    pkt->node.ect = ippkt_ecn(inner) != 0;
    pkt->node.udp = ippkt_is_udp(inner);
    pkt->node.mark = false;
    pkt->node.skip = 0;
    queue_push(&s->queue, &pkt->node, now);
    put_dropped(s);
}

/* ---- trains ---------------------------------------------------------------------------- */

/*
 * A train on the socket of a path. Where the path's link is gone any socket's will do: what the
 * connection has to send there is then lost.
 */
static struct udp_train *train_get(struct sender *s, size_t path, struct quic_train *t, ns_t now)
{
    struct ring_udp *sock = s->socks->n ? s->socks->item[0].sock : NULL;
    struct quic_path_view v;
    struct udp_train *u;

    if (sock && s->socks->item[0].ifindex && quic_path_view(s->quic, path, now, &v) == 0 &&
        socks_find(s->socks, &v.route))
        sock = socks_find(s->socks, &v.route);
    u = sock ? ring_train_get(sock) : NULL;
    if (!u) {
        s->stats.no_train++;
        s->starved = true;
        s->full |= path < 64 ? (uint64_t)1 << path : 0;
        return NULL;
    }
    *t = (struct quic_train){.buf = u->buf, .cap = UDP_TRAIN_BYTES, .max_count = BURST};
    return u;
}

/* The same bytes in a train of `sock`; NULL if it has none. */
static struct udp_train *train_copy(struct ring_udp *sock, struct udp_train *u, size_t n)
{
    struct udp_train *copy = ring_train_get(sock);

    if (copy)
        memcpy(copy->buf, u->buf, n);
    ring_train_put(u);
    return copy;
}

/* By the socket of its route, which is not that of its path where it probes another. */
static void train_send(struct sender *s, struct udp_train *u, const struct quic_train *t)
{
    struct ring_udp *sock = t->count ? socks_find(s->socks, &t->route) : NULL;

    if (!sock) {
        ring_train_put(u);
        return;
    }
    if (sock != u->sock && !(u = train_copy(sock, u, t->len)))
        return;
    u->n = t->len;
    u->segment = t->segment;
    u->remote = address_udp(&t->route.remote);
    u->local = address_udp(&t->route.local);
    u->ecn = t->ecn;
    ring_udp_send(u);
}

/* ---- the queue ------------------------------------------------------------------------- */

static enum sched_priority priority_of(enum link_priority p)
{
    return p == LINK_BACKUP      ? SCHED_BACKUP
           : p == LINK_SECONDARY ? SCHED_SECONDARY
                                 : SCHED_PRIMARY;
}

static struct sched_path path_snapshot(const struct sender *s, size_t path, ns_t now)
{
    struct quic_path_view v;
    size_t room;

    if (quic_path_view(s->quic, path, now, &v))
        return (struct sched_path){0};
    /* Held back by the pacer, a path may still have a window: then it is worth to wake up. */
    room = v.room_bytes;
    if (v.next_send > now && v.next_send != NS_NEVER && v.cwnd_bytes > v.in_flight_bytes)
        room = (size_t)(v.cwnd_bytes - v.in_flight_bytes);
    return (struct sched_path){
        .path = (uint32_t)path,
        .usable = v.usable && !(path < 64 && s->full >> path & 1),
        .srtt = v.srtt,
        .min_rtt = v.min_rtt,
        .rate_bps = v.pacing_bps,
        .cwnd_bytes = v.cwnd_bytes,
        .flight_bytes = v.in_flight_bytes,
        .room_bytes = room,
        .earliest = v.next_send,
        .mtu_bytes = v.dgram_max_bytes,
        .loss_ppm = v.packets_sent ? (uint32_t)(v.packets_lost * 1000000 / v.packets_sent) : 0,
        .priority = v.standby ? SCHED_BACKUP : priority_of(socks_priority(s->socks, &v.route)),
        .jitter = v.has_rtt ? v.rttvar : 0,
        .silence = v.pto_count > 1   ? SCHED_SILENT
                   : v.pto_count > 0 ? SCHED_SUSPECT
                                     : SCHED_HEARD,
    };
}

/* One look at paths and queue, and what was decided by it. */
struct pull {
    struct sched_path view[SCHED_PATHS_MAX];
    struct sched_head head[SCHED_HEADS];
    size_t paths, heads;
    size_t chosen; /* of the heads */
    struct sched_decision d;
};

/* As sched_next. */
static int decide(struct sender *s, struct pull *l, ns_t now)
{
    int rc;

    l->paths = quic_path_count(s->quic);
    if (l->paths > SCHED_PATHS_MAX)
        l->paths = SCHED_PATHS_MAX;
    if (l->paths > 1 && !s->state)
        s->state = sched_state_new();
    for (size_t i = 0; i < l->paths; i++)
        l->view[i] = path_snapshot(s, i, now);
    rc = sched_next(s->sched, s->state, l->view, l->paths, l->head, l->heads, now, &l->d);
    for (l->chosen = 0; rc != SCHED_WAIT && l->head[l->chosen].flow != l->d.flow;)
        l->chosen++;
    return rc;
}

/* Packets that go together, their heads written beside one another; flow by flow. */
struct burst {
    struct quic_dgram dgram[BURST];
    uint8_t head[BURST][DEVICE_HEAD_MAX + VNET_HEAD_MAX];
    size_t n;
    size_t bytes; /* yet to be filled */
    struct part {
        struct packet *first;
        const struct sched_head *head;
        size_t n;
    } part[SCHED_HEADS];
    size_t parts;
};

/* The next packet of `p`. */
static void burst_add(struct burst *b, const struct packet *p, size_t i)
{
    uint8_t *head = b->head[b->n];
    bool mark = p->node.mark && i == p->next;
    struct span body;
    size_t n = p->head_n, own;

    memcpy(head, p->head, n);
    own = vnet_split_head(&p->split, i, head + n, &body);
    if (mark)
        ippkt_set_ce(own ? head + n : (uint8_t *)(uintptr_t)body.p);
    n += own;
    b->dgram[b->n++] =
        (struct quic_dgram){.p = (uint8_t *)(uintptr_t)body.p,
                            .n = body.n,
                            .headroom = (size_t)(body.p - p->split.p) + RING_HEADROOM,
                            .head = span_of(head, n)};
}

/* Packets of one flow from `first` on, as many as there is room for; the very first in any case. */
static void part_fill(struct burst *b, struct part *part)
{
    const struct queue_pkt *node = &part->first->node;

    for (; node && b->n < BURST; node = queue_follow(node)) {
        const struct packet *p = (const struct packet *)(const void *)node;

        for (size_t i = p->next; i < p->split.count && b->n < BURST; i++) {
            size_t bytes = p->head_n + vnet_split_size(&p->split, i);

            if (bytes > b->bytes && b->n > 0) {
                b->bytes = 0;
                return;
            }
            b->bytes -= bytes < b->bytes ? bytes : b->bytes;
            burst_add(b, p, i);
            part->n++;
        }
    }
}

/* The packets of a flow, if it has any that are not longer than its head said. */
static bool burst_part(struct sender *s, struct burst *b, const struct sched_head *head,
                       ns_t now)
{
    struct queue_pkt *node = queue_first(&s->queue, head->flow, now);
    struct part *part = &b->part[b->parts];
    struct packet *p;

    if (!node || (node->unit > head->bytes && node->bytes > head->bytes))
        return false;
    p = packet_of(node);
    p->next += node->skip;
    node->skip = 0;
    for (size_t i = 0; i < b->parts; i++)
        if (b->part[i].first == p)
            return false;
    *part = (struct part){.first = p, .head = head};
    b->parts++;
    part_fill(b, part);
    return true;
}

/* False if CoDel has left nothing of what was decided on: look again. */
static bool burst_fill(struct sender *s, struct burst *b, const struct pull *l, ns_t now)
{
    const struct sched_head *chosen = &l->head[l->chosen];

    b->n = b->parts = 0;
    b->bytes = l->d.bytes;
    if (!burst_part(s, b, chosen, now))
        return false;
    for (size_t i = 0; l->d.shared && i < l->heads && b->n < BURST && b->bytes > 0; i++)
        if (i != l->chosen && l->head[i].lane == chosen->lane && l->head[i].bytes <= b->bytes)
            burst_part(s, b, &l->head[i], now);
    return true;
}

/* `n` packets of the flow that begins with `p` have left. Returns their bytes. */
static size_t part_left(struct sender *s, struct packet *p, size_t n, ns_t now)
{
    size_t total = 0;

    while (n > 0) {
        struct packet *next = packet_of(queue_follow(&p->node));
        size_t k = p->split.count - p->next, bytes = 0;

        if (k > n)
            k = n;
        for (size_t i = 0; i < k; i++)
            bytes += p->head_n + vnet_split_size(&p->split, p->next++);
        n -= k;
        total += bytes;
        if (queue_took(&s->queue, &p->node, (uint32_t)bytes, now))
            device_put(s->device, p);
        p = next;
    }
    return total;
}

/* The first `n` packets of a burst have left. */
static void burst_left(struct sender *s, const struct burst *b, const struct pull *l, size_t n,
                       ns_t now)
{
    for (size_t i = 0; i < b->parts && n > 0; i++) {
        const struct part *part = &b->part[i];
        size_t k = part->n < n ? part->n : n;

        sched_sent(s->sched, s->state, l->view, l->paths, part->head, &l->d,
                   part_left(s, part->first, k, now), now);
        n -= k;
    }
}

/* The first `n` packets of a burst once more, on the other paths of the decision. */
static void send_copies(struct sender *s, struct burst *b, const struct sched_decision *d,
                        size_t n, ns_t now)
{
    for (size_t i = 0; i < d->copies; i++) {
        struct quic_train t;
        struct udp_train *u = train_get(s, d->copy[i], &t, now);

        if (!u)
            continue;
        quic_dgram_send(s->quic, d->copy[i], &t, b->dgram, n, now);
        train_send(s, u, &t);
    }
}

/*
 * Send one burst of the queue. True if more may follow at once; else the reason stands in
 * `wake` or is a full socket, whose on_flush will come.
 */
static bool send_burst(struct sender *s, ns_t now)
{
    struct quic_train t;
    struct udp_train *u;
    struct burst burst;
    struct pull l;
    int rc;

    l.heads = queue_heads(&s->queue, now, l.head, SCHED_HEADS);
    if (l.heads == 0)
        return false;
    rc = decide(s, &l, now);
    if (rc == SCHED_WAIT) {
        s->wake = l.d.wake;
        return false;
    }
    if (rc == SCHED_TOOBIG && s->full)
        return false; /* perhaps not for those */
    if (rc == SCHED_TOOBIG)
        goto too_big;
    u = train_get(s, l.d.path, &t, now);
    if (!u)
        return l.d.path < 64; /* another path may take it */
    if (!burst_fill(s, &burst, &l, now)) {
        train_send(s, u, &t);
        return true;
    }
    rc = quic_dgram_send(s->quic, l.d.path, &t, burst.dgram, burst.n, now);
    train_send(s, u, &t);
    if (rc == QUIC_TOOBIG)
        goto too_big;
    if (rc <= 0) /* an ACK makes room, or quic_deadline says when the pacer does */
        return false;
    send_copies(s, &burst, &l.d, (size_t)rc, now);
    burst_left(s, &burst, &l, (size_t)rc, now);
    return true;

too_big:
    s->stats.too_big++;
    queue_drop(&s->queue, l.d.flow);
    return true;
}

/* Everything that is no DATAGRAM: acknowledgements, handshake, streams, probes. */
static void send_control(struct sender *s, ns_t now)
{
    s->control_first = false;
    for (size_t path = 0; path < quic_path_count(s->quic); path++) {
        struct quic_train t;
        struct udp_train *u;
        int rc = 0;

        do {
            u = train_get(s, path, &t, now);
            if (!u)
                break;
            rc = quic_send(s->quic, path, &t, now);
            train_send(s, u, &t);
        } while (rc > 0);
        if (rc == QUIC_BLOCKED)
            s->control_first = true;
    }
}

void sender_flush(struct sender *s, ns_t now)
{
    s->wake = NS_NEVER;
    s->starved = false;
    s->full = 0;
    if (s->control_first)
        send_control(s, now);
    while (send_burst(s, now))
        ;
    put_dropped(s);
    send_control(s, now);
    tell_idle(s, now);
    queue_trim(&s->queue, now);
}
