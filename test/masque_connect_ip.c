/*
 * connect_ip: two ends back to back through the examples of RFC 9484 section 8, every
 * verdict, the answers by ICMP, peers that split their capsules, and hostile ones.
 */
#include "test/masque_util.h"

#include "masque/connect_ip.h"

#define CLIENT 0
#define PROXY  1

/* Two ends and a repeatable way of cutting their stream bytes. */
struct pair {
    struct cip end[2];
    uint64_t seed;
};

static void pair_init(struct pair *p, bool split_quirk)
{
    struct cip_config cfg = {.stream_id = 44, .hash_seed = 1, .split_quirk = split_quirk};

    p->seed = 99;
    assert_int_equal(cip_init(&p->end[CLIENT], &cfg), 0);
    cfg.split_quirk = false;
    assert_int_equal(cip_init(&p->end[PROXY], &cfg), 0);
}

static void pair_free(struct pair *p)
{
    cip_free(&p->end[CLIENT]);
    cip_free(&p->end[PROXY]);
}

/* Feed bytes in pieces; the payloads of DATAGRAM capsules are counted. */
static int feed(struct cip *c, const uint8_t *bytes, size_t n, uint64_t *seed, unsigned *dgrams)
{
    for (size_t at = 0; at < n;) {
        size_t piece = 1 + rnd(seed) % 7;
        struct span in, dgram;

        if (piece > n - at)
            piece = n - at;
        in = span_of(bytes + at, piece);
        at += piece;
        while (in.n > 0) {
            int err = cip_recv(c, &in, &dgram);

            if (err)
                return err;
            if (dgram.n > 0 && dgrams)
                ++*dgrams;
        }
        assert_true(cip_check(c));
    }
    return 0;
}

/* Carry stream bytes both ways until none are left, taking some at a time. */
static void pump(struct pair *p)
{
    bool moved = true;

    while (moved) {
        moved = false;
        for (int from = 0; from < 2; from++) {
            struct span s = cip_out_bytes(&p->end[from]);
            size_t n = s.n ? 1 + rnd(&p->seed) % s.n : 0;

            if (n == 0)
                continue;
            assert_int_equal(feed(&p->end[!from], s.p, n, &p->seed, NULL), 0);
            cip_out_done(&p->end[from], n);
            assert_true(cip_check(&p->end[from]));
            moved = true;
        }
    }
    assert_int_equal(cip_recv_end(&p->end[0]), 0);
    assert_int_equal(cip_recv_end(&p->end[1]), 0);
}

/* All pending events as text, with what they are about. */
static const char *events(struct cip *c)
{
    static char text[1024];
    char one[IP_PREFIX_TEXT], two[IP_ADDR_TEXT];
    struct cip_event ev;
    size_t n, k = 0;

    text[0] = 0;
    while (cip_next_event(c, &ev)) {
        const struct ip_assign *a = cip_assigned(c, &n);

        switch (ev.type) {
        case CIP_ADDRESSES:
            k += (size_t)sprintf(text + k, "addresses");
            for (size_t i = 0; i < n; i++)
                k += (size_t)sprintf(text + k, " %u:%s", (unsigned)a[i].request_id,
                                     ip_prefix_format(&a[i].prefix, one, sizeof(one)));
            break;
        case CIP_ROUTES: {
            const struct ip_range *r = cip_routes(c, &n);

            k += (size_t)sprintf(text + k, "routes");
            for (size_t i = 0; i < n; i++)
                k += (size_t)sprintf(text + k, " %s-%s/%u",
                                     ip_addr_format(&r[i].start, one, sizeof(one)),
                                     ip_addr_format(&r[i].end, two, sizeof(two)), r[i].proto);
            break;
        }
        case CIP_REQUESTED:
            k += (size_t)sprintf(text + k, "requested %u:%s", (unsigned)ev.request.request_id,
                                 ip_prefix_format(&ev.request.prefix, one, sizeof(one)));
            break;
        case CIP_REFUSED:
            k += (size_t)sprintf(text + k, "refused %u", (unsigned)ev.request.request_id);
            break;
        case CIP_RATES: {
            const struct path_rate *r = cip_rates(c, &n);

            k += (size_t)sprintf(text + k, "rates");
            for (size_t i = 0; i < n; i++)
                k += (size_t)sprintf(text + k, " %u:%u", (unsigned)r[i].path,
                                     (unsigned)r[i].kbps);
            break;
        }
        }
        k += (size_t)sprintf(text + k, "; ");
    }
    return text;
}

static void assign(struct cip *c, uint64_t id, const char *a, const char *b)
{
    struct ip_assign list[2] = {{id, prefix(a)}};

    if (b)
        list[1] = (struct ip_assign){0, prefix(b)};
    assert_int_equal(cip_assign(c, list, b ? 2 : 1), 0);
}

static void advertise(struct cip *c, const char *start, const char *end, uint8_t proto)
{
    struct ip_range r = range(start, end, proto);

    assert_int_equal(cip_advertise(c, &r, 1), 0);
}

/*
 * Send a packet of `len` bytes from one end to the other. Returns the verdict of
 * sending, or behind CIP_VERDICTS that of receiving.
 */
static int send_packet(struct pair *p, int from, uint8_t *pkt, size_t len, size_t room)
{
    uint8_t before[2000], frame[2100];
    struct cip_head head;
    struct span payload, got;
    uint64_t stream;
    uint8_t *ttl = pkt + (pkt[0] >> 4 == 4 ? 8 : 7);
    enum cip_verdict v;

    memcpy(before, pkt, len);
    v = cip_out(&p->end[from], pkt, len, len, room, &head);
    if (v != CIP_OK) {
        assert_memory_equal(pkt, before, len); /* refused packets are not touched */
        return v;
    }
    assert_int_equal(*ttl, (pkt[0] >> 4 == 4 ? before[8] : before[7]) - 1);
    memcpy(frame, head.b, head.len);
    memcpy(frame + head.len, pkt, len);
    assert_int_equal(masque_dgram_decode(span_of(frame, head.len + len), &stream, &payload), 0);
    assert_int_equal(stream, 44);
    v = cip_in(&p->end[!from], payload, &got);
    if (v != CIP_OK)
        return CIP_VERDICTS + v;
    assert_int_equal(got.n, len);
    assert_memory_equal(got.p, pkt, len); /* the hop limit is not touched on arrival */
    return CIP_OK;
}

static int send_udp(struct pair *p, int from, const char *src, const char *dst)
{
    uint8_t pkt[100];

    return send_packet(p, from, pkt, make_udp(pkt, src, dst, 64, 100), 1400);
}

static int send_proto(struct pair *p, int from, const char *src, const char *dst, uint8_t proto,
                      uint8_t type)
{
    uint8_t pkt[100], body[8] = {type};

    return send_packet(p, from, pkt, make_packet(pkt, src, dst, proto, 64, body, 8), 1400);
}

#define IN(v) (CIP_VERDICTS + (v))

/* RFC 9484 8.1: full tunnel, with the address asked for. */
static void remote_access(void **state)
{
    struct pair p;
    struct ip_prefix want = prefix("0.0.0.0/32");
    uint64_t id;

    (void)state;
    pair_init(&p, false);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.11", "198.51.100.1"), CIP_NO_ROUTE);
    assert_int_equal(cip_request(&p.end[CLIENT], &want, 1, &id), 0);
    assert_int_equal(id, 1);
    pump(&p);
    assert_string_equal(events(&p.end[PROXY]), "requested 1:0.0.0.0/32; ");
    assign(&p.end[PROXY], 1, "192.0.2.11", NULL);
    advertise(&p.end[PROXY], "0.0.0.0", "255.255.255.255", 0);
    pump(&p);
    assert_string_equal(events(&p.end[CLIENT]),
                        "addresses 1:192.0.2.11/32; routes 0.0.0.0-255.255.255.255/0; ");
    assert_string_equal(events(&p.end[CLIENT]), "");
    assert_int_equal(p.end[CLIENT].nopen, 0);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.11", "198.51.100.1"), CIP_OK);
    assert_int_equal(send_udp(&p, PROXY, "198.51.100.1", "192.0.2.11"), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.12", "198.51.100.1"), CIP_SOURCE);
    assert_int_equal(send_udp(&p, PROXY, "198.51.100.1", "192.0.2.12"), CIP_NO_ROUTE);
    assert_int_equal(send_udp(&p, CLIENT, "fd00::1", "2001:db8::1"), CIP_NO_ROUTE);
    /* who routes for nobody sends no errors of others either */
    assert_int_equal(send_proto(&p, CLIENT, "192.0.2.12", "198.51.100.1", 1, 11), CIP_SOURCE);
    /* a withdrawn address is gone at once */
    assert_int_equal(cip_assign(&p.end[PROXY], NULL, 0), 0);
    pump(&p);
    assert_string_equal(events(&p.end[CLIENT]), "addresses; ");
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.11", "198.51.100.1"), CIP_SOURCE);
    pair_free(&p);
}

/* RFC 9484 8.1, figure 16: split tunnel around the client's own address. */
static void split_tunnel(void **state)
{
    struct pair p;
    struct ip_range r[2] = {range("192.0.2.43", "192.0.2.255", 0),
                            range("192.0.2.0", "192.0.2.41", 0)};

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, "192.0.2.42", NULL);
    assert_int_equal(cip_advertise(&p.end[PROXY], r, 2), 0); /* in any order */
    pump(&p);
    assert_string_equal(events(&p.end[CLIENT]),
                        "addresses 0:192.0.2.42/32; "
                        "routes 192.0.2.0-192.0.2.41/0 192.0.2.43-192.0.2.255/0; ");
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.42", "192.0.2.1"), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.42", "192.0.2.255"), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.42", "192.0.2.42"), CIP_NO_ROUTE);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.42", "198.51.100.1"), CIP_NO_ROUTE);
    assert_int_equal(send_udp(&p, PROXY, "192.0.2.1", "192.0.2.42"), CIP_OK);
    assert_int_equal(send_udp(&p, PROXY, "198.51.100.1", "192.0.2.42"), CIP_SOURCE);
    /* a router outside the routes may say that it could not deliver */
    assert_int_equal(send_proto(&p, PROXY, "198.51.100.1", "192.0.2.42", 1, 11), CIP_OK);
    assert_int_equal(send_proto(&p, PROXY, "198.51.100.1", "192.0.2.42", 1, 8), CIP_SOURCE);
    pair_free(&p);
}

/* RFC 9484 8.2: each end has an address from the other and routes a network. */
static void site_to_site(void **state)
{
    struct pair p;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[CLIENT], 0, "192.0.2.200", NULL);
    advertise(&p.end[CLIENT], "192.0.2.0", "192.0.2.255", 0);
    assign(&p.end[PROXY], 0, "203.0.113.100", NULL);
    advertise(&p.end[PROXY], "203.0.113.0", "203.0.113.255", 0);
    pump(&p);
    assert_string_equal(events(&p.end[PROXY]),
                        "addresses 0:192.0.2.200/32; routes 192.0.2.0-192.0.2.255/0; ");
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.1", "203.0.113.9"), CIP_OK);
    assert_int_equal(send_udp(&p, PROXY, "203.0.113.9", "192.0.2.1"), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, "203.0.113.100", "203.0.113.9"), CIP_OK);
    assert_int_equal(send_udp(&p, PROXY, "192.0.2.200", "192.0.2.3"), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, "192.0.3.1", "203.0.113.9"), CIP_SOURCE);
    assert_int_equal(send_udp(&p, PROXY, "203.0.113.9", "192.0.3.1"), CIP_NO_ROUTE);
    assert_int_equal(send_proto(&p, CLIENT, "198.51.100.7", "203.0.113.9", 1, 11), CIP_OK);
    pair_free(&p);
}

/* RFC 9484 8.3: one host, one protocol. */
static void flow_forwarding(void **state)
{
    static const char us[] = "2001:db8:1234::a", host[] = "2001:db8:3456::b";
    uint8_t pkt[100], body[16] = {IP_PROTO_SCTP};
    struct pair p;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, us, NULL);
    advertise(&p.end[PROXY], host, host, IP_PROTO_SCTP);
    pump(&p);
    assert_int_equal(send_proto(&p, CLIENT, us, host, IP_PROTO_SCTP, 0), CIP_OK);
    assert_int_equal(send_proto(&p, PROXY, host, us, IP_PROTO_SCTP, 0), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, us, host), CIP_PROTOCOL);
    assert_int_equal(send_udp(&p, PROXY, host, us), CIP_PROTOCOL);
    assert_int_equal(send_proto(&p, CLIENT, us, "2001:db8:3456::c", IP_PROTO_SCTP, 0),
                     CIP_NO_ROUTE);
    /* ICMP is always allowed, and the protocol is that behind extension headers (4.8) */
    assert_int_equal(send_proto(&p, CLIENT, us, host, IP_PROTO_ICMPV6, 128), CIP_OK);
    assert_int_equal(send_proto(&p, PROXY, host, us, IP_PROTO_ICMPV6, 129), CIP_OK);
    assert_int_equal(send_packet(&p, CLIENT, pkt,
                                 make_packet(pkt, us, host, IP_PROTO_DSTOPTS, 64, body, 16),
                                 1400),
                     CIP_OK);
    body[0] = IP_PROTO_UDP;
    assert_int_equal(send_packet(&p, CLIENT, pkt,
                                 make_packet(pkt, us, host, IP_PROTO_DSTOPTS, 64, body, 16),
                                 1400),
                     CIP_PROTOCOL);
    pair_free(&p);
}

/* RFC 9484 8.4: both families, one capsule each. */
static void both_families(void **state)
{
    struct ip_range r[2] = {range("2001:db8:3456::b", "2001:db8:3456::b", 17),
                            range("198.51.100.2", "198.51.100.2", 17)};
    struct ip_addr a;
    struct pair p;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, "2001:db8::1234:1234", "192.0.2.3"); /* IPv4 goes first */
    assert_int_equal(cip_advertise(&p.end[PROXY], r, 2), 0);
    pump(&p);
    assert_int_equal(p.end[CLIENT].stats.capsules, 2);
    assert_string_equal(events(&p.end[CLIENT]),
                        "addresses 0:192.0.2.3/32 0:2001:db8::1234:1234/128; "
                        "routes 198.51.100.2-198.51.100.2/17 "
                        "2001:db8:3456::b-2001:db8:3456::b/17; ");
    assert_int_equal(send_udp(&p, CLIENT, "192.0.2.3", "198.51.100.2"), CIP_OK);
    assert_int_equal(send_udp(&p, CLIENT, "2001:db8::1234:1234", "2001:db8:3456::b"), CIP_OK);
    assert_int_equal(send_udp(&p, PROXY, "2001:db8:3456::b", "2001:db8::1234:1234"), CIP_OK);
    assert_int_equal(send_proto(&p, CLIENT, "192.0.2.3", "198.51.100.2", 6, 0), CIP_PROTOCOL);
    assert_true(cip_address(&p.end[CLIENT], 6, &a));
    struct ip_addr six = addr("2001:db8::1234:1234");
    assert_true(ip_addr_equal(&a, &six));
    assert_false(cip_address(&p.end[PROXY], 4, &a));
    pair_free(&p);
}

static size_t hex_bytes(const char *text, uint8_t *out)
{
    size_t n = 0;
    unsigned byte;

    for (; *text; text += *text == ' ' ? 1 : 2)
        if (*text != ' ') {
            assert_int_equal(sscanf(text, "%2x", &byte), 1);
            out[n++] = (uint8_t)byte;
        }
    return n;
}

/* 10.0.0.5/32; all of IPv4; fd00::5 with its pool's /112; all of IPv6 */
#define SPLIT_1 "01 07 00 04 0a000005 20"
#define SPLIT_2 "03 0a 04 00000000 ffffffff 00"
#define SPLIT_3 "01 13 00 06 fd000000000000000000000000000005 70"
#define SPLIT_4 "03 22 06 00000000000000000000000000000000 ffffffffffffffffffffffffffffffff 00"

/* A server that sends each family by itself, the IPv6 address with host bits. */
static void splitting_peer(void **state)
{
    uint8_t b[256];
    uint64_t seed = 1;
    struct pair p;
    size_t n = hex_bytes(SPLIT_1 SPLIT_2 SPLIT_3 SPLIT_4, b);

    (void)state;
    pair_init(&p, true);
    assert_int_equal(feed(&p.end[CLIENT], b, n, &seed, NULL), 0);
    assert_string_equal(events(&p.end[CLIENT]),
                        "addresses 0:10.0.0.5/32 0:fd00::5/128; "
                        "routes 0.0.0.0-255.255.255.255/0 "
                        "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0; ");
    struct cip_head head;
    uint8_t pkt[100];
    make_udp(pkt, "fd00::5", "2001:db8::1", 64, 100);
    assert_int_equal(cip_out(&p.end[CLIENT], pkt, 100, 100, 1400, &head), CIP_OK);
    make_udp(pkt, "fd00::6", "2001:db8::1", 64, 100); /* its pool is not ours */
    assert_int_equal(cip_out(&p.end[CLIENT], pkt, 100, 100, 1400, &head), CIP_SOURCE);
    make_udp(pkt, "10.0.0.5", "192.0.2.1", 64, 100);
    assert_int_equal(cip_out(&p.end[CLIENT], pkt, 100, 100, 1400, &head), CIP_OK);
    /* from now on each capsule replaces its own family; an empty one everything */
    n = hex_bytes("01 07 00 04 0a000006 20", b);
    assert_int_equal(feed(&p.end[CLIENT], b, n, &seed, NULL), 0);
    assert_string_equal(events(&p.end[CLIENT]), "addresses 0:10.0.0.6/32 0:fd00::5/128; ");
    n = hex_bytes("03 0a 04 0a000000 0a0000ff 00", b);
    assert_int_equal(feed(&p.end[CLIENT], b, n, &seed, NULL), 0);
    assert_string_equal(events(&p.end[CLIENT]),
                        "routes 10.0.0.0-10.0.0.255/0 "
                        "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0; ");
    n = hex_bytes("01 00 03 00", b);
    assert_int_equal(feed(&p.end[CLIENT], b, n, &seed, NULL), 0);
    assert_string_equal(events(&p.end[CLIENT]), "addresses; routes; ");
    pair_free(&p);
}

/* Everyone else is held to the letter: a capsule replaces the last, host bits are wrong. */
static void strict_peers(void **state)
{
    static const struct {
        bool quirk;
        const char *bytes;
        int err;
        const char *events;
    } row[] = {
        /* clang-format off */
        {false, SPLIT_1 SPLIT_2 SPLIT_3, MASQUE_H3_MESSAGE_ERROR, NULL},
        {true, SPLIT_3, MASQUE_H3_MESSAGE_ERROR, NULL},      /* no IPv4 before it */
        {true, SPLIT_1 "01 13 01 06 fd000000000000000000000000000005 70",
         MASQUE_H3_MESSAGE_ERROR, NULL},                     /* in answer to a request */
        {true, SPLIT_1 "01 1a 00 04 0a000005 20 00 06 fd000000000000000000000000000005 70",
         MASQUE_H3_MESSAGE_ERROR, NULL},                     /* both families */
        {true, SPLIT_1 "01 07 00 04 0a000005 18", MASQUE_H3_MESSAGE_ERROR, NULL}, /* IPv4 */
        {true, SPLIT_1 "01 13 00 06 fd000000000000000000000000000000 70", 0,
         "addresses 0:fd00::/112; "},                        /* without host bits: replaced */
        {true, SPLIT_1 SPLIT_2 "01 13 00 06 fd000000000000000000000000000005 80" SPLIT_4, 0,
         "addresses 0:fd00::5/128; routes ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0; "},
        /* clang-format on */
    };
    uint8_t b[256];
    uint64_t seed = 1;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct pair p;

        pair_init(&p, row[i].quirk);
        assert_int_equal(feed(&p.end[CLIENT], b, hex_bytes(row[i].bytes, b), &seed, NULL),
                         row[i].err);
        if (row[i].events)
            assert_string_equal(events(&p.end[CLIENT]), row[i].events);
        pair_free(&p);
    }
}

/* What a strict reader asks of us: one capsule per change, canonical, in order. */
static void strict_output(void **state)
{
    uint64_t seed = 17;

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct cip_config cfg = {.stream_id = 0};
        struct cip c;
        struct capsule_reader reader;
        struct capsule cap;
        struct ip_assign a[CIP_PREFIXES_MAX], got[CIP_PREFIXES_MAX];
        struct ip_assign_seen seen;
        struct ip_range r[40], gotr[100];
        size_t na, nr, n;
        struct span s;

        assert_int_equal(cip_init(&c, &cfg), 0);
        capsule_reader_init(&reader, ~0ull, 1 << 20, 0);
        /* several changes before anybody reads: only the last ones are sent */
        for (int k = 0; k < 3; k++) {
            na = rnd(&seed) % (CIP_PREFIXES_MAX + 1);
            nr = rnd(&seed) % 40;
            for (size_t i = 0; i < na; i++) {
                a[i].request_id = 0;
                a[i].prefix.addr =
                    rnd(&seed) % 2 ? ip_addr_v4((uint32_t)rnd(&seed)) : addr("fd00::5:7");
                a[i].prefix.len =
                    (uint8_t)(rnd(&seed) % (ip_bits(a[i].prefix.addr.version) + 1));
                a[i].prefix = ip_prefix_mask(&a[i].prefix);
            }
            for (size_t i = 0; i < nr; i++) {
                r[i].start = ip_addr_v4((uint32_t)rnd(&seed));
                r[i].end = r[i].start;
                ip_addr_add(&r[i].start, rnd(&seed) >> 36, &r[i].end);
                r[i].proto = (uint8_t)(rnd(&seed) % 3);
            }
            assert_int_equal(cip_assign(&c, a, na), 0);
            assert_int_equal(cip_advertise(&c, r, nr), 0);
            assert_true(cip_check(&c));
        }
        s = cip_out_bytes(&c);
        assert_int_equal(capsule_next(&reader, &s, &cap), 0);
        assert_int_equal(cap.type, CAPSULE_ADDRESS_ASSIGN);
        assert_int_equal(
            ipcapsule_parse_assign(cap.value, false, got, CIP_PREFIXES_MAX, &n, &seen), 0);
        assert_int_equal(n, na);
        for (size_t i = 1; i < n; i++)
            assert_true(got[i - 1].prefix.addr.version <= got[i].prefix.addr.version);
        assert_int_equal(capsule_next(&reader, &s, &cap), 0);
        assert_int_equal(cap.type, CAPSULE_ROUTE_ADVERTISEMENT);
        assert_int_equal(ipcapsule_parse_routes(cap.value, gotr, 100, &n), 0);
        assert_int_equal(capsule_next(&reader, &s, &cap), QUIC_AGAIN);
        cip_out_done(&c, cip_out_bytes(&c).n);
        assert_int_equal(cip_out_bytes(&c).n, 0);
        assert_int_equal(capsule_end(&reader), 0);
        capsule_reader_free(&reader);
        cip_free(&c);
    }
}

/* A change while a large capsule is half read goes out whole behind it. */
static void change_while_sending(void **state)
{
    static struct ip_range r[CIP_RANGES_MAX];
    struct pair p;
    struct cip *c;

    (void)state;
    pair_init(&p, false);
    c = &p.end[PROXY];
    for (uint32_t i = 0; i < CIP_RANGES_MAX; i++)
        r[i] = (struct ip_range){ip_addr_v4(2 * i), ip_addr_v4(2 * i), 0};
    assert_int_equal(cip_advertise(c, r, CIP_RANGES_MAX), 0);
    for (size_t due = 3; due-- > 0;) {
        struct span s = cip_out_bytes(c);

        assert_int_equal(feed(&p.end[CLIENT], s.p, 100, &p.seed, NULL), 0);
        cip_out_done(c, 100);
        assert_int_equal(cip_advertise(c, r, CIP_RANGES_MAX - 3 + due), 0);
        assign(c, 0, "10.0.0.2", NULL);
        assert_true(cip_check(c));
        s = cip_out_bytes(c);
        assert_int_equal(feed(&p.end[CLIENT], s.p, s.n, &p.seed, NULL), 0);
        cip_out_done(c, s.n);
        assert_true(cip_check(c));
    }
    pump(&p);
    assert_int_equal(p.end[CLIENT].nours, 1);
    assert_int_equal(p.end[CLIENT].their_routes.n, CIP_RANGES_MAX - 3);
    pair_free(&p);
}

static void request_life(void **state)
{
    struct ip_prefix want[CIP_REQUESTS_MAX + 1];
    struct ip_assign list[2] = {{1, prefix("10.0.0.2")}};
    uint64_t ids[3];
    struct pair p;
    struct cip *client, *proxy;

    (void)state;
    pair_init(&p, false);
    client = &p.end[CLIENT];
    proxy = &p.end[PROXY];
    want[0] = prefix("0.0.0.0/32");
    want[1] = prefix("fd00:1::/64");
    want[2] = prefix("10.9.9.9/32");
    assert_int_equal(cip_request(client, want, 3, ids), 0);
    pump(&p);
    assert_string_equal(events(proxy), "requested 1:0.0.0.0/32; requested 2:fd00:1::/64; "
                                       "requested 3:10.9.9.9/32; ");
    /* one granted, one refused; the refusal goes out once (RFC 9484 4.7.2) */
    assert_int_equal(cip_refuse(proxy, 2), 0);
    assert_int_equal(cip_refuse(proxy, 2), QUIC_INVAL);
    assert_int_equal(cip_refuse(proxy, 77), QUIC_INVAL);
    assert_int_equal(cip_assign(proxy, list, 1), 0);
    pump(&p);
    assert_string_equal(events(client), "addresses 1:10.0.0.2/32; refused 2; ");
    assert_int_equal(client->nopen, 1);
    assert_int_equal(proxy->nasked, 1);
    assert_int_equal(cip_assign(proxy, list, 1), 0);
    pump(&p);
    assert_string_equal(events(client), "");
    /* a refusal alone repeats what is assigned, so nothing changes */
    assert_int_equal(cip_refuse(proxy, 3), 0);
    pump(&p);
    assert_string_equal(events(client), "refused 3; ");
    assert_int_equal(client->nopen, 0);
    /* IDs go on, and are bounded */
    for (size_t i = 0; i <= CIP_REQUESTS_MAX; i++)
        want[i] = prefix("0.0.0.0/32");
    assert_int_equal(cip_request(client, want, CIP_REQUESTS_MAX + 1, NULL), QUIC_BLOCKED);
    assert_int_equal(cip_request(client, want, CIP_REQUESTS_MAX, NULL), 0);
    assert_int_equal(cip_request(client, want, 1, NULL), QUIC_BLOCKED);
    pump(&p);
    assert_int_equal(cip_request(client, want, 1, NULL), QUIC_BLOCKED);
    for (uint64_t id = 4; id < 4 + CIP_REQUESTS_MAX; id++)
        assert_int_equal(cip_refuse(proxy, id), 0);
    pump(&p);
    assert_true(strstr(events(client), "refused 19; ") != NULL);
    assert_int_equal(cip_request(client, want, 1, ids), 0);
    assert_int_equal(ids[0], 4 + CIP_REQUESTS_MAX);
    assert_int_equal(cip_request(client, want, 0, NULL), QUIC_INVAL);
    want[0] = prefix("10.0.0.1/24");
    assert_int_equal(cip_request(client, want, 1, NULL), QUIC_INVAL);
    pair_free(&p);
}

/* Told once for each change, the last one only; an empty list, too, but not as the first. */
static void path_rates(void **state)
{
    struct path_rate r[CIP_RATES_MAX + 1] = {{1, 4000}, {0, 64}};
    struct pair p;
    struct cip *c;

    (void)state;
    pair_init(&p, false);
    c = &p.end[CLIENT];
    assert_int_equal(cip_tell_rates(c, NULL, 0), 0);
    assert_int_equal(cip_out_bytes(c).n, 0);
    assert_int_equal(cip_tell_rates(c, r, 2), 0);
    pump(&p);
    assert_string_equal(events(&p.end[PROXY]), "rates 1:4000 0:64; ");
    assert_int_equal(cip_tell_rates(c, r, 2), 0);
    assert_int_equal(cip_out_bytes(c).n, 0);
    for (uint64_t kbps = 70; kbps < 75; kbps++) { /* before anybody reads */
        r[1].kbps = kbps;
        assert_int_equal(cip_tell_rates(c, r, 2), 0);
        assert_true(cip_check(c));
    }
    assign(c, 0, "192.0.2.200", NULL);
    pump(&p);
    assert_string_equal(events(&p.end[PROXY]),
                        "addresses 0:192.0.2.200/32; rates 1:4000 0:74; ");
    assert_int_equal(p.end[PROXY].stats.capsules, 3);
    /* a change while half of the last is read */
    r[0].kbps = 5000;
    assert_int_equal(cip_tell_rates(c, r, 1), 0);
    assert_int_equal(feed(&p.end[PROXY], cip_out_bytes(c).p, 9, &p.seed, NULL), 0);
    cip_out_done(c, 9);
    r[0].kbps = 6000;
    assert_int_equal(cip_tell_rates(c, r, 1), 0);
    pump(&p);
    assert_string_equal(events(&p.end[PROXY]), "rates 1:6000; ");
    /* what can't be told changes nothing */
    r[1].path = 1;
    assert_int_equal(cip_tell_rates(c, r, 2), QUIC_INVAL);
    r[1] = (struct path_rate){VARINT_MAX + 1, 1};
    assert_int_equal(cip_tell_rates(c, r, 2), QUIC_INVAL);
    r[1] = (struct path_rate){2, VARINT_MAX + 1};
    assert_int_equal(cip_tell_rates(c, r, 2), QUIC_INVAL);
    for (uint64_t i = 0; i <= CIP_RATES_MAX; i++)
        r[i] = (struct path_rate){VARINT_MAX - i, VARINT_MAX};
    assert_int_equal(cip_tell_rates(c, r, CIP_RATES_MAX + 1), QUIC_TOOBIG);
    assert_int_equal(cip_out_bytes(c).n, 0);
    assert_true(c->nour_rates == 1 && c->our_rates[0].kbps == 6000);
    /* the most there can be */
    assert_int_equal(cip_tell_rates(c, r, CIP_RATES_MAX), 0);
    pump(&p);
    assert_int_equal(p.end[PROXY].ntheir_rates, CIP_RATES_MAX);
    assert_int_equal(cip_tell_rates(c, NULL, 0), 0);
    pump(&p);
    events(&p.end[PROXY]);
    assert_int_equal(p.end[PROXY].ntheir_rates, 0);
    pair_free(&p);
}

static void bad_lists(void **state)
{
    static struct ip_assign a[CIP_PREFIXES_MAX + 1];
    static struct ip_range r[2 * CIP_RANGES_MAX];
    struct pair p;
    struct cip *c;

    (void)state;
    pair_init(&p, false);
    c = &p.end[PROXY];
    assign(c, 0, "10.0.0.2", NULL);
    cip_out_done(c, cip_out_bytes(c).n);
    a[0].prefix = prefix("10.0.0.1/24");
    assert_int_equal(cip_assign(c, a, 1), QUIC_INVAL);
    a[0] = (struct ip_assign){3, prefix("0.0.0.0/32")};
    assert_int_equal(cip_assign(c, a, 1), QUIC_INVAL);
    for (size_t i = 0; i <= CIP_PREFIXES_MAX; i++)
        a[i] = (struct ip_assign){0, prefix("10.0.0.9")};
    assert_int_equal(cip_assign(c, a, CIP_PREFIXES_MAX + 1), QUIC_TOOBIG);
    r[0] = range("10.0.0.9", "10.0.0.1", 0);
    assert_int_equal(cip_advertise(c, r, 1), QUIC_INVAL);
    for (uint32_t i = 0; i < 2 * CIP_RANGES_MAX; i++) {
        r[i] = range("0.0.0.0", "0.0.0.0", 0);
        ip_addr_add(&r[i].start, 2 * i, &r[i].start);
        r[i].end = r[i].start;
    }
    assert_int_equal(cip_advertise(c, r, CIP_RANGES_MAX + 1), QUIC_TOOBIG);
    assert_int_equal(cip_out_bytes(c).n, 0);
    assert_int_equal(c->ntheirs, 1);
    assert_true(cip_check(c));
    /* the most there can be, through to the other end */
    assert_int_equal(cip_advertise(c, r, CIP_RANGES_MAX), 0);
    pump(&p);
    assert_int_equal(p.end[CLIENT].their_routes.n, CIP_RANGES_MAX);
    assert_null(c->out); /* large buffers are given back */
    assert_null(p.end[CLIENT].reader.buf);
    /* many ranges that make up few */
    for (uint32_t i = 0; i < 2 * CIP_RANGES_MAX; i++)
        r[i] = (struct ip_range){ip_addr_v4(i), ip_addr_v4(i), 0};
    assert_int_equal(cip_advertise(c, r, 2 * CIP_RANGES_MAX), 0);
    pump(&p);
    assert_int_equal(p.end[CLIENT].their_routes.n, 1);
    pair_free(&p);
    assert_int_equal(cip_init(c, &(struct cip_config){.stream_id = 3}), QUIC_INVAL);
}

/* Each reason to drop a packet, out and in, by its counter. */
static void verdicts(void **state)
{
    static const struct {
        int from;
        const char *src, *dst;
        uint8_t hops, want; /* IN(...) for the receiver's verdict */
    } row[] = {
        /* clang-format off */
        {CLIENT, "10.0.0.2", "192.0.2.1", 64, CIP_OK},
        {CLIENT, "10.0.0.2", "192.0.2.1", 2, CIP_OK},
        {CLIENT, "10.0.0.2", "192.0.2.1", 1, CIP_HOP_LIMIT},
        {CLIENT, "10.0.0.2", "192.0.2.1", 0, CIP_HOP_LIMIT},
        {CLIENT, "10.0.0.2", "224.0.0.251", 64, CIP_MULTICAST},
        {CLIENT, "10.0.0.2", "255.255.255.255", 64, CIP_MULTICAST},
        {CLIENT, "169.254.0.9", "192.0.2.1", 64, CIP_LINK_LOCAL},
        {CLIENT, "10.0.0.2", "169.254.0.9", 64, CIP_LINK_LOCAL},
        {CLIENT, "10.0.0.2", "127.0.0.1", 64, CIP_MARTIAN},
        {CLIENT, "127.0.0.1", "192.0.2.1", 64, CIP_MARTIAN},
        {CLIENT, "0.0.0.0", "192.0.2.1", 64, CIP_MARTIAN},
        {CLIENT, "10.0.0.2", "240.0.0.1", 64, CIP_MARTIAN},
        {CLIENT, "10.0.0.3", "192.0.2.1", 64, CIP_SOURCE},
        {CLIENT, "fd00::2", "2001:db8::1", 64, CIP_OK},
        {CLIENT, "fd00::2", "2001:db8::1", 1, CIP_HOP_LIMIT},
        {CLIENT, "fe80::2", "ff02::2", 255, CIP_MULTICAST},
        {CLIENT, "fe80::2", "2001:db8::1", 64, CIP_LINK_LOCAL},
        {CLIENT, "fd00::2", "fe80::1", 64, CIP_LINK_LOCAL},
        {CLIENT, "fd00::2", "::1", 64, CIP_MARTIAN},
        {CLIENT, "::", "2001:db8::1", 64, CIP_MARTIAN},
        {CLIENT, "fd00::2", "::ffff:10.0.0.1", 64, CIP_MARTIAN},
        {CLIENT, "fd00::3", "2001:db8::1", 64, CIP_SOURCE},
        {PROXY, "192.0.2.1", "10.0.0.2", 64, CIP_OK},
        {PROXY, "10.0.0.1", "10.0.0.2", 64, CIP_OK},
        {PROXY, "192.0.2.1", "10.0.0.3", 64, CIP_NO_ROUTE},
        {PROXY, "fd00::1", "fd00::2", 64, CIP_OK},
        {PROXY, "fd00::1", "fd00::3", 64, CIP_NO_ROUTE},
        {PROXY, "224.0.0.1", "10.0.0.2", 64, CIP_MARTIAN},
        /* clang-format on */
    };
    struct pair p;
    uint8_t pkt[1500];
    struct span got;

    (void)state;
    pair_init(&p, false);
    struct ip_range all[2] = {ip_range_all(4, 0), ip_range_all(6, 0)};
    assign(&p.end[PROXY], 0, "10.0.0.2", "fd00::2");
    assert_int_equal(cip_advertise(&p.end[PROXY], all, 2), 0);
    pump(&p);
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct cip *c = &p.end[row[i].from], *other = &p.end[!row[i].from];
        uint64_t before = c->stats.out[row[i].want], in = other->stats.in[CIP_OK];
        size_t n = make_udp(pkt, row[i].src, row[i].dst, row[i].hops, 100);
        int v = send_packet(&p, row[i].from, pkt, n, 100);

        if (v != row[i].want)
            fail_msg("row %zu: %d", i, v);
        assert_int_equal(c->stats.out[row[i].want], before + 1);
        assert_int_equal(other->stats.in[CIP_OK], in + (v == CIP_OK));
        /* the same packet from a peer that checks nothing is refused on arrival */
        pkt[0] = 0; /* context */
        n = make_udp(pkt + 1, row[i].src, row[i].dst, row[i].hops, 100);
        enum cip_verdict vin = cip_in(other, span_of(pkt, n + 1), &got);
        if (row[i].want == CIP_HOP_LIMIT)
            assert_int_equal(vin, CIP_OK); /* only encapsulation counts hops */
        else if (vin != (enum cip_verdict)row[i].want)
            fail_msg("row %zu, in: %d", i, vin);
    }
    /* size: exactly what fits, and one more */
    make_udp(pkt, "10.0.0.2", "192.0.2.1", 64, 1400);
    assert_int_equal(send_packet(&p, CLIENT, pkt, 1400, 1400), CIP_OK);
    make_udp(pkt, "10.0.0.2", "192.0.2.1", 64, 1400);
    assert_int_equal(send_packet(&p, CLIENT, pkt, 1400, 1399), CIP_TOO_BIG);
    /* malformed, both ways; contexts; source routes */
    assert_int_equal(send_packet(&p, CLIENT, pkt, 1399, 1400), CIP_MALFORMED);
    assert_int_equal(cip_in(&p.end[PROXY], span_of(pkt, 0), &got), CIP_MALFORMED);
    assert_int_equal(cip_in(&p.end[PROXY], span_of("\0", 1), &got), CIP_MALFORMED);
    assert_int_equal(cip_in(&p.end[PROXY], span_of("\0\x45", 2), &got), CIP_MALFORMED);
    assert_int_equal(cip_in(&p.end[PROXY], span_of("\x02\x45", 2), &got), CIP_CONTEXT);
    assert_int_equal(cip_in(&p.end[PROXY], span_of("\x40", 1), &got), CIP_MALFORMED);
    uint8_t rh0[32] = {IP_PROTO_UDP, 2, 0, 1};
    size_t n = make_packet(pkt, "fd00::2", "2001:db8::1", IP_PROTO_ROUTING, 64, rh0, 32);
    assert_int_equal(send_packet(&p, CLIENT, pkt, n, 1400), CIP_SOURCE_ROUTE);
    for (int v = 0; v < CIP_VERDICTS; v++)
        for (int w = 0; w < v; w++)
            assert_string_not_equal(cip_verdict_name((enum cip_verdict)v),
                                    cip_verdict_name((enum cip_verdict)w));
    assert_string_equal(cip_verdict_name(CIP_VERDICTS), "unknown");
    pair_free(&p);
}

/* The ICMP message for each verdict: type, code and source, towards either side. */
static void answers(void **state)
{
    static const struct {
        enum cip_verdict v;
        int type4, code4, type6, code6; /* -1: none */
    } row[] = {
        /* clang-format off */
        {CIP_SOURCE,       3, 13,  1, 5},
        {CIP_NO_ROUTE,     3, 0,   1, 0},
        {CIP_PROTOCOL,     3, 13,  1, 1},
        {CIP_HOP_LIMIT,    11, 0,  3, 0},
        {CIP_TOO_BIG,      3, 4,   2, 0},
        {CIP_OK,           -1, -1, -1, -1},
        {CIP_MALFORMED,    -1, -1, -1, -1},
        {CIP_CONTEXT,      -1, -1, -1, -1},
        {CIP_SOURCE_ROUTE, -1, -1, -1, -1},
        {CIP_LINK_LOCAL,   -1, -1, -1, -1},
        {CIP_MULTICAST,    -1, -1, -1, -1},
        {CIP_MARTIAN,      -1, -1, -1, -1},
        {CIP_ECHO,         -1, -1, -1, -1},
        /* clang-format on */
    };
    /* who answers: towards the device, the peer's address; towards the peer, our own */
    static const struct {
        int end;
        bool out;
        const char *v4, *v6;
    } who[] = {
        {CLIENT, true, "10.0.0.1", "fd00::1"},  /* the gateway it was told */
        {CLIENT, false, "10.0.0.2", "fd00::2"}, /* its assigned addresses */
        {PROXY, true, "10.0.0.2", "fd00::2"},   /* the client's */
        {PROXY, false, "10.0.0.1", "fd00::1"},  /* its own */
    };
    uint8_t pkt[100], out[ICMP_MAX];
    struct ip_addr g4 = addr("10.0.0.1"), g6 = addr("fd00::1");
    struct pair p;
    ns_t now = NS_PER_S;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, "10.0.0.2", "fd00::2");
    pump(&p);
    for (int e = 0; e < 2; e++)
        cip_set_self(&p.end[e], &g4, &g6);
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        for (size_t k = 0; k < 2 * ARRAY_LEN(who); k++) {
            bool v6 = k % 2;
            struct cip *c = &p.end[who[k / 2].end];
            struct ip_addr src = addr(v6 ? who[k / 2].v6 : who[k / 2].v4);
            struct span s = span_of(pkt, make_udp(pkt, v6 ? "fd00:5::5" : "10.5.0.5",
                                                  v6 ? "fd00:5::6" : "10.5.0.6", 9, 100));
            size_t n = who[k / 2].out
                           ? cip_reject_out(c, row[i].v, s, 1300, now, out, sizeof(out))
                           : cip_reject_in(c, row[i].v, s, now, out, sizeof(out));
            int type = v6 ? row[i].type6 : row[i].type4;

            now += 100 * NS_PER_MS;
            assert_int_equal(n > 0, type >= 0);
            if (n == 0)
                continue;
            assert_int_equal(out[v6 ? 40 : 20], type);
            assert_int_equal(out[v6 ? 41 : 21], v6 ? row[i].code6 : row[i].code4);
            assert_memory_equal(out + (v6 ? 8 : 12), src.b, ip_size(src.version));
            if (row[i].v == CIP_TOO_BIG && who[k / 2].out)
                assert_int_equal(out[v6 ? 46 : 26] << 8 | out[v6 ? 47 : 27], 1300);
        }
    /* with nothing known: towards the device the packet's destination, else none */
    cip_set_self(&p.end[CLIENT], NULL, NULL);
    make_udp(pkt, "10.0.0.2", "192.0.2.9", 9, 100);
    assert_true(cip_reject_out(&p.end[CLIENT], CIP_TOO_BIG, span_of(pkt, 100), 1300, now, out,
                               sizeof(out)) > 0);
    assert_memory_equal(out + 12, pkt + 16, 4);
    cip_set_self(&p.end[PROXY], NULL, NULL);
    assert_int_equal(
        cip_reject_in(&p.end[PROXY], CIP_NO_ROUTE, span_of(pkt, 100), now, out, sizeof(out)),
        0);
    assert_int_equal(cip_reject_out(&p.end[PROXY], CIP_TOO_BIG, span_of(pkt, 0), 1300, now, out,
                                    sizeof(out)),
                     0);
    /* a whole family assigned names no host: the gateway answers */
    cip_set_self(&p.end[CLIENT], &g4, &g6);
    assign(&p.end[CLIENT], 0, "0.0.0.0/0", NULL);
    make_udp(pkt, "10.0.0.2", "192.0.2.9", 9, 100);
    assert_true(cip_reject_out(&p.end[CLIENT], CIP_TOO_BIG, span_of(pkt, 100), 1300, now, out,
                               sizeof(out)) > 0);
    assert_memory_equal(out + 12, g4.b, 4);
    /* the answer passes the other end's checks */
    struct ip_range all[2] = {ip_range_all(4, 0), ip_range_all(6, 0)};
    assert_int_equal(cip_advertise(&p.end[PROXY], all, 2), 0);
    pump(&p);
    cip_set_self(&p.end[PROXY], &g4, &g6);
    make_udp(pkt, "10.0.0.2", "192.0.2.9", 9, 100);
    size_t n = cip_reject_in(&p.end[PROXY], CIP_NO_ROUTE, span_of(pkt, 100), now, out + 1,
                             sizeof(out) - 1);
    struct span got;
    assert_true(n > 0);
    out[0] = 0;
    assert_int_equal(cip_in(&p.end[CLIENT], span_of(out, n + 1), &got), CIP_OK);
    assert_int_equal(cip_prefix(&p.end[PROXY])->len, 2);
    pair_free(&p);
}

static void answer_rate(void **state)
{
    struct cip_config cfg = {.stream_id = 0, .icmp_rate = 10, .icmp_burst = 5};
    uint8_t pkt[100], bad[100], out[ICMP_MAX];
    unsigned answered = 0;
    struct cip c;

    (void)state;
    assert_int_equal(cip_init(&c, &cfg), 0);
    make_udp(pkt, "10.0.0.2", "192.0.2.9", 9, 100);
    make_udp(bad, "10.0.0.2", "224.0.0.9", 9, 100);
    for (int i = 0; i < 100; i++) {
        /* what is not to be answered takes nothing from what is */
        assert_int_equal(cip_reject_out(&c, CIP_NO_ROUTE, span_of(bad, 100), 1300, NS_PER_S,
                                        out, sizeof(out)),
                         0);
    }
    for (int i = 0; i < 100; i++)
        answered += cip_reject_out(&c, CIP_NO_ROUTE, span_of(pkt, 100), 1300, NS_PER_S, out,
                                   sizeof(out)) > 0;
    assert_int_equal(answered, 5);
    assert_int_equal(c.stats.answers, 5);
    assert_int_equal(c.stats.answers_limited, 95);
    cip_free(&c);
}

/* The peer's probe of the link's MTU: an echo request of 1280 bytes to all nodes. */
static void link_probe(void **state)
{
    uint8_t body[1240] = {128}, pkt[1300], out[1300];
    struct ip_addr g6 = addr("fd00::1");
    struct pair p;
    struct span got;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, "fd00::2", NULL);
    pump(&p);
    cip_set_self(&p.end[PROXY], NULL, &g6);
    for (int i = 0; i < 3; i++) {
        /* from the address it has, a link-local one, and somebody else's */
        static const char *const src[] = {"fd00::2", "fe80::2", "fd00::3"};
        size_t n = make_packet(pkt + 1, src[i], "ff02::1", 58, 255, body, sizeof(body));

        pkt[0] = 0;
        set16(pkt + 1 + 42, (uint16_t)~upper_sum(pkt + 1, 40, 58, sizeof(body)));
        enum cip_verdict v = cip_in(&p.end[PROXY], span_of(pkt, n + 1), &got);
        assert_int_equal(v, i < 2 ? CIP_ECHO : CIP_MULTICAST);
        n = cip_reject_in(&p.end[PROXY], v, got, NS_PER_S, out, sizeof(out));
        assert_int_equal(n, i < 2 ? 1280 : 0);
        if (n > 0)
            assert_memory_equal(out + 24, pkt + 1 + 8, 16);
    }
    pair_free(&p);
}

static void datagram_capsules(void **state)
{
    uint8_t b[300];
    struct pair p;
    struct span in, dgram, got;
    unsigned n = 0;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, "10.0.0.2", NULL);
    advertise(&p.end[PROXY], "0.0.0.0", "255.255.255.255", 0);
    pump(&p);
    b[0] = CAPSULE_DATAGRAM;
    set16(b + 1, 0x4000 | 101);
    b[3] = 0;
    make_udp(b + 4, "10.0.0.2", "192.0.2.1", 64, 100);
    memcpy(b + 104, "\x00\x00\x17\x01\xff\x01\x00", 7); /* empty, unknown, ADDRESS_ASSIGN */
    in = span_of(b, 111);
    assert_int_equal(cip_recv(&p.end[PROXY], &in, &dgram), 0);
    assert_int_equal(dgram.n, 101);
    assert_int_equal(in.n, 7);
    assert_int_equal(cip_in(&p.end[PROXY], dgram, &got), CIP_OK);
    assert_int_equal(got.n, 100);
    assert_int_equal(cip_recv(&p.end[PROXY], &in, &dgram), 0);
    assert_int_equal(in.n + dgram.n, 0);
    assert_int_equal(p.end[PROXY].stats.in[CIP_MALFORMED], 1);
    assert_int_equal(p.end[PROXY].reader.skipped, 1);
    assert_int_equal(feed(&p.end[PROXY], b, 104, &p.seed, &n), 0);
    assert_int_equal(n, 1);
    in = span_of(b, 50);
    assert_int_equal(cip_recv(&p.end[PROXY], &in, &dgram), 0);
    assert_int_equal(cip_recv_end(&p.end[PROXY]), MASQUE_H3_MESSAGE_ERROR);
    pair_free(&p);
}

/* More than the bounds: the stream is aborted, and memory stays where it was. */
static void hostile_peer(void **state)
{
    static uint8_t b[60000];
    struct wire_w w;
    struct pair p;
    struct cip *c;
    uint64_t seed = 5;
    size_t n;

    (void)state;
    pair_init(&p, false);
    c = &p.end[PROXY];
    /* the same lists again and again are no events */
    n = hex_bytes(SPLIT_1 SPLIT_2, b);
    for (int i = 0; i < 100; i++)
        assert_int_equal(feed(c, b, n, &seed, NULL), 0);
    assert_true(strlen(events(c)) > 0);
    assert_int_equal(feed(c, b, n, &seed, NULL), 0);
    assert_string_equal(events(c), "");
    /* addresses that no packet can carry assign nothing */
    n = hex_bytes(
        "01 1c 00 04 7f000001 20 00 04 00000000 20 00 04 e0000001 20 00 04 a9fe0001 20", b);
    assert_int_equal(feed(c, b, n, &seed, NULL), 0);
    assert_string_equal(events(c), "addresses; ");
    /* one address too many */
    w = wire_w_of(b, sizeof(b));
    struct ip_assign a[CIP_PREFIXES_MAX + 1];
    for (size_t i = 0; i <= CIP_PREFIXES_MAX; i++)
        a[i] = (struct ip_assign){0, prefix("10.0.0.1")};
    ipcapsule_write_addresses(&w, CAPSULE_ADDRESS_ASSIGN, a, CIP_PREFIXES_MAX + 1);
    assert_int_equal(feed(c, b, sizeof(b) - wire_w_left(&w), &seed, NULL),
                     MASQUE_H3_EXCESSIVE_LOAD);
    pair_free(&p);
    /* one rate too many, a path twice, and the same again */
    for (size_t i = 0; i < 3; i++) {
        static const int want[] = {MASQUE_H3_EXCESSIVE_LOAD, MASQUE_H3_MESSAGE_ERROR, 0};
        struct path_rate r[CIP_RATES_MAX + 1];

        pair_init(&p, false);
        for (size_t k = 0; k <= CIP_RATES_MAX; k++)
            r[k] = (struct path_rate){k, 100};
        r[1].path = i == 1 ? 0 : 1;
        w = wire_w_of(b, sizeof(b));
        ipcapsule_write_rates(&w, r, i == 0 ? CIP_RATES_MAX + 1 : CIP_RATES_MAX);
        n = sizeof(b) - wire_w_left(&w);
        assert_int_equal(feed(&p.end[PROXY], b, n, &seed, NULL), want[i]);
        assert_int_equal(strlen(events(&p.end[PROXY])) > 0, want[i] == 0);
        if (want[i] == 0)
            assert_int_equal(feed(&p.end[PROXY], b, n, &seed, NULL), 0);
        assert_string_equal(events(&p.end[PROXY]), "");
        pair_free(&p);
    }
    /* one range too many, of IPv4 (parsed) and of IPv6 (the capsule alone is too long) */
    for (uint8_t version = 4; version <= 6; version += 2) {
        static struct ip_range r[CIP_RANGES_MAX + 1];

        pair_init(&p, false);
        for (uint32_t i = 0; i <= CIP_RANGES_MAX; i++) {
            r[i].start = addr(version == 4 ? "10.0.0.0" : "fd00::");
            ip_addr_add(&r[i].start, 2 * i, &r[i].start);
            r[i].end = r[i].start;
        }
        w = wire_w_of(b, sizeof(b));
        ipcapsule_write_routes(&w, r, CIP_RANGES_MAX + 1);
        assert_int_equal(feed(&p.end[PROXY], b, sizeof(b) - wire_w_left(&w), &seed, NULL),
                         MASQUE_H3_EXCESSIVE_LOAD);
        pair_free(&p);
    }
    /* requests that are never answered, or whose refusals are never read */
    for (int refuse = 0; refuse < 2; refuse++) {
        pair_init(&p, false);
        int err = 0;

        for (unsigned id = 1; id <= CIP_REQUESTS_MAX + 1 && err == 0; id++) {
            struct ip_assign one = {id, prefix("0.0.0.0")};
            struct cip_event ev;

            w = wire_w_of(b, sizeof(b));
            ipcapsule_write_addresses(&w, CAPSULE_ADDRESS_REQUEST, &one, 1);
            err = feed(&p.end[PROXY], b, sizeof(b) - wire_w_left(&w), &seed, NULL);
            assert_int_equal(err, id > CIP_REQUESTS_MAX ? MASQUE_H3_EXCESSIVE_LOAD : 0);
            while (err == 0 && cip_next_event(&p.end[PROXY], &ev))
                if (refuse)
                    assert_int_equal(cip_refuse(&p.end[PROXY], ev.request.request_id), 0);
        }
        pair_free(&p);
    }
    /* an ID that is still open */
    pair_init(&p, false);
    n = hex_bytes("02 07 01 04 00000000 20", b);
    assert_int_equal(feed(&p.end[PROXY], b, n, &seed, NULL), 0);
    assert_int_equal(feed(&p.end[PROXY], b, n, &seed, NULL), MASQUE_H3_MESSAGE_ERROR);
    pair_free(&p);
}

/* Random capsules and packets: nothing but defined results, and the invariant. */
static void random_input(void **state)
{
    static const uint8_t versions[] = {4, 4, 6, 6, 5};
    uint64_t seed = 33;
    unsigned ok = 0, aborted = 0;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        uint8_t b[400];
        struct pair p;
        size_t n = 0;
        int err;

        pair_init(&p, rnd(&seed) % 2);
        for (int k = rnd(&seed) % 5; k >= 0; k--) {
            uint8_t body[63] = {0};
            size_t len = 0;
            uint8_t type = (uint8_t)(rnd(&seed) % 5);
            int entries = rnd(&seed) % 3;

            while (entries-- > 0) {
                uint8_t v = versions[rnd(&seed) % 5];
                size_t size = v == 6 ? 16 : 4;

                if (len + 3 + 2 * size > sizeof(body))
                    break;
                if (type < 3)
                    body[len++] = (uint8_t)(rnd(&seed) % 3);
                body[len++] = v;
                for (size_t i = 0; i < (type < 3 ? size : 2 * size); i++)
                    body[len++] = rnd(&seed) % 4 ? 0 : (uint8_t)rnd(&seed);
                body[len++] = (uint8_t)(rnd(&seed) % 3 ? size * 8 : rnd(&seed) % 140);
            }
            b[n++] = type;
            b[n++] = (uint8_t)len;
            memcpy(b + n, body, len);
            n += len;
        }
        err = feed(&p.end[CLIENT], b, n, &seed, NULL);
        assert_true(err == 0 || err == MASQUE_H3_MESSAGE_ERROR);
        assert_true(cip_check(&p.end[CLIENT]));
        ok += err == 0;
        aborted += err != 0;
        pair_free(&p);
    }
    assert_true(ok > 300 && aborted > 300);
}

/* The MSS of a SYN of ours becomes that of the narrower end, whichever way it goes. */
static void mss(void **state)
{
    static const struct {
        int from;
        const char *src, *dst;
        size_t mtu[2]; /* of the client's end, of the proxy's */
        unsigned mss;
    } row[] = {
        {CLIENT, "10.0.0.2", "10.0.0.9", {0, 0}, 1460},
        {CLIENT, "10.0.0.2", "10.0.0.9", {1400, 0}, 1360},
        {CLIENT, "10.0.0.2", "10.0.0.9", {0, 1380}, 1340},
        {CLIENT, "10.0.0.2", "10.0.0.9", {1400, 1380}, 1340},
        {PROXY, "10.0.0.9", "10.0.0.2", {1300, 1380}, 1260},
        {PROXY, "10.0.0.9", "10.0.0.2", {1500, 1500}, 1460},
        {CLIENT, "fd00::2", "fd00::9", {1400, 1380}, 1320},
        {PROXY, "fd00::9", "fd00::2", {1280, 1380}, 1220},
    };
    uint8_t tcp[24] = {[12] = 0x60, [13] = 0x02, [20] = 2, [21] = 4, [22] = 0x05, [23] = 0xb4};
    struct ip_range all[] = {ip_range_all(4, 0), ip_range_all(6, 0)};
    uint8_t pkt[100], frame[120];
    struct cip_head head;
    struct span payload, got;
    struct pair p;
    uint64_t stream;

    (void)state;
    pair_init(&p, false);
    assign(&p.end[PROXY], 0, "10.0.0.2/32", "fd00::2/128");
    assert_int_equal(cip_advertise(&p.end[PROXY], all, 2), 0);
    pump(&p);
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = make_packet(pkt, row[i].src, row[i].dst, IP_PROTO_TCP, 64, tcp, 24);
        size_t at = n - 24;

        set16(pkt + at + 16, (uint16_t)~upper_sum(pkt, at, IP_PROTO_TCP, 24));
        for (int k = 0; k < 2; k++)
            cip_set_mtu(&p.end[k], row[i].mtu[k]);
        assert_int_equal(cip_out(&p.end[row[i].from], pkt, n, n, 1500, &head), CIP_OK);
        memcpy(frame, head.b, head.len);
        memcpy(frame + head.len, pkt, n);
        assert_int_equal(masque_dgram_decode(span_of(frame, head.len + n), &stream, &payload), 0);
        assert_int_equal(cip_in(&p.end[!row[i].from], payload, &got), CIP_OK);
        if ((unsigned)(got.p[at + 22] << 8 | got.p[at + 23]) != row[i].mss)
            fail_msg("row %zu", i);
        memcpy(pkt, got.p, n);
        assert_int_equal(upper_sum(pkt, at, IP_PROTO_TCP, 24), 0xffff);
        /* what is said to become several packets is no SYN, whatever its bytes are */
        make_packet(pkt, row[i].src, row[i].dst, IP_PROTO_TCP, 64, tcp, 24);
        assert_int_equal(cip_out(&p.end[row[i].from], pkt, n, n - 1, 1500, &head), CIP_OK);
        assert_memory_equal(pkt + at, tcp, 24);
    }
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remote_access),
        cmocka_unit_test(split_tunnel),
        cmocka_unit_test(site_to_site),
        cmocka_unit_test(flow_forwarding),
        cmocka_unit_test(both_families),
        cmocka_unit_test(splitting_peer),
        cmocka_unit_test(strict_peers),
        cmocka_unit_test(strict_output),
        cmocka_unit_test(change_while_sending),
        cmocka_unit_test(request_life),
        cmocka_unit_test(path_rates),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(answers),
        cmocka_unit_test(answer_rate),
        cmocka_unit_test(link_probe),
        cmocka_unit_test(datagram_capsules),
        cmocka_unit_test(hostile_peer),
        cmocka_unit_test(random_input),
        cmocka_unit_test(mss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
