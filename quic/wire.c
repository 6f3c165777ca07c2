#include "quic/wire.h"

#include <string.h>

void wire_r_fail(struct wire_r *r)
{
    r->failed = true;
    r->p = r->end;
}

void wire_w_fail(struct wire_w *w)
{
    w->failed = true;
    w->p = w->end;
}

static bool r_has(struct wire_r *r, uint64_t n)
{
    if (!r->failed && n <= wire_r_left(r))
        return true;
    wire_r_fail(r);
    return false;
}

static bool w_has(struct wire_w *w, size_t n)
{
    if (!w->failed && n <= wire_w_left(w))
        return true;
    wire_w_fail(w);
    return false;
}

static uint64_t r_be(struct wire_r *r, size_t n)
{
    uint64_t v = 0;

    if (!r_has(r, n))
        return 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | r->p[i];
    r->p += n;
    return v;
}

static void w_be(struct wire_w *w, uint64_t v, size_t n)
{
    if (!w_has(w, n))
        return;
    for (size_t i = n; i-- > 0; v >>= 8)
        w->p[i] = (uint8_t)v;
    w->p += n;
}

uint16_t wire_r_u16(struct wire_r *r)
{
    return (uint16_t)r_be(r, 2);
}

uint32_t wire_r_u32(struct wire_r *r)
{
    return (uint32_t)r_be(r, 4);
}

uint64_t wire_r_u64(struct wire_r *r)
{
    return r_be(r, 8);
}

uint64_t wire_r_varint_long(struct wire_r *r)
{
    size_t n;

    if (!r_has(r, 1))
        return 0;
    n = (size_t)1 << (r->p[0] >> 6);
    return r_be(r, n) & (n == 8 ? VARINT_MAX : ((uint64_t)1 << (8 * n - 2)) - 1);
}

struct span wire_r_bytes(struct wire_r *r, uint64_t n)
{
    struct span s = {r->p, 0};

    if (!r_has(r, n) || n == 0)
        return s;
    s.n = (size_t)n;
    r->p += n;
    return s;
}

void wire_r_copy(struct wire_r *r, void *out, size_t n)
{
    struct span s = wire_r_bytes(r, n);

    if (n == 0)
        return;
    if (s.n == n)
        memcpy(out, s.p, n);
    else
        memset(out, 0, n);
}

struct span wire_r_vec(struct wire_r *r)
{
    return wire_r_bytes(r, wire_r_varint(r));
}

void wire_w_u16(struct wire_w *w, uint16_t v)
{
    w_be(w, v, 2);
}

void wire_w_u32(struct wire_w *w, uint32_t v)
{
    w_be(w, v, 4);
}

void wire_w_u64(struct wire_w *w, uint64_t v)
{
    w_be(w, v, 8);
}

void wire_w_varint_len(struct wire_w *w, uint64_t v, size_t len)
{
    uint64_t tag = len == 1 ? 0 : len == 2 ? 1 : len == 4 ? 2 : 3;
    size_t need = varint_len(v);

    if (need == 0 || need > len) {
        wire_w_fail(w);
        return;
    }
    w_be(w, v | tag << (8 * len - 2), len);
}

void wire_w_varint(struct wire_w *w, uint64_t v)
{
    wire_w_varint_len(w, v, varint_len(v));
}

void wire_w_bytes(struct wire_w *w, const void *p, size_t n)
{
    if (n == 0 || !w_has(w, n))
        return;
    memcpy(w->p, p, n);
    w->p += n;
}

void wire_w_span(struct wire_w *w, struct span s)
{
    wire_w_bytes(w, s.p, s.n);
}

void wire_w_zero(struct wire_w *w, size_t n)
{
    if (n == 0 || !w_has(w, n))
        return;
    memset(w->p, 0, n);
    w->p += n;
}

void wire_w_vec(struct wire_w *w, struct span s)
{
    wire_w_varint(w, s.n);
    wire_w_span(w, s);
}

uint64_t wire_expand(uint32_t low, unsigned bits, uint64_t near)
{
    uint64_t window = (uint64_t)1 << bits, half = window / 2;
    uint64_t n = (near & ~(window - 1)) | (low & (window - 1));

    if (n + half < near)
        return n + window;
    if (n > near + half && n >= window)
        return n - window;
    return n;
}
