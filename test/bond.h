/*
 * bond - the whole program but its loop, in the simulator: two sessions joined by several
 * links, and between their TUNs a world (sim/world.h), so that an inner QUIC connection with
 * CUBIC goes through the tunnel.
 *
 *     world's client = TUN, session, paths === link 0 .. n-1 === session, TUN = world's server
 *
 * The functions of the loop (app/ring.h) that sessions call are defined here, in virtual time.
 * Packets that enter the tunnel are numbered by their IPv4 identification; where they leave
 * it, order and loss are seen by that.
 */
#ifndef TEST_BOND_H
#define TEST_BOND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/address.h"
#include "app/session.h"
#include "masque/request.h"
#include "mp/mp.h"
#include "quic/endpoint.h"
#include "test/sim/link.h"
#include "test/sim/world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BOND_LANES  8
#define BOND_TRAINS 8
#define BOND_BUSY   2000 /* turns of an end in a millisecond */

enum { CLIENT, SERVER, SIDES };

struct ring_udp {
    struct bond_end *end;
    size_t lane;
};

struct ring_tun {
    struct bond_end *end;
};

/* Where the world's packets enter and leave the tunnel: towards `out`. */
struct bond_gate {
    struct sim_node node;
    struct bond_end *end; /* by which they enter */
};

struct bond_end {
    struct sim_node node; /* outer packets arrive here */
    struct bond *b;
    int side;
    bool has, awake;
    ns_t at; /* the next turn */
    struct session s;
    struct device device;
    struct socks socks;
    struct ring_udp sock[BOND_LANES];
    struct ring_tun tun;
    struct sim_packet *inbox[2], **tail[2]; /* from the links, from the world */
    struct bond_gate *gate;
    uint16_t id_in; /* of the next packet that enters */
    bool any_out;
    uint16_t id_out; /* the one expected next to leave at the far end */
    uint64_t entered, left, missing, overtaken, turns;
    uint64_t busy; /* turns since `busy_at` */
    ns_t busy_at;
    ns_t data_at, gap; /* the last large packet that left, and the longest time between two */
    uint64_t data;     /* their bytes */
};

struct bond {
    struct world w;
    struct sim_link *link[BOND_LANES][2];
    bool cut[BOND_LANES][2]; /* nothing arrives, by world_dir */
    size_t lanes;
    struct bond_end *end[SIDES];
    struct quic_endpoint *ep;
    struct quic_endpoint_config cfg; /* of both outer ends; change before bond_start */
    const struct sched *sched;
    struct numbered_cap cap;
    bool plain[SIDES]; /* that side does not know numbered flows */
    bool no_ecn;       /* of the inner connection */
    bool up;
    bool wanted[BOND_LANES], open[BOND_LANES]; /* a path over it */
    size_t path[BOND_LANES];
    struct udp_train train[BOND_TRAINS];
    bool taken[BOND_TRAINS];
};

/* ---- the loop -------------------------------------------------------------------------- */

struct udp_train *ring_train_get(struct ring_udp *sock)
{
    struct bond *b = sock->end->b;

    for (size_t i = 0; i < BOND_TRAINS; i++) {
        struct udp_train *t = &b->train[i];

        if (b->taken[i])
            continue;
        if (!t->buf)
            t->buf = malloc(UDP_TRAIN_BYTES);
        assert_non_null(t->buf);
        b->taken[i] = true;
        t->sock = sock;
        return t;
    }
    return NULL;
}

void ring_train_put(struct udp_train *t)
{
    struct bond *b = ((struct ring_udp *)t->sock)->end->b;

    b->taken[t - b->train] = false;
}

int ring_udp_send(struct udp_train *t)
{
    struct ring_udp *sock = t->sock;
    struct bond_end *e = sock->end;
    enum world_dir dir = e->side == CLIENT ? UP : DOWN;
    size_t lane = sock->lane;

    if (e->side == SERVER)
        lane = (size_t)(address_quic(&t->remote).ip[3] - 10);
    assert_true(lane < e->b->lanes);
    for (size_t off = 0; off < t->n; off += t->segment) {
        size_t n = t->n - off < t->segment ? t->n - off : t->segment;
        struct sim_packet *p = sim_packet_new(t->buf + off, n);
        struct sim_link *link;

        p->dst = address_quic(&t->remote);
        p->src = e->side == SERVER ? e->b->w.server_addr : sim_addr((uint8_t)(10 + lane), 4000);
        if (e->side == SERVER)
            p->src = sim_addr(9, 443);
        p->ecn = t->ecn;
        link = e->b->link[lane][dir];
        link->node.deliver(&link->node, p);
    }
    ring_train_put(t);
    return 0;
}

void ring_hasten(struct ring *r)
{
    (void)r; /* nothing waits */
}

int ring_tun_add(struct ring *r, int fd, size_t bytes, void *user, struct ring_tun **out)
{
    (void)r, (void)fd, (void)bytes;
    *out = &((struct bond_end *)user)->tun;
    return 0;
}

void ring_tun_room(const struct ring_tun *tun, unsigned *avail, unsigned *total)
{
    (void)tun;
    *avail = *total = 64;
}

bool ring_buf_hold(struct ring *r, const void *p)
{
    (void)r, (void)p;
    return false;
}

void ring_buf_release(struct ring *r, const void *p)
{
    (void)r, (void)p;
}

/* A packet leaves the tunnel at `t`: back to what it was before. */
int ring_tun_write_one(struct ring_tun *t, const void *pkt, size_t n)
{
    struct bond_end *e = t->end, *from = e->b->end[!e->side];
    const uint8_t *p = pkt;
    uint16_t id = (uint16_t)(p[4] << 8 | p[5]);
    int16_t ahead = (int16_t)(id - from->id_out);
    struct sim_packet *out;

    assert_true(n > 28 && p[0] == 0x45);
    if (p[9] != 17) /* ICMP of the tunnel's */
        return 0;
    e->left++;
    if (n > 600) {
        e->gap = ns_max(e->gap, ns_sub(e->b->w.sim.now, e->data_at));
        e->data_at = e->b->w.sim.now;
        e->data += n;
    }
    if (!from->any_out || ahead >= 0) {
        from->missing += from->any_out ? (uint64_t)ahead : 0;
        from->id_out = (uint16_t)(id + 1);
        from->any_out = true;
    } else {
        from->overtaken++;
        from->missing -= from->missing > 0;
    }
    out = sim_packet_new(p + 28, n - 28);
    memcpy(out->src.ip, p + 12, 4);
    memcpy(out->dst.ip, p + 16, 4);
    out->src.family = out->dst.family = 4;
    out->src.port = (uint16_t)(p[20] << 8 | p[21]);
    out->dst.port = (uint16_t)(p[22] << 8 | p[23]);
    out->ecn = p[1] & 3;
    sim_pass(&from->gate->node, out);
    return 0;
}

int ring_tun_write(struct ring_tun *tun, const struct iovec *iov, size_t n)
{
    assert_int_equal(n, 1);
    return ring_tun_write_one(tun, iov->iov_base, iov->iov_len);
}

/* ---- both ends ------------------------------------------------------------------------- */

static void bond_wake(struct bond_end *e)
{
    e->awake = true;
}

static void bond_put(struct bond_end *e, int box, struct sim_packet *p)
{
    p->next = NULL;
    *e->tail[box] = p;
    e->tail[box] = &p->next;
    e->awake = true;
}

static void bond_from_link(struct sim_node *node, struct sim_packet *p)
{
    struct bond_end *e = (struct bond_end *)node;
    size_t lane = (size_t)((e->side == CLIENT ? &p->dst : &p->src)->ip[3] - 10);

    if (e->b->cut[lane][e->side == CLIENT ? DOWN : UP])
        sim_drop(node, p);
    else
        bond_put(e, 0, p);
}

static void bond_from_world(struct sim_node *node, struct sim_packet *p)
{
    bond_put(((struct bond_gate *)node)->end, 1, p);
}

static uint16_t bond_sum(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* An IPv4 and UDP header before what the world sends. */
static size_t bond_wrap(struct bond_end *e, const struct sim_packet *p, uint8_t *out)
{
    size_t n = p->n + 28;
    uint16_t sum;

    memset(out, 0, 28);
    out[0] = 0x45;
    out[1] = e->b->no_ecn ? 0 : p->ecn;
    out[2] = (uint8_t)(n >> 8);
    out[3] = (uint8_t)n;
    out[4] = (uint8_t)(e->id_in >> 8);
    out[5] = (uint8_t)e->id_in;
    e->id_in++;
    out[6] = 0x40;
    out[8] = 64;
    out[9] = 17;
    memcpy(out + 12, p->src.ip, 4);
    memcpy(out + 16, p->dst.ip, 4);
    sum = bond_sum(out, 20);
    out[10] = (uint8_t)(sum >> 8);
    out[11] = (uint8_t)sum;
    out[20] = (uint8_t)(p->src.port >> 8);
    out[21] = (uint8_t)p->src.port;
    out[22] = (uint8_t)(p->dst.port >> 8);
    out[23] = (uint8_t)p->dst.port;
    out[24] = (uint8_t)((p->n + 8) >> 8);
    out[25] = (uint8_t)(p->n + 8);
    memcpy(out + 28, p->p, p->n);
    e->entered++;
    return n;
}

static struct session_cfg bond_session_cfg(struct bond_end *e)
{
    return (struct session_cfg){.socks = &e->socks,
                                .device = &e->device,
                                .log = e->b->cfg.conn.log,
                                .sched = e->b->sched,
                                .hash_seed = e->b->w.seed,
                                .cap = &e->b->cap};
}

static void bond_ask(struct bond_end *e)
{
    struct h3_field bulk = h3_field_str(BULK_FIELD, BULK_VERSION);
    struct masque_ask a = {.authority = SPAN_LIT("sim.test:443"),
                           .bearer = SPAN_LIT("k"),
                           .extra = &bulk,
                           .nextra = !e->b->plain[CLIENT]};
    struct masque_head head;

    assert_int_equal(masque_request_build(&a, &head), 0);
    assert_int_equal(session_request(&e->s, head.field, head.n), 0);
}

static void bond_answer(struct bond_end *e, const struct session_event *ev)
{
    struct ip_assign a = {.prefix = ip_prefix_host(&(struct ip_addr){.version = 4})};
    struct ip_range r = ip_range_all(4, 0);
    struct h3_field field = h3_field_str(BULK_FIELD, BULK_VERSION);
    struct ip_addr self = {.version = 4}, none = {0};
    struct masque_request req;
    struct masque_head head;
    bool bulk;

    assert_int_equal(masque_request_parse(ev->fields, ev->n, (struct span){0}, &req), 0);
    bulk = req.bulk && !e->b->plain[SERVER];
    assert_int_equal(masque_response_build(200, &field, bulk, &head), 0);
    assert_int_equal(h3_respond(e->s.h3, ev->stream, head.field, head.n, false), 0);
    assert_int_equal(session_open(&e->s, ev->stream, bulk), 0);
    memcpy(a.prefix.addr.b, e->b->w.client_addr.ip, 4);
    memcpy(self.b, e->b->w.server_addr.ip, 4);
    cip_set_self(&e->s.cip, &self, &none);
    assert_int_equal(cip_assign(&e->s.cip, &a, 1), 0);
    assert_int_equal(cip_advertise(&e->s.cip, &r, 1), 0);
}

static struct quic_route bond_route(size_t lane)
{
    return (struct quic_route){.local = sim_addr((uint8_t)(10 + lane), 4000),
                               .remote = sim_addr(9, 443),
                               .ifindex = (uint32_t)lane + 1};
}

/* Open a path over each link that has none and should, as far as the connection lets us. */
static void bond_paths(struct bond *b, ns_t now)
{
    for (size_t i = 0; i < b->lanes; i++) {
        struct quic_route route = bond_route(i);

        if (b->wanted[i] && !b->open[i])
            b->open[i] = mp_open(b->end[CLIENT]->s.quic, &route, now, &b->path[i]) == 0;
    }
}

/* The client knows that a link is gone, and ends its path; or it is there again. */
static inline void bond_away(struct bond *b, size_t lane, bool away)
{
    ns_t now = b->w.sim.now;

    b->wanted[lane] = !away;
    if (away && b->open[lane] &&
        mp_abandon(b->end[CLIENT]->s.quic, b->path[lane], MP_APPLICATION_ABANDON_PATH, now) ==
            0)
        b->open[lane] = false;
    bond_paths(b, now);
    bond_wake(b->end[CLIENT]);
}

static void bond_path_gone(struct bond *b, size_t path)
{
    for (size_t i = 0; i < b->lanes; i++)
        if (b->open[i] && b->path[i] == path)
            b->open[i] = false;
}

static bool bond_all_open(const struct bond *b)
{
    size_t n = 0;

    while (n < b->lanes && b->open[n])
        n++;
    return n == b->lanes;
}

static void bond_events(struct bond_end *e, ns_t now)
{
    struct session_event ev;
    struct masque_response r;

    while (session_next_event(&e->s, &ev, now)) {
        switch (ev.type) {
        case SESSION_READY:
            bond_ask(e);
            break;
        case SESSION_REQUEST:
            bond_answer(e, &ev);
            break;
        case SESSION_RESPONSE:
            masque_response_parse(ev.fields, ev.n, &r);
            assert_int_equal(r.status, 200);
            assert_int_equal(session_open(&e->s, e->s.request, r.bulk), 0);
            break;
        case SESSION_ADDRESSES:
            e->b->up = true;
            break;
        case SESSION_PATHS:
            if (e->side == CLIENT && ev.gone != SESSION_NO_PATH)
                bond_path_gone(e->b, ev.gone);
            if (e->side == CLIENT)
                bond_paths(e->b, now);
            break;
        default:
            break;
        }
    }
}

/* Outer packets: at the server the first makes the session. */
static void bond_udp(struct bond_end *e, struct sim_packet *p, ns_t now)
{
    union udp_addr remote = address_udp(&p->src), local = address_udp(&p->dst);
    struct udp_dgram d = {
        .p = p->p, .n = p->n, .remote = &remote, .local = &local, .ecn = p->ecn};

    if (!e->has && e->side == SERVER) {
        uint8_t buf[1500];
        struct quic_train none = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
        struct quic_rx rx = {
            .route = {.local = p->dst, .remote = p->src}, .p = p->p, .n = p->n, .ecn = p->ecn};
        struct session_cfg cfg = bond_session_cfg(e);
        struct quic_conn *conn;

        if (quic_endpoint_route(e->b->ep, &rx, now, &conn, &none) == QUIC_ROUTE_NEW) {
            assert_int_equal(session_init(&e->s, conn, &cfg), 0);
            e->has = true;
        }
    }
    if (e->has)
        session_on_udp(&e->s, e->side == CLIENT ? (uint32_t)(p->dst.ip[3] - 9) : 0, &d, 1, now);
    free(p);
}

static void bond_run(struct sim_node *node, ns_t now)
{
    struct bond_end *e = (struct bond_end *)node;
    struct sim_packet *p;
    uint8_t buf[2048 + RING_HEADROOM];

    e->awake = false;
    e->turns++;
    if (ns_sub(now, e->busy_at) >= NS_PER_MS) {
        e->busy_at = now;
        e->busy = 0;
    }
    WORLD_CHECK(&e->b->w, ++e->busy < BOND_BUSY); /* or it spins */
    while ((p = e->inbox[0])) {
        if (!(e->inbox[0] = p->next))
            e->tail[0] = &e->inbox[0];
        bond_udp(e, p, now);
    }
    while ((p = e->inbox[1])) {
        struct vnet_split split = {.p = buf + RING_HEADROOM, .count = 1};

        if (!(e->inbox[1] = p->next))
            e->tail[1] = &e->inbox[1];
        split.n = split.size = bond_wrap(e, p, split.p);
        free(p);
        if (e->has)
            session_on_tun(&e->s, &split, 1, now);
    }
    if (!e->has)
        return;
    if (quic_deadline(e->s.quic) <= now)
        quic_tick(e->s.quic, now);
    bond_events(e, now);
    device_flush(&e->device);
    session_flush(&e->s, now);
    bond_events(e, now);
    if (e->side == SERVER)
        quic_endpoint_update(e->b->ep, e->s.quic);
    e->at = ns_max(session_deadline(&e->s, now), now + 1); /* no loop's clock stands still */
}

static ns_t bond_next(struct sim_node *node)
{
    struct bond_end *e = (struct bond_end *)node;

    return e->awake ? node->sim->now : e->at;
}

static void bond_end_free(struct sim_node *node)
{
    struct bond_end *e = (struct bond_end *)node;

    for (int box = 0; box < 2; box++)
        while (e->inbox[box]) {
            struct sim_packet *p = e->inbox[box];

            e->inbox[box] = p->next;
            free(p);
        }
}

static void bond_make_end(struct bond *b, int side)
{
    struct bond_end *e = calloc(1, sizeof(*e));
    struct tun tun = {.fd = -1};

    assert_non_null(e);
    e->b = b;
    e->side = side;
    e->at = NS_NEVER;
    e->node = (struct sim_node){
        .deliver = bond_from_link, .next = bond_next, .run = bond_run, .free = bond_end_free};
    e->tail[0] = &e->inbox[0];
    e->tail[1] = &e->inbox[1];
    e->tun.end = e;
    sim_add(&b->w.sim, &e->node);
    assert_int_equal(device_open(&e->device, NULL, &tun, e), 0);
    for (size_t i = 0; i < b->lanes; i++) {
        e->sock[i] = (struct ring_udp){.end = e, .lane = i};
        if (side == CLIENT)
            assert_int_equal(
                socks_add(&e->socks, (uint32_t)i + 1, 4, LINK_PRIMARY, &e->sock[i]), 0);
    }
    if (side == SERVER)
        e->socks = socks_one(&e->sock[0]);
    e->gate = calloc(1, sizeof(*e->gate));
    assert_non_null(e->gate);
    e->gate->node.deliver = bond_from_world;
    e->gate->end = e;
    sim_add(&b->w.sim, &e->gate->node);
    world_link(&b->w, side == CLIENT ? UP : DOWN, &e->gate->node);
    b->end[side] = e;
}

/* `n` links of 20 Mbit/s, 10 ms one way, 50 ms of queue. Change them, `cfg`, `sched`, `w`. */
static void bond_init(struct bond *b, uint64_t seed, size_t n)
{
    memset(b, 0, sizeof(*b));
    world_init(&b->w, seed);
    b->lanes = n;
    b->sched = &sched_auto;
    b->cap.max = 64u << 20;
    b->cfg = b->w.server_cfg;
    b->cfg.conn.ext = &mp_ext;
    b->cfg.conn.max_paths = 9;
    b->cfg.conn.cc = "bbr";
    b->cfg.conn.max_udp_payload = 1472;
    b->w.client_cfg.conn.max_udp_payload = b->w.server_cfg.conn.max_udp_payload = 1350;
    for (size_t i = 0; i < n; i++)
        for (int d = UP; d <= DOWN; d++)
            b->link[i][d] = sim_link(&b->w.sim, 20000000, 125000, 10 * NS_PER_MS);
    for (int side = CLIENT; side < SIDES; side++)
        bond_make_end(b, side);
    for (size_t i = 0; i < n; i++) {
        b->link[i][UP]->node.out = &b->end[SERVER]->node;
        b->link[i][DOWN]->node.out = &b->end[CLIENT]->node;
    }
}

/* The nature of a link, both ways: 50 ms of queue. */
static inline void bond_link(struct bond *b, size_t i, double mbps, unsigned delay_ms,
                      unsigned jitter_ms, uint32_t loss_ppm)
{
    for (int d = UP; d <= DOWN; d++) {
        struct sim_link *l = b->link[i][d];

        l->bps = (uint64_t)(mbps * 1e6);
        l->queue = l->bps / 8 / 20;
        l->delay = delay_ms * NS_PER_MS;
        l->jitter = jitter_ms * NS_PER_MS;
        l->loss_ppm = loss_ppm;
    }
}

static void bond_seconds(struct bond *b, double seconds)
{
    sim_run(&b->w.sim, b->w.sim.now + (ns_t)(seconds * (double)NS_PER_S), NULL, NULL);
}

/* The world's client sends, receives, or both, without end and not held by its windows. */
static void bond_endless(struct bond *b, bool up, bool down)
{
    struct quic_config *c[] = {&b->w.client_cfg.conn, &b->w.server_cfg.conn};

    for (int i = 0; i < SIDES; i++) {
        c[i]->conn_window = c[i]->conn_window_max = 16u << 20;
        c[i]->stream_window = c[i]->stream_window_max = 16u << 20;
        c[i]->stream_send_buffer = 16u << 20;
    }
    b->w.xfer.streams = 1;
    b->w.xfer.up = up ? 1u << 30 : 0;
    b->w.xfer.down = down ? 1u << 30 : 0;
}

/* The tunnel comes up, and a path over each link; then the world's client connects through it. */
static void bond_start(struct bond *b)
{
    struct session_cfg cfg = bond_session_cfg(b->end[CLIENT]);
    struct quic_config client = b->cfg.conn;
    struct quic_route route = bond_route(0);
    struct quic_conn *conn;

    b->cfg.accept = true;
    b->ep = quic_endpoint_new(&b->cfg);
    assert_non_null(b->ep);
    client.tls = world_tls_client();
    conn = quic_connect(&client, "sim.test", &route, b->w.sim.now);
    assert_non_null(conn);
    assert_int_equal(session_init(&b->end[CLIENT]->s, conn, &cfg), 0);
    b->open[0] = true; /* as path 0 */
    for (size_t i = 0; i < b->lanes; i++)
        b->wanted[i] = true;
    b->end[CLIENT]->has = true;
    bond_wake(b->end[CLIENT]);
    for (int i = 0; i < 100 && !(b->up && bond_all_open(b)); i++)
        bond_seconds(b, 0.1);
    WORLD_CHECK(&b->w, b->up && bond_all_open(b));
    for (int i = 0; i < 40 && session_mtu(&b->end[SERVER]->s) < 1400; i++)
        bond_seconds(b, 0.1);
    world_start(&b->w, 1);
}

static void bond_free(struct bond *b)
{
    struct device device[SIDES];

    for (int i = 0; i < SIDES; i++) {
        if (b->end[i]->has && i == SERVER)
            quic_endpoint_remove(b->ep, b->end[i]->s.quic);
        if (b->end[i]->has)
            session_free(&b->end[i]->s);
        device[i] = b->end[i]->device;
    }
    assert_int_equal(b->cap.used, 0);
    quic_endpoint_del(b->ep);
    world_free(&b->w);
    for (int i = 0; i < SIDES; i++)
        device_close(&device[i]);
    for (size_t i = 0; i < BOND_TRAINS; i++)
        free(b->train[i].buf);
}

#endif
