/*
 * session: client and server joined by loopback UDP on one real loop, socket pairs as TUNs.
 *
 *   far[0] == TUN of the client -> session ~ UDP 127.0.0.1 ~ session -> TUN of the server == far[1]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/address.h"
#include "app/random.h"
#include "app/session.h"
#include "masque/request.h"
#include "quic/cert.h"
#include "quic/conn.h"
#include "quic/endpoint.h"
#include "quic/tls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENT, SERVER, SIDES };

#define PATIENCE (60 * NS_PER_S)

struct side {
    struct session s;
    bool has;
    struct ring_udp *sock;
    struct socks socks;
    struct device device;
    int far, near;
    struct tls_ctx *tls;
};

static struct world {
    struct ring *ring;
    struct side side[SIDES];
    struct quic_endpoint *ep;
    struct rng rng;
    ns_t give_up;
    bool refuse;     /* the server answers 401 */
    unsigned status; /* that the client saw */
    bool addresses, ended, closed, timed_out;
    size_t mtu;
    int want; /* packets to arrive at the far ends before the loop stops; -1: never */
} w;

static struct ip_addr ip(const char *text)
{
    struct ip_addr a;

    assert_int_equal(ip_addr_parse(span_of(text, strlen(text)), &a), 0);
    return a;
}

static void ask(struct side *c)
{
    struct masque_ask a = {.authority = SPAN_LIT("localhost:443"), .bearer = SPAN_LIT("k")};
    struct masque_head head;

    assert_int_equal(masque_request_build(&a, &head), 0);
    assert_int_equal(session_request(&c->s, head.field, head.n), 0);
}

static void answer(struct side *s, const struct session_event *ev)
{
    struct ip_assign a = {.prefix = ip_prefix_host(&(struct ip_addr){.version = 4})};
    struct ip_range r = ip_range_all(4, 0);
    struct masque_request req;
    struct masque_head head;
    struct ip_addr self = ip("10.0.0.1"), none = {0};

    assert_int_equal(masque_request_parse(ev->fields, ev->n, (struct span){0}, &req), 0);
    assert_int_equal(req.auth, MASQUE_AUTH_BEARER);
    assert_int_equal(masque_response_build(w.refuse ? 401 : 200, NULL, 0, &head), 0);
    assert_int_equal(h3_respond(s->s.h3, ev->stream, head.field, head.n, w.refuse), 0);
    if (w.refuse)
        return;
    assert_int_equal(session_open(&s->s, ev->stream, false), 0);
    assert_int_equal(session_open(&s->s, ev->stream, false), QUIC_INVAL);
    a.prefix.addr = ip("10.0.0.2");
    cip_set_self(&s->s.cip, &self, &none);
    assert_int_equal(cip_assign(&s->s.cip, &a, 1), 0);
    assert_int_equal(cip_advertise(&s->s.cip, &r, 1), 0);
}

static void events(struct side *x, ns_t now)
{
    struct session_event ev;
    struct masque_response r;
    struct ip_addr gw = ip("10.0.0.1"), none = {0};

    while (x->has && session_next_event(&x->s, &ev, now)) {
        switch (ev.type) {
        case SESSION_READY:
            ask(x);
            break;
        case SESSION_REQUEST:
            answer(x, &ev);
            break;
        case SESSION_RESPONSE:
            masque_response_parse(ev.fields, ev.n, &r);
            w.status = (unsigned)r.status;
            if (r.status == 200)
                assert_int_equal(session_open(&x->s, x->s.request, false), 0);
            break;
        case SESSION_ADDRESSES:
            w.addresses = true;
            cip_set_self(&x->s.cip, &gw, &none);
            break;
        case SESSION_MTU:
            if (x == &w.side[CLIENT])
                w.mtu = session_mtu(&x->s);
            break;
        case SESSION_ENDED:
            w.ended = true;
            break;
        case SESSION_CLOSED:
            w.closed = true;
            break;
        default:
            break;
        }
    }
}

static void on_udp(void *ctx, struct ring_udp *sock, struct udp_dgram *d, size_t n, ns_t now)
{
    struct side *x = ring_udp_user(sock);
    uint8_t buf[1500];

    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        struct quic_train none = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
        struct quic_rx rx = {
            .route = {.local = address_quic(d[i].local), .remote = address_quic(d[i].remote)},
            .p = d[i].p,
            .n = d[i].n};
        struct quic_conn *conn = NULL;
        if (x == &w.side[SERVER] &&
            quic_endpoint_route(w.ep, &rx, now, &conn, &none) == QUIC_ROUTE_NEW) {
            struct session_cfg cfg = {
                .socks = &x->socks, .device = &x->device, .sched = sched_find("minrtt")};
            assert_int_equal(session_init(&x->s, conn, &cfg), 0);
            x->has = true;
        }
        if (x->has)
            session_on_udp(&x->s, 0, &d[i], 1, now);
        events(x, now);
    }
}

static void on_tun(void *ctx, struct ring_tun *tun, struct ring_pkt *p, size_t n, ns_t now)
{
    struct side *x = ring_tun_user(tun);
    struct vnet_split split;

    (void)ctx;
    for (size_t i = 0; i < n && x->has; i++)
        if (device_split(&x->device, &p[i], &split))
            session_on_tun(&x->s, &split, 1, now);
}

/* Whether what the test waits for is there. */
static bool arrived(void)
{
    uint8_t byte;

    if (w.want < 0)
        return w.status == 401 || w.ended || w.closed ||
               (w.addresses && w.mtu >= CIP_MTU_MIN &&
                session_mtu(&w.side[SERVER].s) >= CIP_MTU_MIN);
    return recv(w.side[w.want].far, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void on_flush(void *ctx, ns_t now)
{
    ns_t at = now + 10 * NS_PER_MS; /* what was written in this batch arrives after it */

    (void)ctx;
    for (int i = 0; i < SIDES; i++) {
        struct side *x = &w.side[i];
        device_flush(&x->device);
        if (!x->has)
            continue;
        session_flush(&x->s, now);
        events(x, now);
        at = ns_min(at, session_deadline(&x->s, now));
    }
    if (w.side[SERVER].has)
        quic_endpoint_update(w.ep, w.side[SERVER].s.quic);
    w.timed_out = now >= w.give_up;
    if (arrived() || w.timed_out)
        ring_stop(w.ring, 0);
    ring_deadline_set(w.ring, at);
}

static void on_deadline(void *ctx, ns_t now)
{
    (void)ctx;
    for (int i = 0; i < SIDES; i++) {
        if (w.side[i].has && quic_deadline(w.side[i].s.quic) <= now)
            quic_tick(w.side[i].s.quic, now);
        events(&w.side[i], now);
    }
}

/* Run the loop until arrived(). */
static void go(int want)
{
    w.want = want;
    w.give_up = ring_clock() + PATIENCE;
    ring_deadline_set(w.ring, 0);
    assert_int_equal(ring_run(w.ring), 0);
    assert_false(w.timed_out);
}

static struct tls_ctx *tls(bool server)
{
    static const char *const alpn[] = {"h3"}, *const names[] = {"localhost"};
    struct tls_ctx_config cfg = {
        .server = server, .alpn = alpn, .n_alpn = 1, .verify = TLS_VERIFY_NONE};
    struct tls_pem cert = {0}, key = {0};
    struct tls_ctx *ctx;

    assert_int_equal(tls_make_cert(names, 1, 1, (int64_t)time(NULL), &cert, &key), 0);
    if (server) {
        cfg.cert_pem = tls_pem_span(&cert);
        cfg.key_pem = tls_pem_span(&key);
    }
    ctx = tls_ctx_new(&cfg, NULL, 0);
    assert_non_null(ctx);
    tls_pem_free(&cert);
    tls_pem_free(&key);
    return ctx;
}

static void set_up_side(int which, bool offload)
{
    struct side *x = &w.side[which];
    const uint8_t loopback[4] = {127, 0, 0, 1};
    struct udp_cfg udp = {.bind = udp_addr_raw(AF_INET, loopback, 0)};
    char why[256] = "";
    struct tun tun;
    int pair[2], fd;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    x->far = pair[0];
    x->near = pair[1];
    tun = (struct tun){.fd = x->near, .vnet = offload};
    tun.offload = offload ? TUN_OFFLOAD_TSO : TUN_OFFLOAD_NONE;
    assert_int_equal(device_open(&x->device, w.ring, &tun, x), 0);
    assert_int_equal(udp_open(&udp, &fd, why, sizeof(why)), 0);
    assert_int_equal(ring_udp_add(w.ring, fd, x, &x->sock), 0);
    x->socks = socks_one(x->sock);
    x->tls = tls(which == SERVER);
}

static int set_up(void **state)
{
    struct ring_cfg cfg = {.ops = {.on_udp = on_udp,
                                   .on_tun = on_tun,
                                   .on_flush = on_flush,
                                   .on_deadline = on_deadline}};
    struct quic_endpoint_config ep = {.accept = true};
    struct session_cfg s = {.sched = sched_find("minrtt")};
    const char *how = *state;
    struct quic_config quic;
    struct quic_route route = {0};
    struct quic_conn *conn;
    char why[256] = "";

    memset(&w, 0, sizeof(w));
    w.refuse = how && *how == 'r';
    w.rng = random_system();
    assert_int_equal(ring_new(&cfg, &w.ring, why, sizeof(why)), 0);
    for (int i = 0; i < SIDES; i++)
        set_up_side(i, how && *how == 'o');
    quic_config_default(&quic);
    quic.rng = w.rng;
    quic.max_datagram_frame_size = 65535;
    quic.max_udp_payload = 1472;
    quic.streams_bidi = quic.streams_uni = 8;
    quic.tls = w.side[SERVER].tls;
    ep.conn = quic;
    w.ep = quic_endpoint_new(&ep);
    assert_non_null(w.ep);
    quic.tls = w.side[CLIENT].tls;
    route.remote = address_quic(ring_udp_local(w.side[SERVER].sock));
    conn = quic_connect(&quic, "localhost", &route, ring_clock());
    assert_non_null(conn);
    s.socks = &w.side[CLIENT].socks;
    s.device = &w.side[CLIENT].device;
    assert_int_equal(session_init(&w.side[CLIENT].s, conn, &s), 0);
    w.side[CLIENT].has = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (w.side[SERVER].has)
        quic_endpoint_remove(w.ep, w.side[SERVER].s.quic);
    for (int i = 0; i < SIDES; i++)
        if (w.side[i].has)
            session_free(&w.side[i].s);
    quic_endpoint_del(w.ep);
    ring_free(w.ring);
    for (int i = 0; i < SIDES; i++) {
        device_close(&w.side[i].device);
        close(w.side[i].far);
        close(w.side[i].near);
        tls_ctx_del(w.side[i].tls);
    }
    return 0;
}

/* An IPv4 UDP packet with a right header checksum. */
static size_t packet(uint8_t *p, const char *src, const char *dst, uint8_t ttl, size_t n)
{
    struct ip_addr s = ip(src), d = ip(dst);
    uint32_t sum = 0;

    memset(p, 0, n);
    p[0] = 0x45;
    p[2] = (uint8_t)(n >> 8);
    p[3] = (uint8_t)n;
    p[6] = 0x40; /* DF */
    p[8] = ttl;
    p[9] = 17;
    memcpy(p + 12, s.b, 4);
    memcpy(p + 16, d.b, 4);
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    p[10] = (uint8_t)(~sum >> 8);
    p[11] = (uint8_t)~sum;
    for (size_t i = 20; i < n; i++)
        p[i] = (uint8_t)(i * 7);
    return n;
}

static size_t receive(int side, uint8_t *buf, size_t size)
{
    ssize_t n = recv(w.side[side].far, buf, size, MSG_DONTWAIT);

    assert_true(n > 0);
    return (size_t)n;
}

static void packets_both_ways(void **state)
{
    uint8_t out[2000], in[2000];
    size_t n;

    (void)state;
    go(-1);
    assert_int_equal(w.status, 200);
    assert_true(w.mtu >= CIP_MTU_MIN);
    for (int i = 0; i < 20; i++) {
        bool up = i % 2 == 0;
        n = packet(out, up ? "10.0.0.2" : "192.0.2.7", up ? "192.0.2.7" : "10.0.0.2", 64,
                   i < 10 ? 100 : w.mtu);
        assert_int_equal(send(w.side[up ? CLIENT : SERVER].far, out, n, 0), n);
        go(up ? SERVER : CLIENT);
        assert_int_equal(receive(up ? SERVER : CLIENT, in, sizeof(in)), n);
        assert_int_equal(in[8], 63); /* one hop */
        assert_memory_equal(in + 12, out + 12, n - 12);
    }
}

static uint16_t sum_of(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* A TCP super-packet behind its virtio-net header, as the kernel hands it over. */
static size_t super_packet(uint8_t *p, const char *src, const char *dst, size_t segment,
                           size_t payload)
{
    size_t n = 40 + payload;
    struct vnet_hdr h = {.flags = VNET_NEEDS_CSUM,
                         .gso_type = VNET_GSO_TCPV4,
                         .hdr_len = 40,
                         .gso_size = (uint16_t)segment,
                         .csum_start = 20,
                         .csum_offset = 16};
    uint8_t *ip4 = p + sizeof(h), *tcp = ip4 + 20;
    uint16_t sum;

    packet(ip4, src, dst, 64, n);
    ip4[9] = 6;
    ip4[10] = ip4[11] = 0;
    sum = (uint16_t)~sum_of(ip4, 20, 0);
    ip4[10] = (uint8_t)(sum >> 8);
    ip4[11] = (uint8_t)sum;
    memset(tcp, 0, 20);
    tcp[0] = tcp[2] = 0x10;
    tcp[12] = 0x50;
    tcp[13] = 0x10; /* ACK */
    tcp[14] = 0xff;
    sum = sum_of(ip4 + 12, 8, (uint32_t)(6 + n - 20));
    tcp[16] = (uint8_t)(sum >> 8);
    tcp[17] = (uint8_t)sum;
    memcpy(p, &h, sizeof(h));
    return sizeof(h) + n;
}

/*
 * Super-packets go in, super-packets come out, and the bytes of the flow are the same: large ones,
 * which stay where they were read, and small ones, which are copied.
 */
static void super_packets(void **state)
{
    static uint8_t out[70000], in[70000];
    const size_t head = sizeof(struct vnet_hdr) + 40;
    uint64_t most = 0;

    (void)state;
    go(-1);
    for (size_t round = 0; round < 12; round++) {
        bool up = round % 2 == 0;
        size_t segment = w.mtu - 40 - round, payload = round % 3 ? 2 * segment + 7 : 64000;
        size_t n = super_packet(out, up ? "10.0.0.2" : "192.0.2.7",
                                up ? "192.0.2.7" : "10.0.0.2", segment, payload);
        size_t got = 0, writes = 0;

        assert_int_equal(send(w.side[up ? CLIENT : SERVER].far, out, n, 0), n);
        while (got < payload) {
            struct vnet_hdr h;

            go(up ? SERVER : CLIENT);
            n = receive(up ? SERVER : CLIENT, in, sizeof(in));
            assert_true(n > head && n - head <= payload - got);
            memcpy(&h, in, sizeof(h));
            assert_int_equal(h.flags, VNET_NEEDS_CSUM);
            if (n - head > segment) {
                assert_int_equal(h.gso_type, VNET_GSO_TCPV4);
                assert_int_equal(h.gso_size, segment);
            }
            assert_int_equal(in[sizeof(h) + 8], 63); /* one hop */
            assert_memory_equal(in + head, out + head + got, n - head);
            got += n - head;
            writes++;
        }
        most = ns_max(most, payload / segment / writes);
    }
    assert_true(most > 1); /* how many come together is the pacer's business */
}

static void refused_packets_are_answered(void **state)
{
    static const struct {
        const char *src, *dst;
        uint8_t ttl;
        size_t extra; /* above the tunnel MTU */
        uint8_t type, code;
    } rows[] = {
        {"10.0.0.2", "192.0.2.7", 1, 0, 11, 0},   /* time exceeded */
        {"10.0.0.2", "192.0.2.7", 64, 300, 3, 4}, /* too big */
        {"10.0.0.9", "192.0.2.7", 64, 0, 3, 13},  /* not our address */
    };
    uint8_t out[2000], in[2000];

    (void)state;
    go(-1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = packet(out, rows[i].src, rows[i].dst, rows[i].ttl,
                          rows[i].extra ? w.mtu + rows[i].extra : 100);
        assert_int_equal(send(w.side[CLIENT].far, out, n, 0), n);
        go(CLIENT);
        assert_true(receive(CLIENT, in, sizeof(in)) >= 28 + 28);
        assert_int_equal(in[9], 1);
        assert_int_equal(in[20], rows[i].type);
        assert_int_equal(in[21], rows[i].code);
    }
    /* Nothing of it has reached the other side. */
    assert_int_equal(recv(w.side[SERVER].far, in, 1, MSG_DONTWAIT), -1);
}

static void refusal(void **state)
{
    (void)state;
    go(-1);
    assert_int_equal(w.status, 401);
}

static void the_end_is_seen(void **state)
{
    (void)state;
    go(-1);
    assert_false(w.closed);
    quic_close(w.side[CLIENT].s.quic, H3_NO_ERROR, "bye", ring_clock());
    go(-1);
    assert_true(w.closed);
}

static void tunnel_stream_reset(void **state)
{
    struct side *c = &w.side[CLIENT];

    (void)state;
    go(-1);
    assert_int_equal(h3_reset(c->s.h3, c->s.request, H3_REQUEST_CANCELLED), 0);
    w.addresses = false; /* wait for `ended` */
    go(-1);
    assert_true(w.ended);
}

/* With a window that is nearly full, the loop waits for an ACK and not for an instant past. */
static void nearly_full_window(void **state)
{
    struct session *s = &w.side[CLIENT].s;
    uint8_t out[2000];

    (void)state;
    go(-1);
    for (size_t room = 900; room < 1200; room += 9) {
        struct recovery *r = &s->quic->path[0].recovery;
        size_t n = packet(out + 128, "10.0.0.2", "192.0.2.7", 64, 1000);
        struct vnet_split pkt = {.p = out + 128, .n = n, .count = 1, .size = n};
        ns_t now = ring_clock();

        session_on_tun(s, &pkt, 1, now);
        assert_int_equal(s->sender.queue.count, 1);
        r->cc.cwnd = r->bytes_in_flight + room;
        session_flush(s, now);
        assert_true(s->sender.queue.count == 0 || session_deadline(s, now) > now);
        queue_clear(&s->sender.queue);
    }
}

/* With every train of the socket taken, what is due waits for one without a busy loop. */
static void full_socket(void **state)
{
    struct session *s = &w.side[CLIENT].s;
    struct udp_train *taken[256];
    size_t n = 0;
    ns_t now;

    (void)state;
    go(-1);
    while (n < ARRAY_LEN(taken) && (taken[n] = ring_train_get(w.side[CLIENT].sock)))
        n++;
    assert_true(n > 0 && n < ARRAY_LEN(taken));
    now = ring_clock();
    quic_close(s->quic, H3_NO_ERROR, "", now);
    session_flush(s, now);
    assert_true(s->sender.starved);
    assert_true(quic_deadline(s->quic) <= now);
    assert_true(session_deadline(s, now) >= now + SESSION_STARVED);
    while (n > 0)
        ring_train_put(taken[--n]);
    session_flush(s, now);
    assert_false(s->sender.starved);
    assert_true(session_deadline(s, now) > now);
}

/* The pacer holds packets back: the session wakes up for them, whether an ACK comes or not. */
static void test_paced(void **state)
{
    static uint8_t buf[40][RING_HEADROOM + 1500];
    struct session *c = &w.side[CLIENT].s;
    struct vnet_split pkt[40];
    struct quic_path_view v;
    ns_t now;

    (void)state;
    go(-1);
    c->quic->path[0].recovery.cc.cwnd = 1000000;
    c->quic->path[0].recovery.rtt.smoothed = NS_PER_S;
    for (size_t i = 0; i < ARRAY_LEN(pkt); i++) {
        uint8_t *p = buf[i] + RING_HEADROOM;
        size_t n = packet(p, "10.0.0.2", "192.0.2.1", 64, w.mtu);

        pkt[i] = (struct vnet_split){.p = p, .n = n, .count = 1, .size = n};
    }
    now = ring_clock();
    session_on_tun(c, pkt, ARRAY_LEN(pkt), now);
    session_flush(c, now);
    assert_int_equal(quic_path_view(c->quic, 0, now, &v), 0);
    assert_true(v.in_flight_bytes > 0 && v.cwnd_bytes - v.in_flight_bytes > 500000);
    assert_true(c->sender.queue.bytes > 0);
    assert_true(session_deadline(c, now) > now);
    assert_true(c->sender.wake > now && c->sender.wake <= now + 10 * NS_PER_MS);
}

int main(void)
{
    static char refusing[] = "refuse", offloads[] = "offloads";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(packets_both_ways, set_up, tear_down),
        cmocka_unit_test_prestate_setup_teardown(super_packets, set_up, tear_down, offloads),
        cmocka_unit_test_setup_teardown(refused_packets_are_answered, set_up, tear_down),
        cmocka_unit_test_prestate_setup_teardown(refusal, set_up, tear_down, refusing),
        cmocka_unit_test_setup_teardown(the_end_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnel_stream_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nearly_full_window, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paced, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
