#include "quic/tparam.h"

#include <string.h>

#include "quic/errors.h"

#define TOKEN           16
#define UDP_PAYLOAD_MAX 65527
#define UDP_PAYLOAD_MIN 1200
#define EXPONENT_MAX    20
#define MAX_ACK_DELAY   ((1u << 14) - 1) /* ms */
#define CID_LIMIT_MIN   2
#define STREAMS_MAX     ((uint64_t)1 << 60) /* RFC 9000 4.6 */

/* How a parameter's value is written. */
enum kind { KIND_NUMBER, KIND_MS, KIND_FLAG, KIND_CID, KIND_TOKEN, KIND_PREFERRED };

/*
 * One parameter: where its value is in struct tparams, the values that are allowed, in units of
 * the wire, and its default. Flags and IDs have `has`, the place of the bool that says they are
 * there.
 */
struct param {
    uint64_t id, min, max, preset;
    enum kind kind;
    bool server_only;
    size_t at, has;
};

#define AT(field)                       offsetof(struct tparams, field)
#define NUMBER(field, min, max, preset) min, max, preset, KIND_NUMBER, false, AT(field), 0
#define MS(field, max, preset)          0, max, preset, KIND_MS, false, AT(field), 0
#define FLAG(field)                     0, 0, 0, KIND_FLAG, false, 0, AT(field)
#define BYTES(kind, from, field)        0, 0, 0, kind, from, AT(field), AT(has_##field)

#define SERVER true /* only a server may send it */
#define BOTH   false

/* clang-format off */
static const struct param params[] = {
    {TPARAM_ORIGINAL_DESTINATION_CONNECTION_ID, BYTES(KIND_CID, SERVER, original_dcid)},
    {TPARAM_MAX_IDLE_TIMEOUT, MS(max_idle_timeout, VARINT_MAX, 0)},
    {TPARAM_STATELESS_RESET_TOKEN, BYTES(KIND_TOKEN, SERVER, reset_token)},
    {TPARAM_MAX_UDP_PAYLOAD_SIZE, NUMBER(max_udp_payload_size, UDP_PAYLOAD_MIN, VARINT_MAX, UDP_PAYLOAD_MAX)},
    {TPARAM_INITIAL_MAX_DATA, NUMBER(initial_max_data, 0, VARINT_MAX, 0)},
    {TPARAM_INITIAL_MAX_STREAM_DATA_BIDI_LOCAL, NUMBER(initial_max_stream_data_bidi_local, 0, VARINT_MAX, 0)},
    {TPARAM_INITIAL_MAX_STREAM_DATA_BIDI_REMOTE, NUMBER(initial_max_stream_data_bidi_remote, 0, VARINT_MAX, 0)},
    {TPARAM_INITIAL_MAX_STREAM_DATA_UNI, NUMBER(initial_max_stream_data_uni, 0, VARINT_MAX, 0)},
    {TPARAM_INITIAL_MAX_STREAMS_BIDI, NUMBER(initial_max_streams_bidi, 0, STREAMS_MAX, 0)},
    {TPARAM_INITIAL_MAX_STREAMS_UNI, NUMBER(initial_max_streams_uni, 0, STREAMS_MAX, 0)},
    {TPARAM_ACK_DELAY_EXPONENT, NUMBER(ack_delay_exponent, 0, EXPONENT_MAX, 3)},
    {TPARAM_MAX_ACK_DELAY, MS(max_ack_delay, MAX_ACK_DELAY, 25)},
    {TPARAM_DISABLE_ACTIVE_MIGRATION, FLAG(disable_active_migration)},
    {TPARAM_PREFERRED_ADDRESS, BYTES(KIND_PREFERRED, SERVER, preferred)},
    {TPARAM_ACTIVE_CONNECTION_ID_LIMIT, NUMBER(active_connection_id_limit, CID_LIMIT_MIN, VARINT_MAX, CID_LIMIT_MIN)},
    {TPARAM_INITIAL_SOURCE_CONNECTION_ID, BYTES(KIND_CID, BOTH, initial_scid)},
    {TPARAM_RETRY_SOURCE_CONNECTION_ID, BYTES(KIND_CID, SERVER, retry_scid)},
    {TPARAM_MAX_DATAGRAM_FRAME_SIZE, NUMBER(max_datagram_frame_size, 0, VARINT_MAX, 0)},
    {TPARAM_GREASE_QUIC_BIT, FLAG(grease_quic_bit)},
    {TPARAM_MIN_ACK_DELAY, NUMBER(min_ack_delay_us, 0, MAX_ACK_DELAY * 1000u, TPARAM_NO_ACK_FREQUENCY)},
};
/* clang-format on */

static void *place(struct tparams *t, size_t at)
{
    return (char *)t + at;
}

static const void *place_const(const struct tparams *t, size_t at)
{
    return (const char *)t + at;
}

static bool is_number(const struct param *p)
{
    return p->kind == KIND_NUMBER || p->kind == KIND_MS;
}

/* Milliseconds that don't fit are as good as forever. */
static void store_number(struct tparams *t, const struct param *p, uint64_t v)
{
    if (p->kind == KIND_MS)
        v = v > (NS_NEVER - 1) / NS_PER_MS ? NS_NEVER - 1 : v * NS_PER_MS;
    memcpy(place(t, p->at), &v, sizeof(v));
}

/* In units of the wire; a part of a millisecond counts as a whole one. */
static uint64_t load_number(const struct tparams *t, const struct param *p)
{
    uint64_t v;

    memcpy(&v, place_const(t, p->at), sizeof(v));
    return p->kind == KIND_MS ? v / NS_PER_MS + (v % NS_PER_MS != 0) : v;
}

static bool is_there(const struct tparams *t, const struct param *p)
{
    return is_number(p) ? load_number(t, p) != p->preset
                        : *(const bool *)place_const(t, p->has);
}

void tparams_default(struct tparams *t)
{
    memset(t, 0, sizeof(*t));
    for (size_t i = 0; i < ARRAY_LEN(params); i++) {
        if (is_number(&params[i]))
            store_number(t, &params[i], params[i].preset);
    }
}

/* ---- writing ----------------------------------------------------------------------- */

void tparam_put_varint(struct wire_w *w, uint64_t id, uint64_t value)
{
    wire_w_varint(w, id);
    wire_w_varint(w, varint_len(value));
    wire_w_varint(w, value);
}

void tparam_put_bytes(struct wire_w *w, uint64_t id, struct span value)
{
    wire_w_varint(w, id);
    wire_w_vec(w, value);
}

static void put_preferred(struct wire_w *w, const struct tparam_preferred *a)
{
    wire_w_bytes(w, a->ip4, sizeof(a->ip4));
    wire_w_u16(w, a->port4);
    wire_w_bytes(w, a->ip6, sizeof(a->ip6));
    wire_w_u16(w, a->port6);
    wire_w_u8(w, a->cid.len);
    wire_w_bytes(w, a->cid.b, a->cid.len);
    wire_w_bytes(w, a->token, sizeof(a->token));
}

static int put_param(struct wire_w *w, const struct tparams *t, const struct param *p)
{
    const void *at = place_const(t, p->at);
    const struct tparam_preferred *preferred = at;
    uint64_t v;

    switch (p->kind) {
    case KIND_NUMBER:
    case KIND_MS:
        v = load_number(t, p);
        if (v < p->min || v > p->max)
            return QUIC_INVAL;
        tparam_put_varint(w, p->id, v);
        break;
    case KIND_FLAG:
        tparam_put_bytes(w, p->id, SPAN_LIT(""));
        break;
    case KIND_CID:
        tparam_put_bytes(w, p->id, cid_span(at));
        break;
    case KIND_TOKEN:
        tparam_put_bytes(w, p->id, span_of(at, TOKEN));
        break;
    case KIND_PREFERRED:
        if (preferred->cid.len == 0 || preferred->cid.len > QUIC_CID_MAX)
            return QUIC_INVAL;
        wire_w_varint(w, p->id);
        wire_w_varint(w, 4u + 2 + 16 + 2 + 1 + preferred->cid.len + TOKEN);
        put_preferred(w, preferred);
        break;
    }
    return 0;
}

/* What min_ack_delay may be follows from another parameter. */
static bool delays_agree(const struct tparams *t)
{
    return t->min_ack_delay_us == TPARAM_NO_ACK_FREQUENCY ||
           t->min_ack_delay_us * NS_PER_US <= t->max_ack_delay;
}

int tparams_encode(struct wire_w *w, const struct tparams *t, bool server, struct span extra)
{
    if (!delays_agree(t))
        return QUIC_INVAL;
    for (size_t i = 0; i < ARRAY_LEN(params); i++) {
        const struct param *p = &params[i];
        int err;

        if (!is_there(t, p) || (p->server_only && !server))
            continue;
        err = put_param(w, t, p);
        if (err)
            return err;
    }
    wire_w_span(w, extra);
    return w->failed ? QUIC_TOOBIG : 0;
}

/* ---- reading ----------------------------------------------------------------------- */

static void get_cid(struct wire_r *r, size_t n, struct quic_cid *cid)
{
    if (n > QUIC_CID_MAX)
        wire_r_fail(r);
    *cid = cid_of(wire_r_bytes(r, n));
}

static void get_preferred(struct wire_r *r, struct tparam_preferred *a)
{
    wire_r_copy(r, a->ip4, sizeof(a->ip4));
    a->port4 = wire_r_u16(r);
    wire_r_copy(r, a->ip6, sizeof(a->ip6));
    a->port6 = wire_r_u16(r);
    get_cid(r, wire_r_u8(r), &a->cid);
    wire_r_copy(r, a->token, sizeof(a->token));
    if (a->cid.len == 0)
        wire_r_fail(r);
}

/* The value must be allowed, and all of it. */
static bool get_param(struct tparams *t, const struct param *p, struct span value)
{
    struct wire_r r = wire_r_span(value);
    void *at = place(t, p->at);
    uint64_t v;

    switch (p->kind) {
    case KIND_NUMBER:
    case KIND_MS:
        v = wire_r_varint(&r);
        if (v < p->min || v > p->max)
            return false;
        store_number(t, p, v);
        break;
    case KIND_FLAG:
        break;
    case KIND_CID:
        get_cid(&r, value.n, at);
        break;
    case KIND_TOKEN:
        wire_r_copy(&r, at, TOKEN);
        break;
    case KIND_PREFERRED:
        get_preferred(&r, at);
        break;
    }
    if (!is_number(p))
        *(bool *)place(t, p->has) = true;
    return !r.failed && wire_r_left(&r) == 0;
}

static const struct param *param_find(uint64_t id, size_t *index)
{
    for (size_t i = 0; i < ARRAY_LEN(params); i++) {
        if (params[i].id == id) {
            *index = i;
            return &params[i];
        }
    }
    return NULL;
}

int tparams_decode(struct span blob, bool from_server, struct tparams *t)
{
    struct wire_r r = wire_r_span(blob);
    uint32_t seen = 0; /* bit of each known parameter */

    _Static_assert(ARRAY_LEN(params) <= 32, "a bit for each parameter");
    tparams_default(t);
    while (wire_r_left(&r) > 0) {
        uint64_t id = wire_r_varint(&r);
        struct span value = wire_r_vec(&r);
        size_t i = 0;
        const struct param *p;

        if (r.failed)
            return QUIC_TRANSPORT_PARAMETER_ERROR;
        p = param_find(id, &i);
        if (!p)
            continue;
        if (seen & 1u << i || (p->server_only && !from_server) || !get_param(t, p, value))
            return QUIC_TRANSPORT_PARAMETER_ERROR;
        seen |= 1u << i;
    }
    /* A server without connection IDs can't have others for another address. */
    if (t->has_preferred && t->has_initial_scid && t->initial_scid.len == 0)
        return QUIC_TRANSPORT_PARAMETER_ERROR;
    return delays_agree(t) ? 0 : QUIC_TRANSPORT_PARAMETER_ERROR;
}

int tparam_find(struct span blob, uint64_t id, struct span *value)
{
    struct wire_r r = wire_r_span(blob);
    bool found = false;

    while (wire_r_left(&r) > 0) {
        uint64_t got = wire_r_varint(&r);
        struct span v = wire_r_vec(&r);

        if (r.failed || got != id)
            continue;
        if (found)
            return QUIC_TRANSPORT_PARAMETER_ERROR;
        found = true;
        *value = v;
    }
    return found ? 0 : QUIC_DROP;
}

/* ---- connection IDs ------------------------------------------------------------------ */

static bool cid_agrees(bool has, const struct quic_cid *got, const struct quic_cid *want)
{
    return want ? has && cid_eq(got, want) : !has;
}

int tparams_check_cids(const struct tparams *peer, bool from_server,
                       const struct quic_cid *initial_source,
                       const struct quic_cid *original_dcid,
                       const struct quic_cid *retry_source)
{
    bool ok = cid_agrees(peer->has_initial_scid, &peer->initial_scid, initial_source);

    if (from_server)
        ok = ok && cid_agrees(peer->has_original_dcid, &peer->original_dcid, original_dcid) &&
             cid_agrees(peer->has_retry_scid, &peer->retry_scid, retry_source);
    return ok ? 0 : QUIC_TRANSPORT_PARAMETER_ERROR;
}
