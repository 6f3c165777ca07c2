#include "app/sender.h"

#include "app/address.h"
#include "masque/ippkt.h"

#include <string.h>

#define MUTE_PTOS 2 /* probes that no path has answered */

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

void sender_number(struct sender *s, struct numbered *n, size_t prefix_n)
{
    s->numbered = n;
    s->prefix_n = prefix_n;
    s->queue.may_number = n != NULL;
}

void sender_push(struct sender *s, struct packet *pkt, ns_t now)
{
    const uint8_t *inner = pkt->split.p;

    tell_idle(s, now);
    pkt->node.ect = ippkt_ecn(inner) != 0;
    pkt->node.elastic = !ippkt_is_udp(inner) || ippkt_is_quic(inner, pkt->split.n);
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
static struct udp_train *train_get(struct sender *s, size_t path, struct quic_train *t,
                                   ns_t now)
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

/* One look at paths and queue, and what was decided by it. */
struct pull {
    struct sched_path view[SCHED_PATHS_MAX];
    size_t index[SCHED_PATHS_MAX]; /* of each in the connection */
    struct sched_head head[SCHED_HEADS];
    size_t paths, heads;
    size_t chosen; /* of the heads */
    struct sched_decision d;
};

/* Take snapshots of the paths that there are. */
static void look(const struct sender *s, struct pull *l, ns_t now)
{
    size_t n = quic_path_count(s->quic);
    size_t reserve = s->numbered ? numbered_head(s->numbered) - s->prefix_n : 0;

    l->paths = 0;
    for (size_t i = 0; i < n && l->paths < SCHED_PATHS_MAX; i++) {
        struct sched_path *p = &l->view[l->paths];

        *p = lookout_path(&s->lookout, s->quic, s->socks, i, reserve, now);
        if (!p->usable || (i < 64 && s->full >> i & 1))
            continue;
        l->index[l->paths++] = i;
    }
}

/* The index of the path with that ID, one of those looked at. */
static size_t index_of(const struct pull *l, uint32_t id)
{
    size_t i = 0;

    while (l->view[i].path != id)
        i++;
    return l->index[i];
}

/* As sched_next. */
static int decide(struct sender *s, struct pull *l, ns_t now)
{
    int rc;

    look(s, l, now);
    if (l->paths > 1 && !s->state)
        s->state = sched_state_new();
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
    size_t bytes;  /* yet to be filled */
    bool numbered; /* they are, as packets */
    unsigned flow; /* of that number space */
    uint32_t path; /* which go over it */
    struct part {
        struct packet *first;
        const struct sched_head *head;
        size_t n;
    } part[SCHED_HEADS];
    size_t parts;
};

/* The next packet of `p`. */
static void burst_add(struct sender *s, struct burst *b, const struct packet *p, size_t i,
                      ns_t now)
{
    uint8_t *head = b->head[b->n];
    bool mark = p->node.mark && i == p->next;
    size_t n = b->numbered ? numbered_head(s->numbered) : p->head_n, own;
    uint64_t tag = 0;
    struct span body;

    own = vnet_split_head(&p->split, i, head + n, &body);
    if (mark)
        ippkt_set_ce(own ? head + n : (uint8_t *)(uintptr_t)body.p);
    if (b->numbered)
        numbered_out(s->numbered, b->flow, b->path, span_of(head + n, own), body, now, head,
                     &tag);
    else
        memcpy(head, p->head, n);
    b->dgram[b->n++] =
        (struct quic_dgram){.p = (uint8_t *)(uintptr_t)body.p,
                            .n = body.n,
                            .headroom = (size_t)(body.p - p->split.p) + RING_HEADROOM,
                            .tag = tag,
                            .head = span_of(head, n + own)};
}

/* Packets of one flow from `first` on, as many as there is room for; the very first in any case. */
static void part_fill(struct sender *s, struct burst *b, struct part *part, ns_t now)
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
            burst_add(s, b, p, i, now);
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
    part_fill(s, b, part, now);
    return true;
}

/* False if CoDel has left nothing of what was decided on: look again. */
static bool burst_fill(struct sender *s, struct burst *b, const struct pull *l, ns_t now)
{
    const struct sched_head *chosen = &l->head[l->chosen];

    b->n = b->parts = 0;
    b->bytes = l->d.bytes;
    b->numbered = l->d.numbered && s->numbered;
    b->flow = numbered_flow(l->d.flow);
    b->path = l->d.path;
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

/* Only the first `n` packets of a burst have left: the numbers of the others are free again. */
static void burst_unsent(struct sender *s, struct burst *b, size_t n)
{
    while (b->numbered && b->n > n)
        numbered_unsent(s->numbered, b->flow, b->dgram[--b->n].tag);
}

/* The first `n` packets of a burst once more, on the other paths of the decision. */
static void send_copies(struct sender *s, struct burst *b, const struct pull *l, size_t n,
                        ns_t now)
{
    for (size_t i = 0; i < l->d.copies; i++) {
        size_t path = index_of(l, l->d.copy[i]);
        struct quic_train t;
        struct udp_train *u = train_get(s, path, &t, now);

        if (!u)
            continue;
        quic_dgram_send(s->quic, path, &t, b->dgram, n, now);
        train_send(s, u, &t);
    }
}

/*
 * Paths that might take more and are not wanted: what they carry says nothing of what they
 * could.
 */
static void tell_spared(struct sender *s, const struct pull *l, ns_t now)
{
    for (size_t i = 0; i < l->paths; i++)
        if (l->view[i].room_bytes >= l->view[i].mtu_bytes && l->view[i].earliest <= now)
            quic_app_limited(s->quic, l->index[i], now);
}

/*
 * Send one burst of the queue, or of `prompt` packets only. True if more may follow at once; else
 * the reason stands in `wake` or is a full socket, whose on_flush will come.
 */
static bool send_burst(struct sender *s, bool prompt, ns_t now)
{
    struct quic_train t;
    struct udp_train *u;
    struct burst burst;
    struct pull l;
    size_t path;
    int rc;

    l.heads = queue_heads(&s->queue, now, l.head, SCHED_HEADS);
    while (prompt && l.heads > 0 &&
           l.head[l.heads - 1].lane != SCHED_PROMPT) /* those are last */
        l.heads--;
    if (l.heads == 0)
        return false;
    rc = decide(s, &l, now);
    if (rc == SCHED_WAIT) {
        s->wake = ns_min(s->wake, l.d.wake);
        if (!prompt)
            tell_spared(s, &l, now);
        return false;
    }
    if (rc == SCHED_TOOBIG && s->full)
        return false; /* perhaps not for those */
    if (rc == SCHED_TOOBIG)
        goto too_big;
    path = index_of(&l, l.d.path);
    u = train_get(s, path, &t, now);
    if (!u)
        return path < 64; /* another path may take it */
    if (!burst_fill(s, &burst, &l, now)) {
        train_send(s, u, &t);
        return true;
    }
    rc = quic_dgram_send(s->quic, path, &t, burst.dgram, burst.n, now);
    train_send(s, u, &t);
    burst_unsent(s, &burst, rc > 0 ? (size_t)rc : 0);
    if (rc == QUIC_TOOBIG)
        goto too_big;
    if (rc <= 0) /* an ACK makes room, or quic_deadline says when the pacer does */
        return false;
    if (burst.numbered) {
        queue_numbered(&s->queue, l.d.flow);
        for (size_t i = 0; i < (size_t)rc; i++)
            numbered_left(s->numbered, burst.flow, (size_t)rc - 1 - i, burst.dgram[i].head,
                          span_of(burst.dgram[i].p, burst.dgram[i].n), now);
    }
    send_copies(s, &burst, &l, (size_t)rc, now);
    burst_left(s, &burst, &l, (size_t)rc, now);
    return true;

too_big:
    s->stats.too_big++;
    queue_drop(&s->queue, l.d.flow);
    return true;
}

/* ---- numbered flows, beside new packets -------------------------------------------------- */

/* A path for `bytes` that can't wait. As sched_urgent; `wake` is moved up. */
static int urgent(struct sender *s, struct pull *l, size_t bytes, ns_t now)
{
    int rc;

    look(s, l, now);
    rc = sched_urgent(l->view, l->paths, bytes, now, &l->d);
    if (rc == SCHED_WAIT)
        s->wake = ns_min(s->wake, l->d.wake);
    return rc;
}

/* Send lost packets again, a burst for one path. True if there may be more. */
static bool send_again(struct sender *s, ns_t now)
{
    uint8_t head[NUMBERED_HEAD_MAX];
    struct repair_item it;
    struct quic_train t;
    struct udp_train *u;
    struct pull l;
    bool idle = s->queue.count == 0;
    size_t n = numbered_again(s->numbered, idle, now, &it, head), sent = 0, path;
    int rc = n ? urgent(s, &l, it.pkt.n + s->prefix_n, now) : SCHED_WAIT;

    if (rc == SCHED_TOOBIG && !s->full) {
        repair_give_up(&s->numbered->repair, it.tag);
        return true;
    }
    if (rc)
        return false;
    path = index_of(&l, l.d.path);
    u = train_get(s, path, &t, now);
    if (!u)
        return path < 64; /* another path may take it */
    while (n > 0 && sent < l.d.bytes && t.count < BURST) {
        struct quic_dgram d = {.p = (uint8_t *)(uintptr_t)it.pkt.p,
                               .n = it.pkt.n,
                               .tag = it.tag,
                               .head = span_of(head, n)};

        rc = quic_dgram_send(s->quic, path, &t, &d, 1, now);
        if (rc != 1)
            break;
        sent += n + it.pkt.n;
        repair_resent(&s->numbered->repair, it.tag, l.d.path);
        n = numbered_again(s->numbered, idle, now, &it, head);
    }
    train_send(s, u, &t);
    return sent > 0;
}

/*
 * Lost packets, first in line. What a dead path leaves may take long: prompt packets, with the
 * acknowledgements of flows that come the other way, go in turn with it.
 */
static void send_lost(struct sender *s, ns_t now)
{
    do
        if (s->numbered->repair.pressing > 0)
            send_burst(s, true, now);
    while (send_again(s, now));
}

/* Floors and reports. */
static bool send_note(struct sender *s, ns_t now)
{
    uint8_t note[NUMBERED_NOTE];
    struct quic_train t;
    struct udp_train *u;
    struct pull l;
    struct quic_dgram d = {.p = note};

    if (!numbered_note_due(s->numbered, now))
        return false;
    u = urgent(s, &l, sizeof(note), now) ? NULL : train_get(s, index_of(&l, l.d.path), &t, now);
    if (!u) {
        numbered_note_later(s->numbered, now);
        return false;
    }
    d.n = numbered_note(s->numbered, now, note);
    if (d.n > 0)
        quic_dgram_send(s->quic, index_of(&l, l.d.path), &t, &d, 1, now);
    train_send(s, u, &t);
    return true;
}

/* The parity of a block of packets: where it arrives first. True if there may be more. */
static bool send_parity(struct sender *s, ns_t now)
{
    uint8_t head[NUMBERED_HEAD_MAX];
    struct quic_train t;
    struct udp_train *u;
    struct pull l;
    struct span pkt;
    size_t n = numbered_parity(s->numbered, now, &pkt, head), path;
    int rc = n ? urgent(s, &l, pkt.n + s->prefix_n, now) : SCHED_WAIT;
    struct quic_dgram d;

    if (rc == SCHED_WAIT)
        return false;
    if (rc == 0) {
        path = index_of(&l, l.d.path);
        u = train_get(s, path, &t, now);
        if (!u)
            return false;
        d = (struct quic_dgram){
            .p = (uint8_t *)(uintptr_t)pkt.p, .n = pkt.n, .head = span_of(head, n)};
        rc = quic_dgram_send(s->quic, path, &t, &d, 1, now);
        train_send(s, u, &t);
        if (rc == 0)
            return false;
    }
    parity_sent(&s->numbered->parity_out, now);
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

/* Whether no path answers: what would leave would be lost. */
static bool mute(const struct sender *s, ns_t now)
{
    struct quic_path_view v;
    bool any = false;

    for (size_t i = 0; i < quic_path_count(s->quic); i++) {
        if (quic_path_view(s->quic, i, now, &v) || !v.usable)
            continue;
        if (v.pto_count < MUTE_PTOS)
            return false;
        any = true;
    }
    return any;
}

/*
 * In an outage packets wait, the latest of each flow, so that all flows go on right after it. And
 * while what a dead path has lost goes before them, no flow is to blame that they wait.
 */
static bool hold_back(struct sender *s, ns_t now)
{
    bool muted = (s->queue.count > 0 || s->numbered) && mute(s, now);
    bool pressed = s->numbered && s->numbered->repair.pressing > 0;

    queue_pause(&s->queue, muted || pressed || s->lookout.held, now);
    s->queue.max_held = muted ? SENDER_MUTE_BYTES : SENDER_QUEUE_BYTES;
    return muted;
}

/*
 * A sender like CUBIC goes down to 0.7 of its window: for the links to stay busy through that,
 * there must have been half a round trip in the queue; a whole one where links lose packets, as
 * it hears nothing while one is sent again. Prompt flows don't wait for it.
 */
static ns_t bulk_target(const struct sender *s)
{
    ns_t rtt = s->lookout.longest_rtt;

    rtt = ns_min(s->lookout.parity ? rtt : rtt / 2, SENDER_TARGET_MOST);
    return ns_max(QUEUE_TARGET_BULK, rtt);
}

void sender_flush(struct sender *s, ns_t now)
{
    bool muted;

    s->wake = NS_NEVER;
    s->starved = false;
    s->full = 0;
    if (s->numbered)
        numbered_fates(s->numbered, s->quic);
    lookout_watch(&s->lookout, s->quic, s->numbered, now);
    s->wake = s->lookout.check;
    s->queue.lossy = s->numbered && (s->lookout.lossy || s->lookout.unproven);
    if (s->numbered)
        s->numbered->parity_out.on = s->lookout.parity || s->lookout.unproven;
    s->queue.slack = s->lookout.slack;
    s->queue.target[SCHED_BULK] = bulk_target(s);
    if (s->control_first)
        send_control(s, now);
    muted = hold_back(s, now);
    if (s->numbered && !muted)
        send_lost(s, now);
    while (s->numbered && send_note(s, now))
        ;
    do
        while (s->numbered && !muted && send_parity(s, now))
            ;
    while (!muted && send_burst(s, false, now));
    ring_hasten(s->device->ring);
    put_dropped(s);
    send_control(s, now);
    tell_idle(s, now);
    queue_trim(&s->queue, now);
}
