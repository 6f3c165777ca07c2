/*
 * numbered: two ends joined by a list of datagrams that the test loses and delays; what comes out
 * of the far end's device is what went in, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/numbered.h"
#include "masque/dgram.h"
#include "test/rnd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKETS 2000

static struct world {
    struct ring *ring;
    struct device device; /* of the server */
    int far, near;
    struct numbered client, server;
    struct cip cip; /* of the server */
} w;

static struct ip_addr ip(const char *text)
{
    struct ip_addr a;

    assert_int_equal(ip_addr_parse(span_of(text, strlen(text)), &a), 0);
    return a;
}

static int set_up(void **state)
{
    struct cip_config cip = {.stream_id = 0};
    struct ip_addr client = ip("10.0.0.2");
    struct ip_assign a = {.prefix = ip_prefix_host(&client)};
    struct ip_range all = ip_range_all(4, 0);
    struct ring_cfg cfg = {0};
    char why[256] = "";
    int pair[2], size = 1 << 22;

    (void)state;
    memset(&w, 0, sizeof(w));
    assert_int_equal(ring_new(&cfg, &w.ring, why, sizeof(why)), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    w.far = pair[0];
    w.near = pair[1];
    setsockopt(w.near, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    assert_int_equal(device_open(&w.device, w.ring, &(struct tun){.fd = w.near}, NULL), 0);
    assert_int_equal(cip_init(&w.cip, &cip), 0);
    assert_int_equal(cip_assign(&w.cip, &a, 1), 0);
    assert_int_equal(cip_advertise(&w.cip, &all, 1), 0);
    assert_int_equal(numbered_init(&w.client, false, 0, NULL), 0);
    assert_int_equal(numbered_init(&w.server, true, 0, NULL), 0);
    assert_int_equal(numbered_init(&w.client, false, 3, NULL), QUIC_INVAL);
    assert_int_equal(numbered_init(&w.client, false, 0, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    numbered_free(&w.client);
    numbered_free(&w.server);
    cip_free(&w.cip);
    ring_free(w.ring);
    device_close(&w.device);
    close(w.far);
    close(w.near);
    return 0;
}

/* An IPv4 packet of no protocol in particular, with an identity of its own. */
static size_t packet(uint8_t p[64], uint32_t id, bool good)
{
    struct ip_addr s = ip(good ? "10.0.0.2" : "10.0.0.9"), d = ip("192.0.2.1");
    uint32_t sum = 0;

    memset(p, 0, 64);
    p[0] = 0x45;
    p[3] = 64;
    p[8] = 60;
    p[9] = 253;
    memcpy(p + 12, s.b, 4);
    memcpy(p + 16, d.b, 4);
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    p[10] = (uint8_t)(~sum >> 8);
    p[11] = (uint8_t)~sum;
    memcpy(p + 20, &id, 4);
    return 64;
}

/* Give one datagram, as it stands behind the QUIC frame, to the server. */
static enum cip_verdict arrive(const uint8_t *dgram, size_t n, uint64_t path, ns_t now)
{
    struct span payload, rest, pkt;
    uint64_t stream, context;
    enum cip_verdict v;

    assert_int_equal(masque_dgram_decode(span_of(dgram, n), &stream, &payload), 0);
    assert_int_equal(stream, 0);
    assert_int_equal(masque_dgram_context(payload, &context, &rest), 0);
    assert_true(context == w.server.context_in);
    v = numbered_in(&w.server, &w.cip, &w.device, rest, path, &pkt, now);
    assert_true(reseq_check(&w.server.reseq));
    return v;
}

/* What was delivered goes through the device. */
static void deliver(void)
{
    device_flush(&w.device);
    numbered_written(&w.server);
    ring_stop(w.ring, 0);
    assert_int_equal(ring_run(w.ring), 0);
}

/* The identity of the next packet out of the far device; -1: none. */
static int64_t out(void)
{
    uint8_t b[100];
    uint32_t id;

    if (recv(w.far, b, sizeof(b), MSG_DONTWAIT) != 64)
        return -1;
    memcpy(&id, b + 20, 4);
    return id;
}

/* Whatever is due besides new packets. */
static size_t next_out(struct numbered *n, ns_t now, struct repair_item *it,
                            uint8_t buf[NUMBERED_NOTE])
{
    size_t k = numbered_again(n, false, now, it, buf);

    if (k > 0)
        return k;
    *it = (struct repair_item){0};
    return numbered_note(n, now, buf);
}

struct wire {
    uint8_t b[NUMBERED_HEAD_MAX + 64];
    size_t n;
    uint64_t tag, path;
    ns_t at;
    bool lost, done;
};

static struct wire wire[4 * PACKETS];
static size_t wires;

static void put(const uint8_t *head, size_t head_n, struct span pkt, uint64_t tag,
                uint64_t path, ns_t at, bool lost)
{
    struct wire *x = &wire[wires++];

    assert_true(wires < ARRAY_LEN(wire) && head_n <= NUMBERED_HEAD_MAX);
    *x = (struct wire){.n = head_n + pkt.n, .tag = tag, .path = path, .at = at, .lost = lost};
    memcpy(x->b, head, head_n);
    if (pkt.n)
        memcpy(x->b + head_n, pkt.p, pkt.n);
}

/*
 * One flow over two paths of 5 and 30 ms with 2 % loss each, whose fates come a round trip later:
 * everything arrives in order, and the sender learns how the paths differ.
 */
static void two_lossy_paths(void **state)
{
    static const ns_t delay[2] = {5 * NS_PER_MS, 30 * NS_PER_MS};
    uint64_t x = 1;
    uint32_t id = 0;
    int64_t next = 0;
    size_t first = 0;
    ns_t late, jitter;

    (void)state;
    wires = 0;
    numbered_hold(&w.client, 60 * NS_PER_MS, NS_PER_MS);
    numbered_hold(&w.server, 60 * NS_PER_MS, NS_PER_MS);
    for (ns_t now = 0; now < 3 * NS_PER_S; now += NS_PER_MS / 4) {
        uint8_t head[512], p[64];
        struct repair_item it;
        uint64_t path = rnd(&x) % 2, tag;
        size_t n;

        if (id < PACKETS) {
            packet(p, id++, true);
            n = numbered_out(&w.client, 9, (uint32_t)path, span_of(p, 33), span_of(p + 33, 31),
                             now, head, &tag);
            put(head, n, span_of(p, 64), tag, path, now + delay[path], rnd(&x) % 50 == 0);
        }
        while ((n = next_out(&w.client, now, &it, head)) > 0) {
            path = it.path == 0 ? 1 : 0;
            put(head, n, it.pkt, it.tag, path, now + delay[path], rnd(&x) % 50 == 0);
            if (it.tag)
                repair_resent(&w.client.repair, it.tag, (uint32_t)path);
        }
        while (first < wires && wire[first].done)
            first++;
        for (size_t i = first; i < wires; i++) {
            if (wire[i].at == 0 || wire[i].done)
                continue;
            if (!wire[i].lost && wire[i].at <= now && wire[i].at > now - NS_PER_MS / 4)
                assert_int_equal(arrive(wire[i].b, wire[i].n, wire[i].path, now), CIP_OK);
            if (wire[i].at + delay[wire[i].path] <= now) {
                wire[i].done = true;
                if (wire[i].lost)
                    repair_lost(&w.client.repair, wire[i].tag, (uint32_t)wire[i].path);
                else
                    repair_acked(&w.client.repair, wire[i].tag);
            }
        }
        numbered_tick(&w.server, &w.device, now);
        while ((n = next_out(&w.server, now, &it, head)) > 0) {
            struct span pkt, rest, payload;
            uint64_t v;

            assert_int_equal(masque_dgram_decode(span_of(head, n), &v, &payload), 0);
            assert_int_equal(masque_dgram_context(payload, &v, &rest), 0);
            assert_true(v == w.client.context_in);
            numbered_in(&w.client, &w.cip, &w.device, rest, 0, &pkt, now);
        }
        deliver();
        for (int64_t got; (got = out()) >= 0; next++)
            assert_int_equal(got, next);
    }
    assert_int_equal(next, PACKETS);
    assert_true(w.client.stats.reports >= 3);
    assert_true(numbered_late(&w.client, 0, 3 * NS_PER_S, &late, &jitter) && late == 0);
    assert_true(numbered_late(&w.client, 1, 3 * NS_PER_S, &late, &jitter));
    assert_true(late > 24 * NS_PER_MS && late < 26 * NS_PER_MS && jitter < NS_PER_MS);
    assert_false(numbered_late(&w.client, 2, 3 * NS_PER_S, &late, &jitter));
    assert_true(w.client.repair.stats.resent >= 20);
    assert_int_equal(w.server.reseq.stats.given_time + w.server.reseq.stats.given_floor, 0);
}

/* Of each block one is lost: it is there with the parity, and nothing was sent again. */
static void made_of_the_others(void **state)
{
    int64_t next = 0;

    (void)state;
    w.client.parity_out.on = true;
    for (uint32_t id = 0; id < 20 * PARITY_BLOCK; id++) {
        ns_t now = NS_PER_S + id * NS_PER_MS;
        uint8_t head[512], p[64];
        struct span pkt;
        uint64_t tag;
        size_t n;

        packet(p, id, true);
        n = numbered_out(&w.client, 0, 0, span_of(p, 30), span_of(p + 30, 34), now, head, &tag);
        memcpy(head + n, p, 64);
        numbered_left(&w.client, 0, 0, span_of(head, n + 30), span_of(p + 30, 34), now);
        if (id < PARITY_BLOCK || id % PARITY_BLOCK != id / PARITY_BLOCK % PARITY_BLOCK)
            assert_int_equal(arrive(head, n + 64, 0, now), CIP_OK);
        while ((n = numbered_parity(&w.client, now, &pkt, head)) > 0) {
            if (pkt.n)
                memcpy(head + n, pkt.p, pkt.n);
            parity_sent(&w.client.parity_out, now);
            assert_int_equal(arrive(head, n + pkt.n, 0, now), CIP_OK);
        }
        deliver();
        for (int64_t got; (got = out()) >= 0; next++)
            assert_int_equal(got, next);
    }
    assert_int_equal(next, 20 * PARITY_BLOCK);
    assert_int_equal(w.server.parity_in.recovered, 20); /* and 0, which was there already */
    assert_int_equal(w.server.reseq.stats.duplicates, 1);
    assert_int_equal(w.server.stats.malformed, 0);
    /* Where nothing may be sent, no time goes by that is waited for. */
    for (ns_t at; (at = numbered_deadline(&w.client)) < 2 * NS_PER_S;) {
        numbered_tick(&w.client, &w.device, at);
        assert_true(numbered_deadline(&w.client) > at);
    }
    numbered_tick(&w.server, &w.device, 10 * NS_PER_S);
    numbered_tick(&w.client, &w.device, 10 * NS_PER_S);
    assert_true(w.server.parity_in.pool.bytes == 0 && w.client.parity_out.pool.bytes == 0);
}

/* A refused packet leaves no gap behind; neither does one that was given up and told of. */
static void no_gap_is_left(void **state)
{
    uint8_t head[512], p[64];
    struct repair_item it;
    uint64_t tag;
    size_t n;

    (void)state;
    for (uint32_t id = 0; id < 8; id++) {
        packet(p, id, id != 2);
        n = numbered_out(&w.client, 0, 0, span_of(p, 0), span_of(p, 64), 1, head, &tag);
        wires = 0;
        put(head, n, span_of(p, 64), tag, 0, 0, false);
        if (id != 7)
            assert_int_equal(arrive(wire[0].b, wire[0].n, 0, 2), id == 2 ? CIP_SOURCE : CIP_OK);
        if (id < 6)
            repair_acked(&w.client.repair, tag);
    }
    deliver();
    for (int id = 0; id < 7; id++)
        if (id != 2)
            assert_int_equal(out(), id);
    /* 6 and 7 grow too old; no packet follows: a floor does. */
    assert_int_equal(next_out(&w.client, 2 * NS_PER_S - NUMBERED_FLOOR, &it, head), 0);
    n = next_out(&w.client, 2 * NS_PER_S, &it, head);
    assert_true(n > 0 && it.tag == 0);
    assert_int_equal(arrive(head, n, 0, 2 * NS_PER_S), CIP_OK);
    assert_int_equal(w.server.reseq.stats.given_floor, 1);
    assert_int_equal(next_out(&w.client, 2 * NS_PER_S, &it, head), 0);
    /* Bytes that are none of ours. */
    assert_int_equal(arrive((const uint8_t[]){0, 2, 1, 2, 3}, 5, 0, 3 * NS_PER_S),
                     CIP_MALFORMED);
    assert_int_equal(w.server.stats.malformed, 1);
}

/* Hours go by, in which the clocks drift apart: paths are compared all the same. */
static void clocks_drift(void **state)
{
    ns_t late, jitter;

    (void)state;
    for (ns_t now = NS_PER_S; now < 40000 * NS_PER_S; now += 2 * NS_PER_S) {
        ns_t there = now + now / 10000; /* 100 ppm: 4 s in the end */

        for (unsigned path = 0; path < 2; path++) {
            struct repair_item it;
            uint8_t head[512], p[64];
            uint64_t tag;
            size_t n;

            packet(p, 1, true);
            n = numbered_out(&w.client, 1, path, span_of(p, 0), span_of(p, 64), now, head,
                             &tag);
            wires = 0;
            put(head, n, span_of(p, 64), tag, path, 0, false);
            repair_acked(&w.client.repair, tag);
            arrive(wire[0].b, wire[0].n, path, there + (path ? 10 : 50) * NS_PER_MS);
            while ((n = next_out(&w.server, there + NS_PER_S, &it, head)) > 0) {
                struct span pkt, rest, payload;
                uint64_t v;

                assert_int_equal(masque_dgram_decode(span_of(head, n), &v, &payload), 0);
                assert_int_equal(masque_dgram_context(payload, &v, &rest), 0);
                numbered_in(&w.client, &w.cip, &w.device, rest, 0, &pkt, now);
            }
        }
        deliver();
        while (out() >= 0)
            ;
    }
    assert_true(numbered_late(&w.client, 0, 40000 * NS_PER_S, &late, &jitter));
    assert_true(late > 35 * NS_PER_MS && late < 45 * NS_PER_MS);
    assert_true(numbered_late(&w.client, 1, 40000 * NS_PER_S, &late, &jitter) && late < NS_PER_MS);
}

/* A floor as a far end might make it, for the server. */
static void forge(uint16_t time, unsigned flow, uint32_t number, uint64_t path, ns_t now)
{
    struct bulk_head h = {.kind = BULK_FLOOR,
                          .flow = (uint8_t)flow,
                          .number = number & (BULK_NUMBERS - 1),
                          .time = time};
    uint8_t b[BULK_HEAD];
    struct span pkt;

    bulk_encode(&h, b);
    numbered_in(&w.server, &w.cip, &w.device, span_of(b, sizeof(b)), path, &pkt, now);
}

/* A far end whose clock leaps about at every packet: nothing overflows. */
static void clocks_leap(void **state)
{
    uint8_t note[NUMBERED_NOTE];
    uint16_t t = 0;

    (void)state;
    forge(0, 1, 0, 7, NS_PER_S);
    for (uint32_t i = 0; i < 20000; i++) {
        forge(t, 1, i, 5, NS_PER_S);
        t = (uint16_t)(t - 32000);
        for (size_t k = 0; k < NUMBERED_PATHS; k++)
            if (w.server.path[k].used) {
                assert_in_range((uint32_t)(w.server.path[k].delay + (1 << 28)), 0, 1 << 29);
                assert_in_range((uint32_t)(w.server.path[k].least[0] + (1 << 28)), 0, 1 << 29);
                assert_in_range((uint32_t)(w.server.path[k].least[1] + (1 << 28)), 0, 1 << 29);
            }
    }
    assert_true(numbered_note(&w.server, 2 * NS_PER_S, note) <= sizeof(note));
}

/* A report that can't leave is no reason to look again and again. */
static void a_note_put_off(void **state)
{
    ns_t now = NS_PER_S, due;

    (void)state;
    forge(1, 1, 0, 5, now);
    due = numbered_deadline(&w.server);
    assert_true(due > now && due <= now + NUMBERED_REPORT);
    assert_true(numbered_note_due(&w.server, due));
    numbered_note_later(&w.server, due);
    assert_false(numbered_note_due(&w.server, due));
    assert_true(numbered_deadline(&w.server) > due);
    assert_true(numbered_note_due(&w.server, due + NUMBERED_REPORT));
}

/* Delays that nobody can have measured by times of 16 bits are taken for the longest wait. */
static void delays_of_days(void **state)
{
    const struct bulk_report list[] = {{1, 0, 0}, {2, UINT32_MAX, UINT32_MAX}};
    ns_t late, jitter;
    uint8_t b[64];
    struct span pkt;
    size_t n = bulk_report_encode(list, ARRAY_LEN(list), b, sizeof(b));

    (void)state;
    assert_true(n > 0);
    numbered_in(&w.server, &w.cip, &w.device, span_of(b, n), 1, &pkt, NS_PER_S);
    assert_true(numbered_late(&w.server, 1, NS_PER_S, &late, &jitter) && late == 0);
    assert_true(numbered_late(&w.server, 2, NS_PER_S, &late, &jitter));
    assert_int_equal(late, NUMBERED_HOLD_MAX);
    assert_int_equal(jitter, NUMBERED_HOLD_MAX);
}

/* Flows that go on tell their floors by their packets: no notes, however much is given up. */
static void floors_by_packets(void **state)
{
    uint8_t head[512], p[1400] = {0};
    uint64_t tag;
    ns_t now = NS_PER_S;

    (void)state;
    for (uint32_t i = 0; i < 20000; i++, now += NS_PER_MS / 20) {
        numbered_out(&w.client, i % 8, 0, span_of(p, 0), span_of(p, sizeof(p)), now, head,
                     &tag);
        assert_int_equal(numbered_note(&w.client, now, head), 0);
    }
    assert_true(w.client.repair.stats.given_memory > 5000);
    assert_true(numbered_deadline(&w.client) <= now + NUMBERED_FLOOR);
}

/* What all sessions hold together counts from the packet on that takes it. */
static void the_cap_is_exact(void **state)
{
    struct numbered_cap cap = {.max = 1 << 20};
    struct numbered many[8];
    uint8_t head[512], p[1400] = {0};
    uint64_t tag;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        assert_int_equal(numbered_init(&many[i], false, 0, &cap), 0);
    for (size_t k = 0; k < 4000; k++)
        for (size_t i = 0; i < ARRAY_LEN(many); i++) {
            numbered_out(&many[i], 1, 0, span_of(p, 0), span_of(p, sizeof(p)), 1, head, &tag);
            assert_true(cap.used <= cap.max + 256 * 1024);
        }
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        assert_int_equal(many[i].counted, repair_bytes(&many[i].repair));
    assert_true(cap.used > cap.max / 2);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        numbered_free(&many[i]);
    assert_int_equal(cap.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_lossy_paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(made_of_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_gap_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clocks_drift, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clocks_leap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_note_put_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_cap_is_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(floors_by_packets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(delays_of_days, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
