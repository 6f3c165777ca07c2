#include "test/sim/host.h"

#include <stdlib.h>
#include <string.h>

#define TRAIN_CAP   65507
#define TRAIN_COUNT 64

static struct sim_host *host_of(struct sim_node *node)
{
    return (struct sim_host *)node;
}

static void train_init(struct sim_host *host, struct quic_train *train)
{
    *train =
        (struct quic_train){.buf = host->train_buf, .cap = TRAIN_CAP, .max_count = TRAIN_COUNT};
}

/* The train's promise: equal sizes but the last, nothing empty, inside the buffer. */
static void train_verify(const struct quic_train *train)
{
    size_t sum = 0;
    for (size_t i = 0; i < train->count; i++) {
        size_t n = quic_train_size(train, i);
        if (n == 0 || n > train->segment)
            abort();
        sum += n;
    }
    if (sum != train->len || train->len > train->cap || train->count > train->max_count)
        abort();
}

static void transmit(struct sim_host *host, const struct quic_train *train)
{
    train_verify(train);
    host->trains++;
    for (size_t i = 0; i < train->count; i++) {
        size_t n = quic_train_size(train, i);
        struct sim_packet *packet = sim_packet_new(train->buf + i * train->segment, n);
        const struct quic_addr *local = &train->route.local;
        packet->src = local->family ? *local : host->addr;
        packet->dst = train->route.remote;
        packet->ecn = train->ecn;
        host->ecn_out[train->ecn & 3]++;
        host->datagrams++;
        if (n > host->largest)
            host->largest = n;
        sim_pass(&host->node, packet);
    }
}

static void flush(struct sim_host *host, struct quic_conn *conn)
{
    struct quic_train train;
    train_init(host, &train);
    for (size_t path = 0; path < quic_path_count(conn); path++) {
        int r = 1;
        while (r > 0) {
            quic_train_reset(&train);
            r = quic_send(conn, path, &train, host->node.sim->now);
            if ((r > 0) != (train.count > 0) || (r > 0 && (size_t)r != train.len))
                abort();
            if (r > 0)
                transmit(host, &train);
        }
        host->control_first |= r == QUIC_BLOCKED && host->app.fair;
        if (r == 0 && !(host->app.busy && host->app.busy(host, conn)))
            quic_app_limited(conn, path, host->node.sim->now);
    }
}

static void drain(struct sim_host *host, struct quic_conn *conn)
{
    struct quic_dgram_rx dgram[32];
    size_t n;
    while ((n = quic_dgram_recv(conn, dgram, ARRAY_LEN(dgram))))
        for (size_t i = 0; i < n && host->app.dgram; i++)
            host->app.dgram(host, conn, &dgram[i]);
    struct quic_event ev;
    while (quic_next_event(conn, &ev))
        if (host->app.event)
            host->app.event(host, conn, &ev);
}

static void serve(struct sim_host *host, struct quic_conn *conn)
{
    drain(host, conn);
    if (host->control_first) {
        host->control_first = false;
        flush(host, conn);
    }
    if (host->app.turn)
        host->app.turn(host, conn);
    flush(host, conn);
    drain(host, conn);
    quic_endpoint_update(host->ep, conn);
}

static void forget(struct sim_host *host, size_t i)
{
    struct quic_conn *conn = host->conn[i];
    if (host->app.freed)
        host->app.freed(host, conn);
    quic_endpoint_remove(host->ep, conn);
    quic_del(conn);
    host->conn[i] = host->conn[--host->n_conns];
}

static void receive(struct sim_host *host, struct sim_packet *packet)
{
    struct quic_rx rx = {.ecn = packet->ecn, .p = packet->p, .n = packet->n};
    rx.route.local = packet->dst;
    rx.route.remote = packet->src;
    host->ecn_in |= packet->ecn;
    struct quic_train answer;
    train_init(host, &answer);
    struct quic_conn *conn = NULL;
    switch (quic_endpoint_route(host->ep, &rx, host->node.sim->now, &conn, &answer)) {
    case QUIC_ROUTE_NEW:
        if (host->n_conns == SIM_HOST_CONNS)
            abort();
        host->conn[host->n_conns++] = conn;
        if (host->app.accepted)
            host->app.accepted(host, conn);
        /* fall through */
    case QUIC_ROUTE_CONN:
        quic_recv(conn, &rx, 1, host->node.sim->now);
        /* the packet dies after this: take its datagrams now */
        drain(host, conn);
        break;
    case QUIC_ROUTE_ANSWER:
        host->answers++;
        transmit(host, &answer);
        break;
    case QUIC_ROUTE_DROP:
        break;
    }
}

static void host_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct sim_host *host = host_of(node);
    packet->next = NULL;
    *host->inbox_tail = packet;
    host->inbox_tail = &packet->next;
    node->bytes += packet->n;
}

static ns_t host_next(struct sim_node *node)
{
    struct sim_host *host = host_of(node);
    if (host->inbox || host->awake)
        return node->sim->now;
    return ns_max(quic_endpoint_deadline(host->ep), node->sim->now);
}

static void host_run(struct sim_node *node, ns_t now)
{
    struct sim_host *host = host_of(node);
    bool all = host->inbox || host->awake;
    host->awake = false;
    while (host->inbox) {
        struct sim_packet *packet = host->inbox;
        host->inbox = packet->next;
        if (!host->inbox)
            host->inbox_tail = &host->inbox;
        receive(host, packet);
        free(packet);
    }
    for (size_t i = 0; all && i < host->n_conns; i++)
        serve(host, host->conn[i]);
    struct quic_conn *conn;
    for (unsigned k = 0; k < SIM_HOST_CONNS; k++) {
        conn = quic_endpoint_next_due(host->ep, now);
        if (!conn)
            break;
        quic_tick(conn, now);
        serve(host, conn);
    }
    for (size_t i = host->n_conns; host->reap && i-- > 0;)
        if (quic_is_drained(host->conn[i]))
            forget(host, i);
}

static void host_free(struct sim_node *node)
{
    struct sim_host *host = host_of(node);
    while (host->n_conns)
        forget(host, host->n_conns - 1);
    quic_endpoint_del(host->ep);
    while (host->inbox) {
        struct sim_packet *packet = host->inbox;
        host->inbox = packet->next;
        free(packet);
    }
    free(host->train_buf);
    free(host->dgram_buf);
}

struct sim_host *sim_host(struct sim *sim, const struct quic_addr *addr,
                          const struct quic_endpoint_config *cfg, const struct sim_app *app)
{
    struct sim_host *host = calloc(1, sizeof(*host));
    if (!host)
        abort();
    host->node.deliver = host_deliver;
    host->node.next = host_next;
    host->node.run = host_run;
    host->node.free = host_free;
    host->addr = *addr;
    host->cfg = cfg->conn;
    if (app)
        host->app = *app;
    host->inbox_tail = &host->inbox;
    host->ep = quic_endpoint_new(cfg);
    host->train_buf = malloc(TRAIN_CAP);
    host->dgram_buf = malloc(65536);
    if (!host->ep || !host->train_buf || !host->dgram_buf)
        abort();
    sim_add(sim, &host->node);
    return host;
}

struct quic_conn *sim_host_connect(struct sim_host *host, const char *name,
                                   const struct quic_addr *remote)
{
    struct quic_route route = {.local = host->addr, .remote = *remote};
    struct quic_conn *conn = quic_connect(&host->cfg, name, &route, host->node.sim->now);
    if (!conn)
        return NULL;
    if (host->n_conns == SIM_HOST_CONNS || quic_endpoint_add(host->ep, conn) != 0)
        abort();
    host->conn[host->n_conns++] = conn;
    sim_host_wake(host);
    return conn;
}

void sim_host_wake(struct sim_host *host)
{
    host->awake = true;
}

void sim_host_restart(struct sim_host *host)
{
    while (host->n_conns)
        forget(host, host->n_conns - 1);
}

int sim_host_dgrams_on(struct sim_host *host, struct quic_conn *conn, size_t path,
                       struct quic_dgram *pkts, size_t n)
{
    struct quic_train train;
    train_init(host, &train);
    size_t done = 0;
    int r = 0;
    while (done < n) {
        r = quic_dgram_send(conn, path, &train, pkts + done, n - done, host->node.sim->now);
        if (r > 0)
            done += (size_t)r;
        if (train.count)
            transmit(host, &train);
        else if (r == QUIC_AGAIN)
            abort();
        quic_train_reset(&train);
        if (r < 0 && r != QUIC_AGAIN)
            break;
    }
    if (done)
        sim_host_wake(host);
    return done ? (int)done : r;
}

int sim_host_dgrams(struct sim_host *host, struct quic_conn *conn, struct quic_dgram *pkts,
                    size_t n)
{
    return sim_host_dgrams_on(host, conn, 0, pkts, n);
}

int sim_host_dgram(struct sim_host *host, struct quic_conn *conn, struct span data,
                   uint64_t tag)
{
    uint8_t *p = host->dgram_buf + 64;
    if (data.n > 65536 - 64)
        return QUIC_TOOBIG;
    memcpy(p, data.p, data.n);
    struct quic_dgram pkt = {.p = p, .n = data.n, .headroom = 64, .tag = tag};
    return sim_host_dgrams(host, conn, &pkt, 1);
}
