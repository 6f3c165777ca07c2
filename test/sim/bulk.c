#include "test/sim/bulk.h"

#include <stdlib.h>
#include <string.h>

#include "quic/conn.h"

#define BATCH     32
#define HEADROOM  64
#define DATA_MAX  1500
#define REPORT    60 /* bytes of a report */
#define STEP      NS_PER_MS
#define WIRE_OVER 30 /* bytes of a packet beside a DATAGRAM's payload, about */

/* Of each client: what keeps flows from moving in lock-step. */
#define ACCESS_BPS    1000000000
#define ACCESS_QUEUE  10000000
#define ACCESS_JITTER (200 * NS_PER_US)

struct bulk_fan {
    struct sim_node node;
    struct bulk *b;
};

/* The first byte of a DATAGRAM says which flow it belongs to. */

static bool has_data(const struct bulk_flow *f, ns_t now)
{
    if (f->mute || now < f->start)
        return false;
    if (f->window && f->sent - f->reported >= f->window)
        return false;
    return !f->offer_bps || (double)f->offered < (double)ns_sub(now, f->start) *
                                                     (double)f->offer_bps / 8 /
                                                     (double)NS_PER_S;
}

/* How many packets of `size` bytes wait, at most BATCH. */
static size_t waiting(const struct bulk_flow *f, size_t size, ns_t now)
{
    if (!has_data(f, now))
        return 0;
    uint64_t n = BATCH;
    if (f->window && f->window - (f->sent - f->reported) < n)
        n = f->window - (f->sent - f->reported);
    if (f->offer_bps) {
        double left =
            (double)ns_sub(now, f->start) * (double)f->offer_bps / 8 / (double)NS_PER_S -
            (double)f->offered;
        uint64_t packets = (uint64_t)(left / (double)size) + 1;
        n = packets < n ? packets : n;
    }
    return (size_t)n;
}

static void client_turn(struct sim_host *host, struct quic_conn *conn)
{
    static uint8_t buf[BATCH][HEADROOM + DATA_MAX];
    struct bulk_flow *f = quic_user(conn);
    ns_t now = host->node.sim->now;
    size_t size = quic_dgram_max(conn, 0), n;
    if (!f || size == 0)
        return;
    if (f->dry)
        quic_app_limited(conn, 0, now);
    f->dry = false;
    if (size > DATA_MAX)
        size = DATA_MAX;
    while ((n = waiting(f, size, now))) {
        struct quic_dgram pkt[BATCH];
        for (size_t i = 0; i < n; i++) {
            buf[i][HEADROOM] = (uint8_t)(f - f->b->flow);
            pkt[i] =
                (struct quic_dgram){.p = buf[i] + HEADROOM, .n = size, .headroom = HEADROOM};
        }
        int sent = sim_host_dgrams(host, conn, pkt, n);
        if (sent <= 0)
            return;
        f->sent += (uint64_t)sent;
        f->offered += (uint64_t)sent * size;
        if ((size_t)sent < n)
            return;
    }
    f->dry = true;
}

static bool client_busy(struct sim_host *host, struct quic_conn *conn)
{
    struct bulk_flow *f = quic_user(conn);
    return f && has_data(f, host->node.sim->now);
}

static void server_dgram(struct sim_host *host, struct quic_conn *conn,
                         const struct quic_dgram_rx *d)
{
    static const uint8_t report[REPORT];
    struct bulk *b = host->app.ctx;
    if (d->n == 0 || d->p[0] >= b->n)
        abort();
    struct bulk_flow *f = &b->flow[d->p[0]];
    f->peer = conn;
    f->got++;
    f->got_bytes += d->n + WIRE_OVER;
    if (f->window && f->got % 2 == 0)
        sim_host_dgram(host, conn, span_of(report, sizeof(report)), 0);
}

static void client_dgram(struct sim_host *host, struct quic_conn *conn,
                         const struct quic_dgram_rx *d)
{
    struct bulk_flow *f = quic_user(conn);
    (void)host;
    (void)d;
    f->reported += 2;
    f->window += 2;
}

/* Back to the client whose address it is. */
static void fan_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct bulk *b = ((struct bulk_fan *)node)->b;
    for (size_t i = 0; i < b->n; i++) {
        if (quic_addr_eq(&b->flow[i].host->addr, &packet->dst)) {
            b->flow[i].host->node.deliver(&b->flow[i].host->node, packet);
            return;
        }
    }
    sim_drop(node, packet);
}

void bulk_init(struct bulk *b, uint64_t seed, uint64_t bps, uint64_t queue, ns_t rtt)
{
    memset(b, 0, sizeof(*b));
    world_init(&b->w, seed);
    b->link[UP] = sim_link(&b->w.sim, bps, queue, rtt / 2);
    b->link[DOWN] = sim_link(&b->w.sim, 1000000000, 10000000, rtt / 2);
    world_link(&b->w, UP, &b->link[UP]->node);
    world_link(&b->w, DOWN, &b->link[DOWN]->node);
}

static void start(struct bulk *b)
{
    struct world *w = &b->w;
    struct sim_app server = {.ctx = b, .dgram = server_dgram};
    struct bulk_fan *fan = calloc(1, sizeof(*fan));
    if (!fan)
        abort();
    w->server = sim_host(&w->sim, &w->server_addr, &w->server_cfg, &server);
    w->last[UP]->out = &w->server->node;
    w->server->node.out = w->first[DOWN];
    fan->node.deliver = fan_deliver;
    fan->b = b;
    sim_add(&w->sim, &fan->node);
    w->last[DOWN]->out = &fan->node;
}

struct bulk_flow *bulk_flow(struct bulk *b, const char *cc)
{
    struct sim_app app = {.ctx = b,
                          .turn = client_turn,
                          .dgram = client_dgram,
                          .fair = true,
                          .busy = client_busy};
    struct world *w = &b->w;
    if (b->n == BULK_FLOWS)
        abort();
    if (!w->server)
        start(b);
    struct bulk_flow *f = &b->flow[b->n];
    struct quic_addr addr = sim_addr((uint8_t)(10 + b->n), 40000);
    b->n++;
    w->client_cfg.conn.cc = cc;
    f->b = b;
    f->start = w->sim.now;
    f->host = sim_host(&w->sim, &addr, &w->client_cfg, &app);
    f->access = sim_link(&w->sim, ACCESS_BPS, ACCESS_QUEUE, 0);
    f->access->jitter = ACCESS_JITTER;
    f->host->node.out = &f->access->node;
    f->access->node.out = w->first[UP];
    f->conn = sim_host_connect(f->host, "sim.test", &w->server_addr);
    if (!f->conn)
        abort();
    quic_set_user(f->conn, f);
    return f;
}

static void wake(struct bulk *b)
{
    for (size_t i = 0; i < b->n; i++)
        sim_host_wake(b->flow[i].host);
}

void bulk_run(struct bulk *b, double seconds)
{
    ns_t end = b->w.sim.now + (ns_t)(seconds * (double)NS_PER_S);
    bool ticks = false;
    for (size_t i = 0; i < b->n; i++)
        ticks |= b->flow[i].offer_bps || b->flow[i].start > b->w.sim.now;
    while (ticks && b->w.sim.now < end) {
        sim_run(&b->w.sim, ns_min(end, b->w.sim.now + STEP), NULL, NULL);
        wake(b);
    }
    wake(b);
    sim_run(&b->w.sim, end, NULL, NULL);
}

void bulk_share(struct bulk *b, double seconds, double *share)
{
    uint64_t before[BULK_FLOWS];
    for (size_t i = 0; i < b->n; i++)
        before[i] = b->flow[i].got_bytes;
    bulk_run(b, seconds);
    for (size_t i = 0; i < b->n; i++)
        share[i] =
            (double)(b->flow[i].got_bytes - before[i]) * 8 / seconds / (double)b->link[UP]->bps;
}

struct recovery *bulk_recovery(const struct bulk_flow *f)
{
    return &f->conn->path[0].recovery;
}

bool bulk_free(struct bulk *b)
{
    bool sound = !b->w.sim.livelock;
    for (size_t i = 0; i < b->n; i++)
        sound &= recovery_check(bulk_recovery(&b->flow[i]));
    world_free(&b->w);
    return sound;
}
