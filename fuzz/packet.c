/*
 * Packet headers: the first byte is the length of short connection IDs, the rest a datagram.
 * Each packet of it is parsed, its header written again and parsed again, and its protection
 * taken off with the Initial keys of its own connection ID.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "quic/aead.h"

#define CHECK(x)                                                                               \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

static bool same(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void inside(const uint8_t *p, size_t n, struct span s)
{
    CHECK(s.n == 0 || (s.p >= p && s.n <= n && s.p + s.n <= p + n));
}

/* What a long header says survives being written and parsed. */
static void rewrite(const struct packet_head *h)
{
    struct quic_cid dcid = cid_of(h->dcid), scid = cid_of(h->scid);
    size_t size = packet_long_head_size(h->type, &dcid, &scid, h->token.n) + 64;
    uint8_t *b = malloc(size);
    struct wire_w w;
    struct packet_head again;
    uint8_t *at;

    CHECK(b);
    w = wire_w_of(b, size);
    at = packet_long_head(&w, h->type, h->version, &dcid, &scid, h->token, 2);
    CHECK(at);
    wire_w_zero(&w, 32);
    packet_long_length(at, 32);
    CHECK(packet_parse(b, (size_t)(w.p - b), 0, &again) == 0);
    CHECK(again.type == h->type && same(again.dcid, h->dcid) && same(again.scid, h->scid) &&
          same(again.token, h->token) && again.length == (size_t)(w.p - b));
    free(b);
}

static void open_packet(const uint8_t *p, const struct packet_head *h)
{
    struct quic_cid dcid = cid_of(h->dcid);
    struct aead client, server;
    uint8_t *copy = malloc(h->length);
    size_t len;
    uint64_t pn;

    CHECK(copy && aead_initial(&client, &server, &dcid, true) == 0);
    memcpy(copy, p, h->length);
    if (aead_unprotect_head(&client, copy, h->length, h->pn_offset, &len, &pn) == 0) {
        size_t head = h->pn_offset + len;

        CHECK(len >= 1 && len <= 4 && pn < 1ull << (8 * len));
        pn = pn_decode(pn, len, pn);
        aead_open(&client, 0, pn, span_of(copy, head), copy + head, h->length - head);
    }
    aead_free(&client);
    aead_free(&server);
    free(copy);
}

static void look_at(const uint8_t *p, size_t n, const struct packet_head *h)
{
    struct quic_cid dcid = cid_of(h->dcid);
    struct span rest = h->rest;
    uint32_t version;

    CHECK(h->length > 0 && h->length <= n && h->pn_offset <= h->length);
    inside(p, n, h->dcid);
    inside(p, n, h->scid);
    inside(p, n, h->token);
    inside(p, n, h->rest);
    while (packet_next_version(&rest, &version))
        ;
    if (h->type == PACKET_RETRY)
        retry_verify(&dcid, p, h->length);
    if (h->type == PACKET_INITIAL || h->type == PACKET_0RTT || h->type == PACKET_HANDSHAKE)
        rewrite(h);
    if (h->pn_offset > 0)
        open_packet(p, h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t short_len;

    if (size == 0)
        return 0;
    short_len = data[0] % 24;
    data++;
    size--;
    while (size > 0) {
        struct packet_head h;

        if (packet_parse_greased(data, size, short_len, &h)) {
            CHECK(packet_parse(data, size, short_len, &h));
            break;
        }
        look_at(data, size, &h);
        data += h.length;
        size -= h.length;
    }
    return 0;
}
