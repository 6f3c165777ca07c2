#include "test/sim/lanes.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define INSIDE  10 /* last byte of the address of lane 0 */
#define OUTSIDE 30
#define BURST   16

static struct lanes *lanes_of(const struct sim_host *host)
{
    return (struct lanes *)((char *)host->app.ctx - offsetof(struct lanes, w.xfer));
}

static bool is_server(const struct sim_host *host)
{
    return host == lanes_of(host)->w.server;
}

/* ---- the network --------------------------------------------------------------------- */

static bool steer(struct lanes *l, struct sim_packet *packet, uint8_t host, enum world_dir dir)
{
    size_t i = (size_t)(host - (host >= OUTSIDE ? OUTSIDE : INSIDE));
    struct sim_packet *copy = i < l->n ? sim_packet_copy(packet) : NULL;
    if (copy)
        l->lane[i].first[dir]->deliver(l->lane[i].first[dir], copy);
    return false;
}

static bool steer_up(void *ctx, struct sim_packet *packet)
{
    return steer(ctx, packet, packet->src.ip[3], UP);
}

static bool steer_down(void *ctx, struct sim_packet *packet)
{
    return steer(ctx, packet, packet->dst.ip[3], DOWN);
}

static bool pass(void *ctx, struct sim_packet *packet)
{
    (void)ctx, (void)packet;
    return true;
}

static bool gate(struct lane *lane, struct sim_packet *packet, enum world_dir dir)
{
    return !lane->cut[dir] && (!lane->keep || lane->keep(lane->l, packet, dir));
}

static bool gate_up(void *ctx, struct sim_packet *packet)
{
    return gate(ctx, packet, UP);
}

static bool gate_down(void *ctx, struct sim_packet *packet)
{
    return gate(ctx, packet, DOWN);
}

static void make_lane(struct lanes *l, size_t i, struct sim_node *join[2])
{
    struct lane *lane = &l->lane[i];
    struct sim *sim = &l->w.sim;
    struct sim_node *up = sim_filter(sim, gate_up, lane),
                    *down = sim_filter(sim, gate_down, lane);
    struct quic_addr outside = sim_addr((uint8_t)(OUTSIDE + i), 50000);
    lane->l = l;
    lane->addr = sim_addr((uint8_t)(INSIDE + i), 40000);
    sim_nat(sim, &lane->nat, &lane->addr, &outside);
    for (int d = UP; d <= DOWN; d++)
        lane->link[d] = sim_link(sim, 10000000, 100000, 10 * NS_PER_MS);
    lane->first[UP] = lane->nat.in;
    lane->nat.in->out = up;
    up->out = &lane->link[UP]->node;
    lane->link[UP]->node.out = join[UP];
    lane->first[DOWN] = down;
    down->out = &lane->link[DOWN]->node;
    lane->link[DOWN]->node.out = lane->nat.back;
    lane->nat.back->out = join[DOWN];
}

struct quic_route lanes_route(const struct lanes *l, size_t lane)
{
    return (struct quic_route){.local = l->lane[lane].addr, .remote = l->w.server_addr};
}

void lanes_rebind(struct lanes *l, size_t lane)
{
    struct sim_nat *nat = &l->lane[lane].nat;
    struct quic_addr outside = nat->outside;
    outside.port++;
    sim_nat_rebind(nat, &outside);
}

/* ---- floods -------------------------------------------------------------------------- */

/* One burst on a path; whether anything went. */
static bool burst(struct lanes_flood *f, struct sim_host *host, struct quic_conn *conn,
                  size_t path, size_t size)
{
    static uint8_t buf[BURST][2048];
    struct quic_dgram pkts[BURST];
    if (f->size && f->size < size)
        size = f->size;
    for (size_t i = 0; i < BURST; i++) {
        uint64_t number = f->sent + i;
        memset(buf[i] + 64, (int)number & 0xff, size);
        memcpy(buf[i] + 64, &number, sizeof(number));
        pkts[i] =
            (struct quic_dgram){.p = buf[i] + 64, .n = size, .headroom = 64, .tag = number + 1};
    }
    int r = sim_host_dgrams_on(host, conn, path, pkts, BURST);
    if (r > 0)
        f->sent += (uint64_t)r;
    return r > 0;
}

static void flood(struct lanes_flood *f, struct sim_host *host, struct quic_conn *conn)
{
    bool any = f->on && f->sent + BURST < LANES_SEEN;
    while (any) {
        any = false;
        for (size_t path = 0; path < quic_path_count(conn); path++) {
            struct quic_path_view v;
            if (quic_path_view(conn, path, host->node.sim->now, &v) != 0 || !v.usable ||
                v.silent || v.standby || v.dgram_max_bytes < 64)
                continue;
            any |= burst(f, host, conn, path, v.dgram_max_bytes);
        }
        any &= f->sent + BURST < LANES_SEEN;
    }
}

static void fates(struct lanes_flood *f, struct quic_conn *conn)
{
    struct quic_dgram_fate fate[64];
    size_t n;
    while ((n = quic_dgram_fates(conn, fate, ARRAY_LEN(fate))))
        for (size_t i = 0; i < n; i++) {
            uint8_t *told = &f->told[(fate[i].tag - 1) % LANES_SEEN];
            bool again = fate[i].fate == QUIC_FATE_SPURIOUS;
            f->fates[fate[i].fate]++;
            f->bad += again ? *told != 1 + QUIC_FATE_LOST : *told != 0;
            *told = (uint8_t)(1 + fate[i].fate);
        }
}

static void arrived(struct lanes_flood *f, size_t lane, const struct quic_dgram_rx *d)
{
    uint64_t number;
    if (d->n < sizeof(number)) {
        f->bad++;
        return;
    }
    memcpy(&number, d->p, sizeof(number));
    if (number >= LANES_SEEN || (d->n > 8 && d->p[8] != (uint8_t)number)) {
        f->bad++;
        return;
    }
    f->twice += f->seen[number];
    f->seen[number] = 1;
    f->got++;
    f->bytes += d->n;
    if (lane < LANES_MAX)
        f->by_lane[lane] += d->n;
}

/* The lane that a path index of `conn` runs on. */
static size_t lane_of(struct lanes *l, struct quic_conn *conn, size_t path, bool server)
{
    const struct path_route *r = path_current(&conn->path[path]);
    uint8_t host = server ? r->route.remote.ip[3] : r->route.local.ip[3];
    size_t i = (size_t)(host - (host >= OUTSIDE ? OUTSIDE : INSIDE));
    return i < l->n ? i : SIZE_MAX;
}

/* ---- the applications: those of the transfer, and ours around them ------------------- */

static struct sim_app inner[2];

int lanes_open(struct lanes *l, size_t lane)
{
    struct quic_route route = lanes_route(l, lane);
    int r = mp_open(l->conn[0], &route, l->w.sim.now, &l->path[lane]);
    if (r != 0)
        l->path[lane] = SIZE_MAX;
    sim_host_wake(l->w.client);
    return r;
}

static void on_event(struct sim_host *host, struct quic_conn *conn, const struct quic_event *ev)
{
    struct lanes *l = lanes_of(host);
    bool server = is_server(host);
    l->conn[server] = conn;
    switch (ev->type) {
    case QUIC_EV_PATHS_ALLOWED:
        while (!l->wait && l->next < l->n && lanes_open(l, l->next) == 0)
            l->next++;
        break;
    case QUIC_EV_PATH_NEW:
        l->news[server]++;
        break;
    case QUIC_EV_PATH_VALIDATED:
        l->valid[server]++;
        break;
    case QUIC_EV_PATH_GONE:
        l->gone[server]++;
        l->gone_code[server] = ev->code;
        break;
    default:
        inner[server].event(host, conn, ev);
    }
}

static void on_dgram(struct sim_host *host, struct quic_conn *conn,
                     const struct quic_dgram_rx *d)
{
    struct lanes *l = lanes_of(host);
    bool server = is_server(host);
    if (l->w.xfer.dgrams)
        inner[server].dgram(host, conn, d);
    else
        arrived(&l->flood[!server], lane_of(l, conn, d->path, server), d);
}

static void on_turn(struct sim_host *host, struct quic_conn *conn)
{
    struct lanes *l = lanes_of(host);
    bool server = is_server(host);
    if (!l->w.xfer.dgrams) /* before the transfer takes them */
        fates(&l->flood[server], conn);
    if (inner[server].turn)
        inner[server].turn(host, conn);
    flood(&l->flood[server], host, conn);
}

static bool on_busy(struct sim_host *host, struct quic_conn *conn)
{
    struct lanes *l = lanes_of(host);
    bool server = is_server(host);
    return l->flood[server].on || (inner[server].busy && inner[server].busy(host, conn));
}

static struct sim_app wrap(struct sim_app app, bool server)
{
    inner[server] = app;
    app.event = on_event;
    app.dgram = on_dgram;
    app.turn = on_turn;
    app.busy = on_busy;
    return app;
}

void lanes_init(struct lanes *l, uint64_t seed, size_t n)
{
    struct sim_node *join[2];
    memset(l, 0, sizeof(*l));
    world_init(&l->w, seed);
    l->n = n;
    l->next = 1;
    world_link(&l->w, UP, sim_filter(&l->w.sim, steer_up, l));
    world_link(&l->w, DOWN, sim_filter(&l->w.sim, steer_down, l));
    for (int d = UP; d <= DOWN; d++) {
        join[d] = sim_filter(&l->w.sim, pass, NULL);
        world_link(&l->w, (enum world_dir)d, join[d]);
    }
    for (size_t i = 0; i < n; i++)
        make_lane(l, i, join);
    for (size_t i = 0; i < LANES_MAX; i++)
        l->path[i] = i ? SIZE_MAX : 0;
    for (int i = 0; i < 2; i++) {
        l->flood[i].seen = calloc(LANES_SEEN, 1);
        l->flood[i].told = calloc(LANES_SEEN, 1);
        if (!l->flood[i].seen || !l->flood[i].told)
            abort();
    }
    l->w.client_addr = l->lane[0].addr;
    l->w.client_cfg.conn.ext = l->w.server_cfg.conn.ext = &mp_ext;
    l->w.client_cfg.conn.max_paths = l->w.server_cfg.conn.max_paths = 9;
}

void lanes_start(struct lanes *l)
{
    struct sim_app client = wrap(xfer_client_app(&l->w.xfer), false),
                   server = wrap(xfer_server_app(&l->w.xfer), true);
    world_start_app(&l->w, 0, &client, &server);
    l->conn[0] = world_connect(&l->w);
}

void lanes_free(struct lanes *l)
{
    for (int i = 0; i < 2; i++) {
        free(l->flood[i].seen);
        free(l->flood[i].told);
    }
    world_free(&l->w);
}

void lanes_run(struct lanes *l, double seconds)
{
    sim_host_wake(l->w.client);
    sim_host_wake(l->w.server);
    sim_run(&l->w.sim, l->w.sim.now + (ns_t)(seconds * (double)NS_PER_S), NULL, NULL);
}

bool lanes_check_conns(const struct lanes *l)
{
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; l->conn[i] && k < l->conn[i]->n_paths; k++) {
            const struct quic_path *p = &l->conn[i]->path[k];
            if (p->phase == PATH_FREE)
                continue;
            if (!recovery_check(&p->recovery) || !cid_local_check(&p->ours) ||
                !cid_remote_check(&p->theirs) || !ackrx_check(&p->ack[SPACE_APP]) ||
                p->used != (p->phase == PATH_OPEN))
                return false;
        }
    return !l->w.sim.livelock;
}

bool lanes_check(const struct lanes *l)
{
    return lanes_check_conns(l) && !l->w.xfer.bad_bytes && !l->flood[0].bad &&
           !l->flood[1].bad && !l->flood[0].twice && !l->flood[1].twice;
}
