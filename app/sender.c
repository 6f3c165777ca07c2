#include "app/sender.h"

#include "app/address.h"

#include <string.h>

#define BURST 64 /* packets looked at together; as many as one GSO send may hold */

void sender_init(struct sender *s, struct quic_conn *quic, struct device *device,
                 struct ring_udp *sock, const struct sched *sched)
{
    *s = (struct sender){
        .quic = quic, .device = device, .sock = sock, .sched = sched, .wake = NS_NEVER};
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
}

/* An empty queue: what is measured from here on is the speed of those who fill it. */
static void tell_idle(struct sender *s, ns_t now)
{
    if (!s->queue.head)
        for (size_t path = 0; path < quic_path_count(s->quic); path++)
            quic_app_limited(s->quic, path, now);
}

void sender_push(struct sender *s, struct packet *pkt, ns_t now)
{
    tell_idle(s, now);
    queue_push(&s->queue, &pkt->node, now);
    put_dropped(s);
}

/* ---- trains ---------------------------------------------------------------------------- */

static struct udp_train *train_get(struct sender *s, struct quic_train *t)
{
    struct udp_train *u = ring_train_get(s->sock);

    if (!u) {
        s->stats.no_train++;
        s->starved = true;
        return NULL;
    }
    *t = (struct quic_train){.buf = u->buf, .cap = UDP_TRAIN_BYTES, .max_count = BURST};
    return u;
}

static void train_send(struct udp_train *u, const struct quic_train *t)
{
    if (t->count == 0) {
        ring_train_put(u);
        return;
    }
    u->n = t->len;
    u->segment = t->segment;
    u->remote = address_udp(&t->route.remote);
    u->local = address_udp(&t->route.local);
    u->ifindex = t->route.ifindex;
    u->ecn = t->ecn;
    ring_udp_send(u);
}

/* ---- the queue ------------------------------------------------------------------------- */

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
        .usable = v.usable,
        .srtt = v.srtt,
        .min_rtt = v.min_rtt,
        .rate_bps = v.pacing_bps,
        .cwnd_bytes = v.cwnd_bytes,
        .flight_bytes = v.in_flight_bytes,
        .room_bytes = room,
        .earliest = v.next_send,
        .mtu_bytes = v.dgram_max_bytes,
        .loss_ppm = v.packets_sent ? (uint32_t)(v.packets_lost * 1000000 / v.packets_sent) : 0,
    };
}

/* Which path, and how many bytes of the queue from `first` on. As sched_next. */
static int decide(struct sender *s, const struct queue_pkt *first, ns_t now,
                  struct sched_decision *out)
{
    struct sched_path views[SCHED_PATHS_MAX];
    struct sched_head head = {first->flow, first->unit, s->queue.bytes};
    size_t paths = quic_path_count(s->quic);

    if (paths > SCHED_PATHS_MAX)
        paths = SCHED_PATHS_MAX;
    for (size_t i = 0; i < paths; i++)
        views[i] = path_snapshot(s, i, now);
    return sched_next(s->sched, views, paths, &head, 1, now, out);
}

/* Packets of the queue that go together, their heads written beside one another. */
struct burst {
    struct quic_dgram dgram[BURST];
    uint8_t head[BURST][DEVICE_HEAD_MAX + VNET_HEAD_MAX];
    size_t n;
};

/* The next packet of `p`. */
static void burst_add(struct burst *b, const struct packet *p, size_t i)
{
    uint8_t *head = b->head[b->n];
    struct span body;
    size_t n = p->head_n;

    memcpy(head, p->head, n);
    n += vnet_split_head(&p->split, i, head + n, &body);
    b->dgram[b->n++] =
        (struct quic_dgram){.p = (uint8_t *)(uintptr_t)body.p,
                            .n = body.n,
                            .headroom = (size_t)(body.p - p->split.p) + RING_HEADROOM,
                            .head = span_of(head, n)};
}

/* Packets from the front of the queue, of not more than `bytes` together, at least one. */
static void burst_fill(struct burst *b, const struct queue_pkt *node, size_t bytes)
{
    size_t total = 0;

    b->n = 0;
    for (; node && b->n < BURST; node = node->next) {
        const struct packet *p = (const struct packet *)(const void *)node;

        for (size_t i = p->next; i < p->split.count && b->n < BURST; i++) {
            total += p->head_n + vnet_split_size(&p->split, i);
            if (total > bytes && b->n > 0)
                return;
            burst_add(b, p, i);
        }
    }
}

/* The first `n` packets of the queue have left. */
static void burst_left(struct sender *s, size_t n)
{
    while (n > 0) {
        struct packet *p = packet_of(s->queue.head);
        size_t k = p->split.count - p->next, bytes = 0;

        if (k > n)
            k = n;
        for (size_t i = 0; i < k; i++)
            bytes += p->head_n + vnet_split_size(&p->split, p->next++);
        n -= k;
        if (queue_took(&s->queue, (uint32_t)bytes))
            device_put(s->device, p);
    }
}

/*
 * Send one burst of the queue. True if more may follow at once; else the reason stands in
 * `wake` or is a full socket, whose on_flush will come.
 */
static bool send_burst(struct sender *s, ns_t now)
{
    struct queue_pkt *first = queue_head(&s->queue, now);
    struct sched_decision d;
    struct quic_train t;
    struct udp_train *u;
    struct burst burst;
    int rc;

    if (!first)
        return false;
    rc = decide(s, first, now, &d);
    if (rc == SCHED_TOOBIG)
        goto too_big;
    if (rc) {
        s->wake = d.wake;
        return false;
    }
    u = train_get(s, &t);
    if (!u)
        return false;
    burst_fill(&burst, first, d.bytes);
    rc = quic_dgram_send(s->quic, d.path, &t, burst.dgram, burst.n, now);
    train_send(u, &t);
    if (rc == QUIC_TOOBIG)
        goto too_big;
    if (rc <= 0) /* an ACK makes room, or quic_deadline says when the pacer does */
        return false;
    burst_left(s, (size_t)rc);
    return true;

too_big:
    s->stats.too_big++;
    queue_drop(&s->queue);
    return true;
}

/* Everything that is no DATAGRAM: acknowledgements, handshake, streams, probes. */
static void send_control(struct sender *s, ns_t now)
{
    s->control_first = false;
    for (size_t path = 0; path < quic_path_count(s->quic); path++) {
        struct quic_train t;
        struct udp_train *u;
        int rc;
        do {
            u = train_get(s, &t);
            if (!u)
                return;
            rc = quic_send(s->quic, path, &t, now);
            train_send(u, &t);
        } while (rc > 0);
        if (rc == QUIC_BLOCKED)
            s->control_first = true;
    }
}

void sender_flush(struct sender *s, ns_t now)
{
    s->wake = NS_NEVER;
    s->starved = false;
    if (s->control_first)
        send_control(s, now);
    while (send_burst(s, now))
        ;
    put_dropped(s);
    send_control(s, now);
    tell_idle(s, now);
}
