/*
 * capsule - the request stream of a CONNECT-IP tunnel, whole and cut into pieces.
 *
 * Input: one byte of flags (bit 0: the split quirk; bits 1..3: how to cut; bit 4: answer
 * requests as they come, bit 5: by assigning, else by refusing), then the peer's stream
 * bytes.
 *
 * Two ends are fed the same bytes, one at once and one in pieces. Both must come to the
 * same result and the same lists (unless requests are answered, when it matters how many
 * are open at a time), hold their invariant, and keep within their bounds; and what an
 * end was told must survive being told on by our own writers.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "masque/connect_ip.h"

static void require(bool ok)
{
    if (!ok)
        abort();
}

enum answering { LEAVE, REFUSE, GRANT };

static void answer(struct cip *c, enum answering how)
{
    struct cip_event ev;

    while (how != LEAVE && cip_next_event(c, &ev)) {
        if (ev.type != CIP_REQUESTED)
            continue;
        if (how == REFUSE || ip_assign_refused(&ev.request))
            require(cip_refuse(c, ev.request.request_id) == 0);
        else
            require(cip_assign(c, &ev.request, 1) == 0);
    }
}

/* Feed pieces of `step` bytes (0: all at once). Returns the first error. */
static int feed(struct cip *c, const uint8_t *p, size_t n, size_t step, enum answering how)
{
    for (size_t at = 0; at < n;) {
        size_t piece = step && step < n - at ? step : n - at;
        struct span in, dgram, pkt;

        in = span_of(p + at, piece);
        at += piece;
        while (in.n > 0) {
            int err = cip_recv(c, &in, &dgram);

            if (err)
                return err;
            if (dgram.n > 0)
                cip_in(c, dgram, &pkt);
        }
        answer(c, how);
        require(cip_check(c));
    }
    return cip_recv_end(c);
}

static bool same_lists(const struct cip *a, const struct cip *b)
{
    size_t na, nb;
    const struct ip_assign *pa = cip_assigned(a, &na), *pb = cip_assigned(b, &nb);
    const struct ip_range *ra, *rb;
    const struct path_rate *ta, *tb;

    if (na != nb)
        return false;
    for (size_t i = 0; i < na; i++)
        if (!ip_addr_equal(&pa[i].prefix.addr, &pb[i].prefix.addr) ||
            pa[i].prefix.len != pb[i].prefix.len)
            return false;
    ra = cip_routes(a, &na);
    rb = cip_routes(b, &nb);
    if (na != nb)
        return false;
    for (size_t i = 0; i < na; i++)
        if (!ip_addr_equal(&ra[i].start, &rb[i].start) ||
            !ip_addr_equal(&ra[i].end, &rb[i].end) || ra[i].proto != rb[i].proto)
            return false;
    ta = cip_rates(a, &na);
    tb = cip_rates(b, &nb);
    return path_rates_equal(ta, na, tb, nb);
}

/* Tell the lists of `from` to a strict end by our own capsules. */
static void tell_on(const struct cip *from)
{
    const struct cip_config strict = {.stream_id = 0};
    struct cip mid, end;
    struct span out;
    size_t n, nr, nt;
    const struct ip_assign *list = cip_assigned(from, &n);
    const struct ip_range *ranges = cip_routes(from, &nr);
    const struct path_rate *rates = cip_rates(from, &nt);

    require(cip_init(&mid, &strict) == 0 && cip_init(&end, &strict) == 0);
    require(cip_assign(&mid, list, n) == 0 && cip_advertise(&mid, ranges, nr) == 0);
    require(cip_tell_rates(&mid, rates, nt) == 0);
    while ((out = cip_out_bytes(&mid)).n > 0) {
        require(feed(&end, out.p, out.n, 0, LEAVE) == 0);
        cip_out_done(&mid, out.n);
    }
    /* ranges that touch are joined on the way; what they hold together is the same */
    require(end.nours == n && end.their_routes.n <= nr && end.ntheir_rates == nt);
    require(nr == 0 || end.their_routes.nany == from->their_routes.nany);
    cip_free(&mid);
    cip_free(&end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cip_config cfg = {.stream_id = 44};
    struct cip whole, split;
    enum answering how;
    int err, err2;

    if (size == 0)
        return 0;
    how = !(data[0] & 16) ? LEAVE : data[0] & 32 ? GRANT : REFUSE;
    cfg.split_quirk = data[0] & 1;
    require(cip_init(&whole, &cfg) == 0 && cip_init(&split, &cfg) == 0);
    err = feed(&whole, data + 1, size - 1, 0, how);
    err2 = feed(&split, data + 1, size - 1, (size_t)1 << (data[0] >> 1 & 7), how);
    require(how != LEAVE || (err == err2 && same_lists(&whole, &split)));
    if (err == 0)
        tell_on(&whole);
    require(cip_check(&whole) && cip_check(&split));
    cip_free(&whole);
    cip_free(&split);
    return 0;
}
