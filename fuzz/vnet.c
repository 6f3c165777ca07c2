/*
 * vnet - super-packets cut and put together, against the second opinion of test/tun_vnet.h.
 *
 * Input: one byte, then, by its lowest bit,
 *
 *     0  what a device hands over: a struct vnet_hdr and a packet. Bit 1: set its lengths and
 *        the pseudo header's sum right first; bit 2: set the virtio-net header right too.
 *     1  commands for packets to be merged, two bytes each: what (low 4 bits) and which of 8
 *        flows (high 4 bits), and a number `x`:
 *
 *          0..2  the next packet of the flow, x more of them (modulo 4)
 *          3     the same with bit x & 7 of byte x >> 3 changed, sums as they were
 *          4     the same with its sums right
 *          5     the same, x bytes (modulo 16) shorter
 *          6     payload of 6 * x bytes from now on      7  TCP flags
 *          8     TCP or UDP, IPv4 or IPv6, DF, options   9  TOS
 *          10    TTL              11  window             12 acknowledgement
 *          13    sequence + x     14  identification + x - 128
 *          15    other addresses and ports
 */
#include "fuzz/fuzz.h"
#include "test/tun_vnet.h"

#define FLOWS 8
#define LOOK  200 /* packets of a super-packet that are compared */

/* ---- splitting ----------------------------------------------------------------------- */

/* Make the packet one whose lengths and pseudo header sum are as the kernel's would be. */
static void mend(uint8_t *buf, size_t n, bool all)
{
    struct vnet_hdr h;
    uint8_t *p = buf + sizeof(h), proto;
    size_t l4;

    n -= sizeof(h);
    memcpy(&h, buf, sizeof(h));
    l4 = p[0] >> 4 == 6 ? 40 : (p[0] & 15u) * 4;
    if (p[0] >> 4 == 6 && n >= 64) {
        naive_put(p + 4, n - 40);
        proto = p[6];
    } else if (p[0] >> 4 == 4) {
        naive_put(p + 2, n);
        proto = p[9];
    } else {
        return;
    }
    if (all) {
        h.flags |= VNET_NEEDS_CSUM;
        h.csum_start = (uint16_t)l4;
        h.csum_offset = proto == 6 ? 16 : 6;
        if (h.gso_type)
            h.gso_type = proto == 17      ? VNET_GSO_UDP_L4
                         : p[0] >> 4 == 6 ? VNET_GSO_TCPV6
                                          : VNET_GSO_TCPV4;
    }
    memcpy(buf, &h, sizeof(h));
    if ((size_t)h.csum_start + h.csum_offset + 2 <= n && h.csum_start >= l4)
        naive_put(p + h.csum_start + h.csum_offset, naive_pseudo(p, proto, n - h.csum_start));
}

static void split(uint8_t flags, const uint8_t *data, size_t n)
{
    static uint8_t want[NAIVE_MAX], head[VNET_HEAD_MAX];
    uint8_t *buf = malloc(n ? n : 1), *before = malloc(n ? n : 1);
    struct vnet_split s;
    size_t i, len;

    REQUIRE(buf && before);
    memcpy(buf, data, n);
    if (flags & 2 && n >= 10 + 40)
        mend(buf, n, flags & 4);
    memcpy(before, buf, n);
    if (vnet_split_init(&s, buf, n) == 0) {
        for (i = 0; i < s.count && i < LOOK; i++) {
            struct span body;
            size_t head_n = vnet_split_head(&s, i, head, &body);

            len = naive_packet(before, n, i, want);
            REQUIRE(head_n == s.head_n && head_n + body.n == len);
            REQUIRE(len == vnet_split_size(&s, i) && (i + 1 == s.count || len == s.size));
            REQUIRE(!memcmp(head, want, head_n) && !memcmp(body.p, want + head_n, body.n));
        }
        REQUIRE(i < s.count || naive_packet(before, n, i, want) == 0);
    }
    free(buf);
    free(before);
}

/* ---- merging ------------------------------------------------------------------------- */

static struct vnet_merge m;
static struct naive_in in;
static uint8_t *packets[VNET_BATCH];

static void repair(uint8_t *p, size_t n, bool tcp)
{
    size_t ip = p[0] >> 4 == 6 ? 40 : 20, check = ip + (tcp ? 16 : 6);

    if (n < check + 2 || (ip == 20 && (p[0] & 15u) * 4 > n))
        return;
    if (ip == 20)
        naive_ip_csum(p);
    naive_put(p + check, 0);
    naive_put(p + check, ~naive_sum(naive_pseudo(p, tcp ? 6 : 17, n - ip), p + ip, n - ip));
}

static void emit(struct naive_spec *s, unsigned what, uint8_t x)
{
    static uint8_t buf[2048];
    size_t l4, n;

    for (size_t i = 0; i < s->payload; i++)
        buf[20 + 40 + i] = (uint8_t)(s->seq + i);
    n = naive_build(s, buf, &l4) + s->payload;
    s->seq += (uint32_t)s->payload;
    s->id++;
    if (what == 3 || what == 4)
        buf[(x >> 3) * 2u] ^= (uint8_t)(1u << (x & 7));
    if (what == 4)
        repair(buf, n, s->tcp);
    if (what == 5)
        n -= x % 16 < n ? x % 16u : 0;
    packets[in.count] = malloc(n);
    REQUIRE(packets[in.count]);
    memcpy(packets[in.count], buf, n);
    naive_add(&in, &m, packets[in.count], n);
}

static void change(struct naive_spec *s, unsigned what, uint8_t x)
{
    switch (what) {
    case 6:
        s->payload = 6u * x;
        break;
    case 7:
        s->flags = x;
        break;
    case 8:
        s->tcp = x & 1;
        s->v6 = x & 2;
        s->df = x & 4;
        s->options = x >> 3 & 1 ? 12 : 0;
        s->ip_options = x >> 4 == 15 ? 8 : 0;
        break;
    case 9:
        s->tos = x;
        break;
    case 10:
        s->ttl = x;
        break;
    case 11:
        s->window = x;
        break;
    case 12:
        s->ack = x;
        break;
    case 13:
        s->seq += x;
        break;
    case 14:
        s->id = (uint16_t)(s->id + x - 128);
        break;
    default:
        s->flow = x;
    }
}

static void merge(uint8_t flags, const uint8_t *data, size_t n)
{
    struct naive_spec s[FLOWS];

    for (size_t i = 0; i < FLOWS; i++)
        s[i] = (struct naive_spec){.tcp = i < 6,
                                   .v6 = i & 1,
                                   .df = i & 2,
                                   .flow = (uint8_t)i,
                                   .ttl = 64,
                                   .flags = 0x10,
                                   .payload = 10,
                                   .options = i & 4 ? 12 : 0};
    vnet_merge_init(&m, !(flags & 2));
    for (; n >= 2; n -= 2, data += 2) {
        unsigned what = data[0] & 15;
        struct naive_spec *o = &s[data[0] >> 4 & 7];

        if (what >= 6)
            change(o, what, data[1]);
        else
            for (unsigned i = 0; i <= (what < 3 ? data[1] % 4u : 0); i++)
                if (in.count < VNET_BATCH)
                    emit(o, what, data[1]);
    }
    n = in.count;
    naive_drain(&in, &m);
    while (n > 0)
        free(packets[--n]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1)
        merge(data[0], data + 1, size - 1);
    else
        split(data[0], data + 1, size - 1);
    return 0;
}
