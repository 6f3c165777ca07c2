#include "quic/packet.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define FORM_LONG    0x80
#define FIXED        0x40
#define SPIN         0x20
#define KEY_PHASE    0x04
#define PN_OFFSET_CT 20 /* bytes after pn_offset that header protection needs */

/* The Long Packet Type bits of version 1 (RFC 9000 table 5). */
static const enum packet_type long_types[4] = {PACKET_INITIAL, PACKET_0RTT, PACKET_HANDSHAKE,
                                               PACKET_RETRY};

struct quic_cid cid_of(struct span s)
{
    struct quic_cid cid = {0};

    if (s.n > 0 && s.n <= QUIC_CID_MAX) {
        cid.len = (uint8_t)s.n;
        memcpy(cid.b, s.p, s.n);
    }
    return cid;
}

enum quic_level packet_level(enum packet_type type)
{
    switch (type) {
    case PACKET_INITIAL:
        return LEVEL_INITIAL;
    case PACKET_0RTT:
        return LEVEL_EARLY;
    case PACKET_HANDSHAKE:
        return LEVEL_HANDSHAKE;
    case PACKET_1RTT:
        return LEVEL_APP;
    default:
        return LEVEL_N;
    }
}

static int parse_short(const uint8_t *p, size_t n, size_t dcid_len, struct packet_head *out)
{
    if (dcid_len > QUIC_CID_MAX || n < 1 + dcid_len)
        return QUIC_DROP;
    out->type = PACKET_1RTT;
    out->dcid = span_of(p + 1, dcid_len);
    out->pn_offset = 1 + dcid_len;
    return 0;
}

static int parse_retry(struct wire_r *r, struct packet_head *out)
{
    size_t left = wire_r_left(r);

    if (left <= QUIC_RETRY_TAG)
        return QUIC_DROP;
    out->token = wire_r_bytes(r, left - QUIC_RETRY_TAG);
    out->tag = r->p;
    return 0;
}

/* What follows the connection IDs of a long header of version 1. */
static int parse_v1(const uint8_t *p, struct wire_r *r, struct packet_head *out)
{
    uint64_t length;

    if (out->dcid.n > QUIC_CID_MAX || out->scid.n > QUIC_CID_MAX)
        return QUIC_DROP;
    out->type = long_types[p[0] >> 4 & 3];
    if (out->type == PACKET_RETRY)
        return parse_retry(r, out);
    if (out->type == PACKET_INITIAL)
        out->token = wire_r_vec(r);
    length = wire_r_varint(r);
    if (r->failed || length < PN_OFFSET_CT || length > wire_r_left(r))
        return QUIC_DROP;
    out->pn_offset = (size_t)(r->p - p);
    out->length = out->pn_offset + (size_t)length;
    return 0;
}

int packet_parse(const uint8_t *p, size_t n, size_t short_dcid_len, struct packet_head *out)
{
    int err = packet_parse_greased(p, n, short_dcid_len, out);
    bool version_1 =
        out->type != PACKET_VERSION_NEGOTIATION && out->type != PACKET_OTHER_VERSION;

    return !err && version_1 && !(p[0] & FIXED) ? QUIC_DROP : err;
}

int packet_parse_greased(const uint8_t *p, size_t n, size_t short_dcid_len,
                         struct packet_head *out)
{
    struct wire_r r = wire_r_of(p, n);

    *out = (struct packet_head){.length = n};
    if (n == 0)
        return QUIC_DROP;
    if (!(p[0] & FORM_LONG))
        return parse_short(p, n, short_dcid_len, out);
    wire_r_u8(&r);
    out->version = wire_r_u32(&r);
    out->dcid = wire_r_bytes(&r, wire_r_u8(&r));
    out->scid = wire_r_bytes(&r, wire_r_u8(&r));
    if (r.failed)
        return QUIC_DROP;
    if (out->version == QUIC_V1)
        return parse_v1(p, &r, out);
    out->rest = wire_r_bytes(&r, wire_r_left(&r));
    out->type = out->version == 0 ? PACKET_VERSION_NEGOTIATION : PACKET_OTHER_VERSION;
    if (out->version == 0 && (out->rest.n == 0 || out->rest.n % 4 != 0))
        return QUIC_DROP;
    return 0;
}

bool packet_next_version(struct span *rest, uint32_t *version)
{
    struct wire_r r = wire_r_span(*rest);

    *version = wire_r_u32(&r);
    if (r.failed)
        return false;
    *rest = span_of(r.p, wire_r_left(&r));
    return true;
}

static void put_cid(struct wire_w *w, const struct quic_cid *cid)
{
    wire_w_u8(w, cid->len);
    wire_w_bytes(w, cid->b, cid->len);
}

uint8_t *packet_long_head(struct wire_w *w, enum packet_type type, uint32_t version,
                          const struct quic_cid *dcid, const struct quic_cid *scid,
                          struct span token, size_t pn_len)
{
    unsigned bits = type == PACKET_INITIAL ? 0 : type == PACKET_0RTT ? 1 : 2;
    uint8_t *at;

    wire_w_u8(w, (uint8_t)(FORM_LONG | FIXED | bits << 4 | (pn_len - 1)));
    wire_w_u32(w, version);
    put_cid(w, dcid);
    put_cid(w, scid);
    if (type == PACKET_INITIAL)
        wire_w_vec(w, token);
    at = w->p;
    wire_w_varint_len(w, 0, 2);
    return w->failed ? NULL : at;
}

size_t packet_long_head_size(enum packet_type type, const struct quic_cid *dcid,
                             const struct quic_cid *scid, size_t token_len)
{
    size_t token = type == PACKET_INITIAL ? varint_len(token_len) + token_len : 0;

    return 1 + 4 + 1 + dcid->len + 1 + scid->len + token + 2;
}

void packet_long_length(uint8_t *at, size_t length)
{
    struct wire_w w = wire_w_of(at, 2);

    wire_w_varint_len(&w, length, 2);
}

void packet_short_head(struct wire_w *w, const struct quic_cid *dcid, bool spin, bool key_phase,
                       size_t pn_len)
{
    wire_w_u8(
        w, (uint8_t)(FIXED | (spin ? SPIN : 0) | (key_phase ? KEY_PHASE : 0) | (pn_len - 1)));
    wire_w_bytes(w, dcid->b, dcid->len);
}

size_t pn_len(uint64_t pn, uint64_t largest_acked)
{
    /* Twice the distance, or all of the number while nothing was acknowledged. */
    uint64_t range = largest_acked == QUIC_PN_NONE ? 2 * (pn + 1) : 2 * (pn - largest_acked);

    return range <= 1ull << 8 ? 1 : range <= 1ull << 16 ? 2 : range <= 1ull << 24 ? 3 : 4;
}

void pn_write(struct wire_w *w, uint64_t pn, size_t len)
{
    for (size_t i = len; i-- > 0;)
        wire_w_u8(w, (uint8_t)(pn >> (8 * i)));
}

uint64_t pn_decode(uint64_t truncated, size_t len, uint64_t largest)
{
    uint64_t expected = largest == QUIC_PN_NONE ? 0 : largest + 1;
    uint64_t window = (uint64_t)1 << (8 * len), half = window / 2;
    uint64_t candidate = (expected & ~(window - 1)) | truncated;

    if (candidate + half <= expected && candidate < QUIC_PN_MAX + 1 - window)
        return candidate + window;
    if ((candidate > expected + half || candidate > QUIC_PN_MAX) && candidate >= window)
        return candidate - window;
    return candidate;
}

int packet_version_negotiation(struct wire_w *w, struct span dcid, struct span scid,
                               const uint32_t *versions, size_t n, uint8_t random)
{
    if (dcid.n > 255 || scid.n > 255)
        return QUIC_INVAL;
    wire_w_u8(w, FORM_LONG | FIXED | random);
    wire_w_u32(w, 0);
    wire_w_u8(w, (uint8_t)scid.n);
    wire_w_span(w, scid);
    wire_w_u8(w, (uint8_t)dcid.n);
    wire_w_span(w, dcid);
    for (size_t i = 0; i < n; i++)
        wire_w_u32(w, versions[i]);
    return w->failed ? QUIC_TOOBIG : 0;
}

/* One AEAD_AES_128_GCM of nothing, with the packet as associated data (RFC 9001 5.8). */
static bool gcm_tag(EVP_CIPHER_CTX *c, const struct quic_cid *odcid, const uint8_t *packet,
                    size_t n, uint8_t *tag)
{
    static const uint8_t key[16] = {0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a,
                                    0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e};
    static const uint8_t nonce[12] = {0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63,
                                      0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb};
    uint8_t none[1];
    int len;

    return EVP_EncryptInit_ex2(c, EVP_aes_128_gcm(), key, nonce, NULL) &&
           EVP_EncryptUpdate(c, NULL, &len, &odcid->len, 1) &&
           (odcid->len == 0 || EVP_EncryptUpdate(c, NULL, &len, odcid->b, odcid->len)) &&
           EVP_EncryptUpdate(c, NULL, &len, packet, (int)n) &&
           EVP_EncryptFinal_ex(c, none, &len) &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, QUIC_RETRY_TAG, tag) > 0;
}

int retry_tag(const struct quic_cid *odcid, const uint8_t *packet, size_t n,
              uint8_t tag[QUIC_RETRY_TAG])
{
    EVP_CIPHER_CTX *c;
    bool ok;

    if (n > UINT16_MAX)
        return QUIC_TOOBIG;
    c = EVP_CIPHER_CTX_new();
    ok = c && gcm_tag(c, odcid, packet, n, tag);
    EVP_CIPHER_CTX_free(c);
    return ok ? 0 : QUIC_NOMEM;
}

int packet_retry(struct wire_w *w, const struct quic_cid *dcid, const struct quic_cid *scid,
                 const struct quic_cid *odcid, struct span token, uint8_t random)
{
    const uint8_t *start = w->p;
    uint8_t tag[QUIC_RETRY_TAG];
    int err;

    if (token.n == 0 || cid_eq(scid, odcid))
        return QUIC_INVAL;
    wire_w_u8(w, (uint8_t)(FORM_LONG | FIXED | 3 << 4 | (random & 0x0f)));
    wire_w_u32(w, QUIC_V1);
    put_cid(w, dcid);
    put_cid(w, scid);
    wire_w_span(w, token);
    if (w->failed)
        return QUIC_TOOBIG;
    err = retry_tag(odcid, start, (size_t)(w->p - start), tag);
    if (err)
        return err;
    wire_w_bytes(w, tag, sizeof(tag));
    return w->failed ? QUIC_TOOBIG : 0;
}

bool retry_verify(const struct quic_cid *odcid, const uint8_t *packet, size_t n)
{
    uint8_t tag[QUIC_RETRY_TAG];

    if (n < QUIC_RETRY_TAG || retry_tag(odcid, packet, n - QUIC_RETRY_TAG, tag))
        return false;
    return CRYPTO_memcmp(tag, packet + n - QUIC_RETRY_TAG, QUIC_RETRY_TAG) == 0;
}
